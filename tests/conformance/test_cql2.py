"""OGC 21-065r2 (CQL2), Annex A: each class over every collection, in text and, converted by the cql2 package, in JSON.

The tables of expected numbers need OGC's test dataset and are left out (see `abstract.LEFT_OUT`); what filters mean is
compared with an evaluator of our own in tests/store/query.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import cql2
import pytest

from tests.conformance.abstract import CQL2, conf
from tests.conformance.conftest import Api

LITERALS = {
    "string": "'foo'", "boolean": "true", "number": "3.14", "integer": "1",
    "date-time": "TIMESTAMP('2022-04-14T14:48:46Z')", "date": "DATE('2022-04-14')",
}  # fmt: skip
COMPARISONS = ("=", "<>", ">", "<", ">=", "<=")
WORLD = "POLYGON((-180 -90,180 -90,180 90,-180 90,-180 -90))"
LINE, POINTS = "LINESTRING(7 50,10 51)", "MULTIPOINT(7 50,10 51)"
NO_PLACE = "POINT(90 180)"
ISLANDS = "(-180 -90,-90 -90,-90 90,-180 90,-180 -90),(-120 -50,-100 -50,-100 -40,-120 -40,-120 -50)"
SQUARE = "(0 0,10 0,10 10,0 10,0 0)"
SHORT = ("T_AFTER", "T_BEFORE", "T_DISJOINT", "T_EQUALS", "T_INTERSECTS")
LONG = (*SHORT, "T_CONTAINS", "T_DURING", "T_FINISHEDBY", "T_FINISHES", "T_MEETS", "T_METBY", "T_OVERLAPPEDBY",
        "T_OVERLAPS", "T_STARTEDBY", "T_STARTS")  # fmt: skip


def kind(schema: dict[str, Any]) -> str | None:
    """String, boolean, number, integer, date, date-time, the name of a geometry's type, or None."""
    form = str(schema.get("format", ""))
    if form.startswith("geometry-"):
        return form.removeprefix("geometry-")
    found = form if form in ("date", "date-time") else schema.get("type")
    return found if found in LITERALS else None


class Filters:
    """Evaluates filters in one language."""

    def __init__(self, api: Api, language: str) -> None:
        self.api, self.language = api, language

    def written(self, text: str) -> str:
        return text if self.language == "cql2-text" else json.dumps(cql2.parse_text(text).to_json())

    def find(self, collection: str, text: str) -> frozenset[str]:
        try:
            return self.api.ids(collection, filter_lang=self.language, filter=self.written(text))
        except AssertionError as error:
            raise AssertionError(f"{collection}: {text}: {error}") from error

    def refuse(self, collection: str, text: str) -> bool:
        answer = self.api.ask(
            f"/collections/{collection}/items", filter_lang=self.language, filter=self.written(text)
        )  # fmt: skip
        return bool(answer.status == 400)

    def of(self, *kinds: str) -> Iterator[tuple[str, str, str]]:
        """(collection, queryable, kind) of the queryables of some kinds; there is at least one."""
        found = [
            (collection, name, str(kind(schema)))
            for collection, queryables in self.api.queryables.items()
            for name, schema in queryables.items() if kind(schema) in kinds
        ]  # fmt: skip
        assert found, f"nothing of {kinds} to test with"
        yield from found

    def places(self) -> Iterator[tuple[str, str, str]]:
        return self.of(*("".join(parts) for parts in ((m, t) for m in ("", "multi") for t in
                                                      ("point", "linestring", "polygon"))))  # fmt: skip


@pytest.fixture(params=["cql2-text", "cql2-json"])
def filters(api: Api, request: pytest.FixtureRequest) -> Filters:
    return Filters(api, request.param)


@conf(CQL2, "basic-cql2/basic-test", "cql2-text/validate", "cql2-json/validate")
def test_every_collection_tells_what_may_be_named_and_of_which_type(api: Api) -> None:
    for name, queryables in api.queryables.items():
        kinds = [kind(schema) or schema.get("type") for schema in queryables.values()]
        assert kinds, name
        assert all(kinds), name
        assert set(kinds) & LITERALS.keys(), name


@conf(CQL2, "basic-cql2/comparison", "property-property/comparison-value-property")
@conf(CQL2, "property-property/comparison-property-property")
def test_comparisons(filters: Filters) -> None:
    for collection, name, type_ in filters.of(*LITERALS):
        value = LITERALS[type_]
        for shape in ("{name} {sign} {value}", "{value} {sign} {name}"):
            found = {sign: filters.find(collection, shape.format(name=name, sign=sign, value=value)) for sign in
                     COMPARISONS}  # fmt: skip
            assert not found["="] & found["<>"]
            assert not found[">"] & found["<="]
            assert not found["<"] & found[">="]
        same = {sign: filters.find(collection, f"{name} {sign} {name}") for sign in COMPARISONS}
        assert not same["<>"] | same["<"] | same[">"]
        assert same["="] == same[">="] == same["<="] == filters.find(collection, f"{name} IS NOT NULL")


@conf(CQL2, "property-property/comparison-value-value")
def test_values_are_compared_with_values(filters: Filters, api: Api) -> None:
    collection = next(iter(api.features))
    for value in LITERALS.values():
        found = {sign: filters.find(collection, f"{value} {sign} {value}") for sign in COMPARISONS}
        assert not found["<>"] | found["<"] | found[">"]
        assert found["="] == found[">="] == found["<="] == api.ids(collection)


@conf(CQL2, "basic-cql2/is-null", "basic-cql2/boolean")
def test_is_null_and_truth(filters: Filters, api: Api) -> None:
    for collection, queryables in api.queryables.items():
        everything = api.ids(collection)
        for name in queryables:
            empty, filled = filters.find(collection, f"{name} IS NULL"), filters.find(collection, f"{name} is not null")
            assert not empty & filled
            assert empty | filled == everything
        assert filters.find(collection, "true") == everything
        assert not filters.find(collection, "false")


@conf(CQL2, "cql2-text/escaping")
def test_a_quotation_mark_in_a_text_is_doubled(api: Api) -> None:
    filters = Filters(api, "cql2-text")
    collection, name, _ = next(filters.of("string"))
    assert filters.find(collection, f"{name} <> 'it''s \t\n'") == filters.find(collection, f"{name} IS NOT NULL")
    assert filters.refuse(collection, f"{name} <> 'it's'")


@conf(CQL2, "advanced-comparison-operators/like", "advanced-comparison-operators/between")
@conf(CQL2, "advanced-comparison-operators/in")
def test_like_between_and_in(filters: Filters) -> None:
    for collection, name, type_ in filters.of(*LITERALS):
        if type_ == "string":
            found = {pattern: filters.find(collection, f"{name} LIKE '{pattern}'") for pattern in
                     ("%", "_%", "", "%%", "\\%\\_")}  # fmt: skip
            assert not found["_%"] & found[""]
            assert found["%"] == found["%%"] == found["_%"] | found[""]
            filters.find(collection, f"{name} in ('foo', 'bar')")
        elif type_ in ("number", "integer"):
            filters.find(collection, f"{name} BETWEEN 0 AND 100")
            assert not filters.find(collection, f"{name} between 100.0 and 1.0")
            filters.find(collection, f"{name} IN (1, 2, 3)")
        elif type_ == "boolean":
            assert filters.find(collection, f"{name} in (true)") == filters.find(collection, f"{name} = true")
        else:
            times = ("'2022-04-14'", "'2022-04-15'") if type_ == "date" else ("'2022-04-14T14:52:56Z'",) * 2
            filters.find(collection, f"{name} in ({', '.join(times)})")


@conf(CQL2, "case-insensitive-comparison/casei", "case-insensitive-comparison/casei-like")
@conf(CQL2, "accent-insensitive-comparison/accenti", "accent-insensitive-comparison/accenti-like")
@conf(CQL2, "accent-insensitive-comparison/accenti-casei", "accent-insensitive-comparison/accenti-casei-like")
def test_letters_without_case_and_marks(filters: Filters) -> None:
    for collection, name, _ in filters.of("string"):
        assert not filters.find(collection, f"CASEI({name}) = casei('foo')") & filters.find(
            collection, f"CASEI({name}) <> casei('FOO')"
        )
        assert not filters.find(collection, f"ACCENTI({name}) = accenti('äöüéáí')") & filters.find(
            collection, f"ACCENTI({name}) <> accenti('aoueai')"
        )
        for left, right in (
            (f"CASEI({name}) LIKE casei('n%')", f"CASEI({name}) LIKE casei('N%')"),
            (f"ACCENTI({name}) LIKE accenti('Ä%')", f"ACCENTI({name}) LIKE accenti('A%')"),
            (f"ACCENTI(CASEI({name})) = accenti(casei('ÄÉ'))", f"ACCENTI(CASEI({name})) = accenti(casei('ae'))"),
            (f"ACCENTI(CASEI({name})) LIKE accenti(casei('Ậ%'))", f"ACCENTI(CASEI({name})) LIKE accenti(casei('a%'))"),
        ):
            assert filters.find(collection, left) == filters.find(collection, right)


@conf(CQL2, "basic-spatial-functions/s_intersects", "basic-spatial-operators/s_intersects")
@conf(CQL2, "spatial-functions/s_intersects", "spatial-functions/s_disjoint", "spatial-functions/s_equals")
@conf(CQL2, "spatial-functions/s_touches", "spatial-functions/s_crosses", "spatial-functions/s_within")
@conf(CQL2, "spatial-functions/s_contains", "spatial-functions/s_overlaps")
def test_places(filters: Filters) -> None:
    for collection, name, type_ in filters.places():
        placed = filters.find(collection, f"{name} IS NOT NULL")
        for other in ("BBOX(-180,-90,180,90)", WORLD):
            assert filters.find(collection, f"S_INTERSECTS({name},{other})") == placed
            assert filters.find(collection, f"S_WITHIN({name},{other})") == placed
            assert not filters.find(collection, f"S_DISJOINT({name},{other})")
            assert not filters.find(collection, f"S_CONTAINS({name},{other})")
            assert not filters.find(collection, f"S_TOUCHES({name},{other})")
        for other in (LINE, "POINT(7.02 49.92)"):
            assert filters.find(collection, f"S_DISJOINT({name},{other})") == placed - filters.find(
                collection, f"S_INTERSECTS({name},{other})"
            )
        for other in (WORLD, LINE, "POINT(7.02 49.92)"):
            filters.find(collection, f"S_EQUALS({name},{other})")
            filters.find(collection, f"S_TOUCHES({name},{other})")
        for function in ("S_WITHIN", "S_CONTAINS"):
            for other in (LINE, POINTS):
                filters.find(collection, f"{function}({name},{other})")
        if "polygon" not in type_:
            for other in ("BBOX(-180,-90,180,90)", WORLD, LINE):
                filters.find(collection, f"S_CROSSES({name},{other})")
        like_it = {"point": POINTS, "linestring": LINE}.get(type_.removeprefix("multi"), WORLD)
        filters.find(collection, f"S_OVERLAPS({name},{like_it})")
        for function in ("S_INTERSECTS", "S_DISJOINT"):
            assert filters.refuse(collection, f"{function}({name},{NO_PLACE})")


@conf(CQL2, "basic-spatial-functions-plus/s_intersects")
def test_every_kind_of_geometry_may_be_written(filters: Filters) -> None:
    for collection, name, _ in filters.places():
        for other in (
            "LINESTRING(-180 -45,0 -45)", "MULTILINESTRING((-180 -45,0 -45),(0 45,180 45))", f"POLYGON({ISLANDS})",
            f"MULTIPOLYGON(({ISLANDS}),({SQUARE}))", f"GEOMETRYCOLLECTION(POINT(7.02 49.92),POLYGON({SQUARE}))",
        ):  # fmt: skip
            filters.find(collection, f"S_INTERSECTS({name},{other})")
        assert filters.refuse(collection, f"S_INTERSECTS({name},MULTIPOINT(7.02 49.92,90 180))")


@conf(CQL2, "temporal-functions/temporal-functions-1", "temporal-functions/temporal-functions-2")
def test_times(filters: Filters) -> None:
    of_collection: dict[tuple[str, str], list[str]] = {}
    for collection, name, type_ in filters.of("date", "date-time"):
        year = "'2021-01-01','2021-12-31'" if type_ == "date" else "'2021-01-01T00:00:00Z','2021-12-31T23:59:59Z'"
        for function in SHORT:
            filters.find(collection, f"{function}({name},{LITERALS[type_]})")
            filters.find(collection, f"{function}({name},INTERVAL({year}))")
        of_collection.setdefault((collection, year), []).append(name)
    pairs = [(collection, year, names) for (collection, year), names in of_collection.items() if len(names) > 1]
    assert pairs
    for collection, year, (first, second, *_) in pairs:
        for function in LONG:
            filters.find(collection, f"{function}(INTERVAL({first},{second}),INTERVAL({year}))")


@conf(CQL2, "arithmetic/arithmetic")
def test_arithmetic(filters: Filters) -> None:
    for collection, name, _ in filters.of("number", "integer"):
        known = filters.find(collection, f"{name} IS NOT NULL")
        for text in (f"{name} + 8 = 8 + {name}", f"{name} * 2 - {name} = {name}", f"{name} < {name} + 2 * 2 ^ 0",
                     f"{name} > {name} - 20 / 10", f"{name} > {name} - 21 div 10",
                     f"{name} > {name} - 5 % 2"):  # fmt: skip
            assert filters.find(collection, text) == known, text


@conf(CQL2, "basic-cql2/logical", *(f"{name}/logical" for name in (
    "advanced-comparison-operators", "case-insensitive-comparison", "accent-insensitive-comparison",
    "spatial-functions", "temporal-functions", "arithmetic", "property-property")))  # fmt: skip
def test_conditions_are_joined_as_sets_are(filters: Filters, api: Api) -> None:
    """Of conditions that are never unknown, so that NOT is the rest."""
    chance = random.Random(21065)
    for collection, queryables in api.queryables.items():
        everything = api.ids(collection)
        predicates = [f"{name} IS NULL" for name in queryables]
        for name, schema in queryables.items():
            known = f"{name} IS NOT NULL AND"
            predicates += {
                "string": [f"({known} CASEI({name}) LIKE 'n%')", f"({known} ACCENTI({name}) > 'm')"],
                "number": [f"({known} {name} * 2 > 100)"], "integer": [f"({known} {name} - 1 IN (1, 2, 3))"],
                "date": [f"({known} T_AFTER({name}, DATE('2022-01-01')))"], "boolean": [f"({known} {name} = true)"],
            }.get(str(kind(schema)), [])  # fmt: skip
            if "polygon" in str(kind(schema)) or "point" in str(kind(schema)):
                predicates.append(f"({known} S_INTERSECTS({name}, {LINE}))")
        for _ in range(10):
            p1, p2, p3, p4 = chance.sample(predicates, 4)
            one, two, three, four = (filters.find(collection, each) for each in (p1, p2, p3, p4))
            found = filters.find(collection, f"((NOT {p1} AND {p2}) OR ({p3} and NOT {p4}) or not ({p1} AND {p4}))")
            assert found == ((everything - one) & two) | (three - four) | (everything - (one & four))
