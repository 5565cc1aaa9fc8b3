"""What one may not see does not exist: whatever happens to it, not one byte of any answer changes.

Random agencies with random grants ask everything; then something happens to the data that is hidden from some of them,
as an evaluator in Python tells, which knows nothing of the service's rules; then they ask everything again. Every
agency from which it was hidden must be told the same to the byte, headers included; every other one must be told
something else, or the comparison would be blind.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import shapely
from psycopg import sql

from sdi.access import Agency, Grant
from sdi.contract.query import Area, FeatureQuery
from sdi.contract.registry import Registry, read_registry
from sdi.national import vn2000
from sdi.service.rights import seen
from sdi.store import engine, features, migrate
from sdi.store.sharing import agencies, grants, keys
from tests.service.conftest import CORNER, SIZE, Answer, Town, deliver, served

FOLDER = Path(__file__).parent / "town"
GRID = 5897
AGENCIES = int(os.environ.get("POLICIES", "8"))
"""Random policies; POLICIES=300 for a long look."""
EVENTS = int(os.environ.get("EVENTS", "4"))
"""Things that happen to the data, one after the other."""
COLUMNS = {"plots": ("key", "number", "use", "legal_area", "note", "mark", "valid_from"),
           "works": ("permit", "floors", "cost")}  # fmt: skip
CLASS = {"legal_area": "agency", "note": "agency", "mark": "restricted", "valid_from": "agency", "cost": "agency"}
TOLD = {"content-type", "content-crs", "content-language", "link", "etag", "last-modified", "cache-control", "vary",
        "ogc-numbermatched", "ogc-numberreturned", "repr-digest", "content-disposition", "allow"}  # fmt: skip

Row = dict[str, Any]
Test = Callable[[Row], bool | None]


def _compared(name: str, value: Any, holds: Callable[[Any, Any], bool]) -> Test:
    """As in SQL: what is empty compares with nothing."""
    return lambda row: None if row[name] is None else holds(row[name], value)


def _not(test: Test) -> Test:
    return lambda row: None if test(row) is None else not test(row)


ROWS: dict[str, list[tuple[str, Test]]] = {
    "plots": [
        ("use = 'ODT'", _compared("use", "ODT", lambda a, b: a == b)),
        ("NOT (use = 'CLN')", _not(_compared("use", "CLN", lambda a, b: a == b))),
        ("number > 20", _compared("number", 20, lambda a, b: a > b)),
        ("legal_area <= 410", _compared("legal_area", 410, lambda a, b: a <= b)),
        ("mark LIKE 'a%'", _compared("mark", "a", lambda a, b: a.startswith(b))),
        ("note IS NULL", lambda row: row["note"] is None),
    ],
    "works": [
        ("floors >= 3", _compared("floors", 3, lambda a, b: a >= b)),
        ("cost < 50", _compared("cost", 50, lambda a, b: a < b)),
    ],
}


@dataclass
class Policy:
    """An agency's grants, and the same for the evaluator."""

    agency: str
    grants: list[tuple[Grant, Test | None, shapely.Geometry | None]] = field(default_factory=list)
    key: str = ""

    def seen(self, layer: str, row: Row) -> tuple[Any, ...] | None:
        """All that they may see of a feature; None: nothing, not even that it is there."""
        shown: dict[str, Any] = {}
        places: set[str] = set()
        for grant, test, ground in self._parts(layer):
            withheld = layer == "plots" and "restricted" not in grant.classes and row["use"] == "CQP"
            met = ground is None or row["place"].intersects(ground)
            if withheld or not met or (test is not None and test(row) is not True):
                continue
            places.add(_told(row["place"], grant))
            for name in COLUMNS[layer]:
                if CLASS.get(name, "open") in grant.classes and (grant.attributes is None or name in grant.attributes):
                    shown[name] = row[name]
        return (sorted(shown.items()), sorted(places)) if places else None

    def _parts(self, layer: str) -> list[tuple[Grant, Test | None, shapely.Geometry | None]]:
        everybodys = [(Grant(0, self.agency, "plots"), None, None)] if layer == "plots" else []
        return [*everybodys, *(part for part in self.grants if part[0].layer == layer)]


def _told(place: shapely.Geometry, grant: Grant) -> str:
    match grant.precision:
        case "none":
            return "none"
        case "centroid":
            return f"centroid {shapely.centroid(place).wkt}"
    return f"{grant.precision} {place.wkt}"


def policy(agency: str, chance: random.Random) -> Policy:
    made = Policy(agency)
    for layer in ("plots", "plots", "works"):
        if chance.random() < 0.25:
            continue
        rows, test = chance.choice([(None, None), *ROWS[layer]])
        ground = _ground(chance) if chance.random() < 0.35 else None
        names = chance.sample(COLUMNS[layer][1:], 2) if chance.random() < 0.3 else None
        precision: Any = chance.choice(["exact", "exact", "exact", "generalised", "centroid", "none"])
        classes: Any = chance.choice([{"open"}, {"open", "agency"}, {"open", "agency", "restricted"}])
        grant = Grant(
            0, agency, layer, classes=frozenset(classes), attributes=names and (COLUMNS[layer][0], *names), rows=rows,
            polygon=None if ground is None else shapely.to_geojson(ground), precision=precision,
            metres=50.0 if precision == "generalised" else 0.0, actions=frozenset({"read", "export"}),
            legal_basis="NĐ 194/2025/NĐ-CP", purpose="test",
        )  # fmt: skip
        made.grants.append((grant, test, ground))
    return made


def _ground(chance: random.Random) -> shapely.Geometry:
    """Some columns of the town, cut through the middle of plots, so that no boundary is in doubt."""
    west, east = sorted(chance.sample(range(9), 2))
    ring = shapely.box(CORNER[0] + west * SIZE - 10, CORNER[1] - 10, CORNER[0] + east * SIZE - 10, CORNER[1] + 130)
    return shapely.transform(ring, lambda xy: vn2000.to_wgs84(xy, GRID))


@dataclass
class City:
    """The rows as the test knows them, and a way to bring them into the store."""

    town: Town
    rows: dict[str, dict[str, Row]]

    def load(self, layer: str) -> None:
        rows = list(self.rows[layer].values())
        kinds = {"number": pa.int64(), "floors": pa.int64(), "legal_area": pa.float64(), "cost": pa.float64(),
                 "valid_from": pa.date32()}  # fmt: skip
        key = COLUMNS[layer][0]
        columns = {"id": pa.array([row[key] for row in rows], pa.string())}
        columns |= {
            name: pa.array([row[name] for row in rows], kinds.get(name, pa.string())) for name in COLUMNS[layer]
        }
        deliver(self.town.database, self.town.registry, self.town.registry[layer], pa.table(columns),
                [row["shape"] for row in rows], [GRID] * len(rows))  # fmt: skip


def placed(row: Row, shape: shapely.Geometry) -> Row:
    return {**row, "shape": shape, "place": shapely.transform(shape, lambda xy: vn2000.to_wgs84(xy, GRID))}


def plot(index: int, chance: random.Random) -> Row:
    row, column = divmod(index, 8)
    x, y = CORNER[0] + column * SIZE, CORNER[1] + row * SIZE
    return placed(
        {
            "key": f"P{index:03}", "number": index, "use": chance.choice(["ODT", "CLN", "CQP", None]),
            "legal_area": 400.0 + index, "note": chance.choice([None, "bờ kè", "ngõ nhỏ"]),
            "mark": chance.choice(["a1", "b2", None]), "valid_from": date(2020 + index % 6, 1, 15),
        },
        shapely.MultiPolygon([shapely.box(x, y, x + SIZE, y + SIZE)]),
    )  # fmt: skip


def work(index: int, chance: random.Random) -> Row:
    return placed(
        {"permit": f"W{index:02}", "floors": chance.randint(1, 6), "cost": float(chance.randint(10, 90))},
        shapely.Point(CORNER[0] + 6 + SIZE * (index % 8), CORNER[1] + 10 + SIZE * (index // 8)),
    )


@pytest.fixture(scope="module")
def registry() -> Registry:
    return read_registry(FOLDER)


@pytest.fixture(scope="module")
def city(
    new_database: Callable[[], str], registry: Registry, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[City]:
    database = new_database()
    with engine.connect(database) as connection:
        migrate.apply(connection, registry)
    chance = random.Random(5)
    rows = {"plots": {f"P{index:03}": plot(index, chance) for index in range(40)},
            "works": {f"W{index:02}": work(index, chance) for index in range(16)}}  # fmt: skip
    with served(database, registry, data=tmp_path_factory.mktemp("data"), audit="off") as town:
        city = City(town, rows)
        for layer in rows:
            city.load(layer)
        yield city


def happen(city: City, chance: random.Random) -> tuple[str, Row | None, Row | None]:
    """Something that happens to one feature: what it was, what it is."""
    layer = chance.choice(["plots", "plots", "works"])
    rows = city.rows[layer]
    name = chance.choice(sorted(rows))
    before: Row | None = rows[name]
    kind = chance.choice(["value", "value", "value", "place", "end", "begin"])
    assert before is not None
    after: Row | None
    if kind == "end":
        after = None
    elif kind == "begin":
        before, number = None, len(rows) + 100
        after = plot(number % 40, chance) | {"key": f"P{number}"} if layer == "plots" else work(number % 16, chance) | {
            "permit": f"W{number}"}  # fmt: skip
        name = after[COLUMNS[layer][0]]
    elif kind == "place":
        after = placed(before, shapely.transform(before["shape"], lambda xy: xy + np.array([3.0, 4.0])))
    else:
        column = chance.choice(COLUMNS[layer][1:])
        choices = {
            "number": [7, 33], "use": ["ODT", "CLN", "CQP"], "legal_area": [405.5, 500.25], "note": ["mới", None],
            "mark": ["a9", "c3"], "valid_from": [date(2019, 5, 1)], "floors": [2, 5], "cost": [12.5, 77.0],
        }  # fmt: skip
        after = {**before, column: chance.choice([value for value in choices[column] if value != before[column]])}
    if after is None:
        del rows[name]
    else:
        rows[name] = after
    return layer, before, after


def addresses(layer: str, names: list[str]) -> Iterator[str]:
    """Every address about a layer, in every format that is not a file of its own."""
    at = f"/collections/{layer}"
    for kind in ("", "/schema", "/queryables", "/sortables"):
        yield from (f"{at}{kind}?f={format_}" for format_ in ("json", "html"))
    for format_ in ("json", "jsonfg", "geojsonseq", "csv", "html", "jsonld", "fgb", "gpkg", "parquet"):
        yield f"{at}/items?f={format_}"
    told = [
        "limit=5&sortby=-number", "sortby=note", "bbox=100,20,107,22", "filter=number%20%3E%203", "note=m%E1%BB%9Bi",
        "filter=note%20IS%20NULL", "filter=mark%20LIKE%20'a%25'", "q=b%E1%BB%9D", "datetime=2020-01-01/2022-01-01",
        "skipGeometry=true", "properties=number,floors", "offset=3&limit=4", "legal_area=405.5", "cost=12.5",
        "filter=S_INTERSECTS(geometry,BBOX(105.8,20.9,105.9,21.1))", "as-of=2100-01-01", "filter=floors%20%3C%204",
    ]  # fmt: skip
    yield from (f"{at}/items?f=json&{each}" for each in told)
    for name in names:
        yield from (f"{at}/items/{name}?f={format_}" for format_ in ("json", "html", "jsonfg", "jsonld"))
    yield from (f"{at}/{rest}" for rest in (
        "tiles", "tiles/WebMercatorQuad?f=tilejson", "tiles/WebMercatorQuad", "tiles/WebMercatorQuad/16/28863/52039",
        "tiles/WebMercatorQuad/17/57726/104079", "changes", "styles",
        *(f"statistics?by={by}&f={format_}" for by in ("use", "valid_from", "use,valid_from", "floors")
          for format_ in ("json", "csv", "html")),
    ))  # fmt: skip


GENERAL = [
    "/?f=json", "/?f=html", "/conformance", "/openapi?f=json", "/collections?f=json", "/collections?f=html",
    "/collections?f=jsonld", "/tiles", "/tiles/WebMercatorQuad?f=tilejson", "/tiles/WebMercatorQuad/17/57726/104079",
    "/code-lists/use", "/catalogue", "/catalogue/changes", "/open-data", "/collections/data-catalogue/items",
    "/collections/data-catalogue/items?f=html", "/styles", "/health", "/statistics?f=json", "/statistics?f=html",
]  # fmt: skip


def told(city: City, asker: Policy, names: dict[str, list[str]]) -> dict[str, tuple[Any, ...]]:
    """All answers, each with its status, its headers and its bytes."""
    answers: dict[str, tuple[Any, ...]] = {}
    for path in [*GENERAL, *(each for layer in names for each in addresses(layer, names[layer]))]:
        answer = city.town.ask(path, X_API_Key=asker.key)
        headers = sorted((name.lower(), value) for name, value in answer.headers.items() if name.lower() in TOLD)
        assert answer.status < 500, (path, answer.body[:300])
        answers[path] = (answer.status, headers, answer.body)
    return answers


@pytest.fixture(scope="module")
def askers(city: City) -> list[Policy]:
    chance = random.Random(950)
    made = [policy(f"agency_{number}", chance) for number in range(AGENCIES)]
    with engine.connect(city.town.database, engine.OWNER) as owner:
        for each in made:
            agencies.add(owner, each.agency, "department", "Cơ quan thử", "Test agency")
            for grant, _, _ in each.grants:
                grants.give(owner, city.town.registry[grant.layer], grant)
            each.key = keys.make_key(owner, each.agency)
    return made


def test_the_service_shows_each_agency_what_the_evaluator_says(city: City, askers: list[Policy]) -> None:
    """Ids and values of every feature, for every agency: the two rules are one."""
    for asker in askers:
        for layer, rows in city.rows.items():
            answer = city.town.ask(f"/collections/{layer}/items?f=json&limit=30", X_API_Key=asker.key)
            expected = {name: seen for name, row in rows.items() if (seen := asker.seen(layer, row)) is not None}
            if answer.status == 404:
                assert not any(grant.layer == layer for grant, _, _ in asker.grants), (asker.agency, layer)
                continue
            found = {feature["id"]: feature for feature in _all(city, answer.json, asker)}
            assert found.keys() == expected.keys(), (asker, layer)
            for name, (values, _) in expected.items():
                shown = {key: value for key, value in found[name]["properties"].items() if value is not None}
                assert shown == {key: _plain(value) for key, value in values if value is not None}, (asker, name)


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value


def _all(city: City, page: Any, asker: Policy) -> Iterator[Any]:
    while True:
        yield from page["features"]
        following = [link["href"] for link in page["links"] if link["rel"] == "next"]
        if not following:
            return
        page = city.town.get(following[0].removeprefix(city.town.url), X_API_Key=asker.key)


def test_what_is_hidden_changes_no_byte_of_any_answer(city: City, askers: list[Policy]) -> None:
    chance = random.Random(2018)
    hidden = shown = 0
    names = {layer: [*chance.sample(sorted(rows), 2), "P105"] for layer, rows in city.rows.items()}
    before = {asker.agency: told(city, asker, names) for asker in askers}
    for _ in range(EVENTS):
        layer, was, became = happen(city, chance)
        city.load(layer)
        _settled(city)
        for asker in askers:
            pair = [None if row is None else asker.seen(layer, row) for row in (was, became)]
            after = told(city, asker, names)
            changed = [path for path in after if _differ(before[asker.agency][path], after[path])]
            former, before[asker.agency] = before[asker.agency], after
            if pair[0] == pair[1]:
                hidden += 1
                assert changed == [], (asker.grants, layer, was, became, changed, _shown(changed, former, after))
            else:
                shown += 1
                assert changed, (asker.grants, layer, was, became)
    assert hidden >= AGENCIES * EVENTS // 6
    assert shown >= AGENCIES * EVENTS // 12


def _differ(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """Last-Modified is told from two seconds after the answer was first so; it differs where both tell another."""
    modified = [dict(each[1]).get("last-modified") for each in (one, other)]
    same = None in modified or modified[0] == modified[1]
    rest = [(each[0], [header for header in each[1] if header[0] != "last-modified"], each[2]) for each in (one, other)]
    return not same or rest[0] != rest[1]


def _shown(changed: list[str], before: Any, after: Any) -> Any:
    return [(path, before[path], after[path]) for path in changed[:2]]


def _settled(city: City) -> None:
    """Wait until the service has looked at the ledger again, which it does twice a second."""
    time.sleep(1.2)


def test_another_grant_is_another_tag_of_the_same_rows(city: City) -> None:
    """Whoever holds a page from before would otherwise be told that it still stands."""
    asker = Policy("agency_of_tags")
    page = "/collections/plots/items?f=json&limit=3"
    with engine.connect(city.town.database, engine.OWNER) as owner:
        agencies.add(owner, asker.agency, "ward", "Phường thử", "Test ward")
        asker.key = keys.make_key(owner, asker.agency)
        before = city.town.ask(page, X_API_Key=asker.key)
        grant = Grant(0, asker.agency, "plots", frozenset({"open", "agency"}), legal_basis="x", purpose="y")
        number = grants.give(owner, city.town.registry["plots"], grant)
        wider = _until(city, page, asker, lambda answer: b"legal_area" in answer.body)
        grants.revoke(owner, number, "the end of the test")
        after = _until(city, page, asker, lambda answer: b"legal_area" not in answer.body)
    assert wider.headers["ETag"] != before.headers["ETag"]
    assert (after.headers["ETag"], after.body) == (before.headers["ETag"], before.body)


def _until(city: City, path: str, asker: Policy, holds: Callable[[Answer], bool]) -> Answer:
    """The first answer of which something holds; without a tag that it might be held by."""
    ends = time.monotonic() + 30
    while not holds(answer := city.town.ask(path, X_API_Key=asker.key)) and time.monotonic() < ends:
        time.sleep(0.05)
    assert holds(answer)
    return answer


@pytest.mark.parametrize("kind", ["rows", "fields", "ground", "generalised", "centroid"])
def test_a_box_is_looked_for_by_the_index_over_places_under_every_rule(city: City, kind: str) -> None:
    layer = city.town.registry["plots"]
    ground = shapely.to_geojson(_ground(random.Random(3)))
    base = Grant(1, "a", "plots", frozenset({"open", "agency", "restricted"}))
    given = {
        "rows": replace(base, rows="number > 3"),
        "fields": replace(base, classes=frozenset({"open"}), rows="number > 3"),
        "ground": replace(base, polygon=ground),
        "generalised": replace(base, precision="generalised", metres=50.0),
        "centroid": replace(base, precision="centroid", rows="number > 3"),
    }[kind]
    # Without the contract's own share, which shows every place exactly.
    hidden = layer.model_copy(
        update={"sharing": layer.sharing.model_copy(update={"level": "agency", "withhold": None})}
    )
    agency = Agency("a", grants=(given,))
    shown = seen(agency, hidden)
    query = FeatureQuery(
        "plots", shown.attributes, area=Area.of_box(105.84, 21.02, 105.86, 21.04), filters=shown.filters,
        sight=shown.sight, limit=10,
    )  # fmt: skip
    statement = features.select_block(hidden, query)
    with engine.connect(city.town.database, engine.STEWARD) as reader:
        # Of 40 rows the order's index is walked all the same; with a bitmap PostgreSQL has to search for the places.
        reader.execute("SET enable_seqscan = off; SET enable_indexscan = off")
        plan = reader.execute(sql.SQL("EXPLAIN ") + statement.sql, statement.params).fetchall()
    assert any("Index Cond" in row[0] and "geom_wgs84 &&" in row[0] for row in plan), plan
