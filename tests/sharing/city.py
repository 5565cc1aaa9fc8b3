"""A city that is shared by random grants, and an evaluator that knows nothing of the service's rules.

`Policy.sees` is the whole of what an agency may see, written once more in Python over the rows as they were loaded.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import shapely

from sdi.access import Action, Grant
from sdi.contract.report import Finding
from sdi.national import vn2000
from tests.service.conftest import CORNER, SIZE, Town, deliver

GRID = 5897
COLUMNS = {"plots": ("key", "number", "use", "legal_area", "note", "mark", "valid_from"),
           "works": ("permit", "floors", "cost", "plot"),
           "cards": ("sheet", "work_count", "works", "first_work", "defence", "cost_sum")}  # fmt: skip
CLASS = {"legal_area": "agency", "note": "agency", "mark": "restricted", "valid_from": "agency", "cost": "agency",
         "defence": "agency", "cost_sum": "agency"}  # fmt: skip

Row = dict[str, Any]
Rows = dict[str, dict[str, Row]]
Seen = dict[str, dict[str, tuple[Row, list[str]]]]
"""Layer, id: the attributes, and how the place is told."""
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
    "cards": [("work_count > 0", _compared("work_count", 0, lambda a, b: a > b))],
}


PRECISIONS = ("exact", "generalised", "centroid", "none")
"""The most exact first."""


@dataclass
class Part:
    """A grant, and the same for the evaluator."""

    grant: Grant
    test: Test | None = None
    ground: shapely.Geometry | None = None

    @property
    def everywhere(self) -> bool:
        return self.test is None and self.ground is None

    def shows(self, layer: str, row: Row) -> bool:
        withheld = layer != "works" and "restricted" not in self.grant.classes and row["use"] == "CQP"
        met = self.ground is None or row["place"].intersects(self.ground)
        return not withheld and met and (self.test is None or self.test(row) is True)


@dataclass
class Policy:
    """An agency's grants."""

    agency: str
    parts: list[Part] = field(default_factory=list)
    key: str = ""

    def sees(self, rows: Rows) -> Seen:
        """All that they may see: a reference is empty unless they see what it refers to, or all of that layer."""
        seen: Seen = {name: self._of(name, rows[name]) for name in ("plots", "works")}
        for shown, _ in seen["works"].values():
            all_plots = any(part.everywhere and "restricted" in part.grant.classes for part in self._parts("plots"))
            if not all_plots and shown.get("plot") not in seen["plots"]:
                shown.pop("plot", None)
        cards = self._of("cards", cards_of(rows))
        seen["cards"] = {name: self._card(told, seen) for name, told in cards.items() if name in seen["plots"]}
        return seen

    def _card(self, told: tuple[Row, list[str]], seen: Seen) -> tuple[Row, list[str]]:
        shown = {**told[0]}
        of_works = self._parts("works")
        if not self._whole("works", "open"):
            shown.pop("work_count", None)
            if "works" in shown:
                shown["works"] = [{"id": item["id"]} for item in shown["works"]] or None
        if not self._whole("works", "open", "agency"):
            shown.pop("cost_sum", None)
        if not any(part.everywhere for part in of_works):
            kept = [item for item in shown.get("works") or () if item["id"] in seen["works"]]
            shown = {**shown, "works": kept or None} if "works" in shown else shown
            if shown.get("first_work") not in seen["works"]:
                shown.pop("first_work", None)
        return {name: value for name, value in shown.items() if value is not None}, told[1]

    def _whole(self, layer: str, *classes: str) -> bool:
        """Whether every feature's place is seen, and every attribute of these classes."""
        parts = [part for part in self._parts(layer) if part.everywhere]
        shown = {name for part in parts for name in part.grant.attributes or COLUMNS[layer]
                 if CLASS.get(name, "open") in part.grant.classes}  # fmt: skip
        wanted = {name for name in COLUMNS[layer] if CLASS.get(name, "open") in classes}
        return wanted <= shown and any(part.grant.precision == "exact" for part in parts)

    def _of(self, layer: str, rows: dict[str, Row]) -> dict[str, tuple[Row, list[str]]]:
        found = {name: self._feature(layer, row) for name, row in rows.items()}
        return {name: told for name, told in found.items() if told is not None}

    def _feature(self, layer: str, row: Row) -> tuple[Row, list[str]] | None:
        """What is seen of a feature; None: nothing, not even that it is there."""
        shown: Row = {}
        places: set[str] = set()
        for part in self._parts(layer):
            if not part.shows(layer, row):
                continue
            places.add(_told(row["place"], part.grant))
            named = COLUMNS[layer] if part.grant.attributes is None else part.grant.attributes
            shown |= {name: row[name] for name in named if CLASS.get(name, "open") in part.grant.classes}
        shown = {name: value for name, value in shown.items() if value is not None}
        # The most exact is told: whoever sees a place itself learns nothing from another grant's coarser one.
        best = min(places, key=lambda place: PRECISIONS.index(place.split(" ")[0]), default="").split(" ")[0]
        return (shown, sorted(place for place in places if place.startswith(best))) if places else None

    def _parts(self, layer: str) -> list[Part]:
        everybodys = [] if layer == "works" else [Part(Grant(0, self.agency, layer))]
        return [*everybodys, *(part for part in self.parts if part.grant.layer == layer)]


def _told(place: shapely.Geometry, grant: Grant) -> str:
    match grant.precision:
        case "none":
            return "none"
        case "centroid":
            return f"centroid {shapely.centroid(place).wkt}"
    return f"{grant.precision} {place.wkt}"


def certain(seen: Seen) -> Any:
    """What is seen, without places on a coarse grid: whether these are others cannot be told from the stored ones."""
    return {layer: {name: (shown, [each for each in places if not each.startswith("generalised")])
                    for name, (shown, places) in found.items()} for layer, found in seen.items()}  # fmt: skip


def cards_of(rows: Rows) -> dict[str, Row]:
    """The derived layer, made once more."""
    cards = {}
    for name, row in rows["plots"].items():
        works = sorted((w["permit"], w) for w in rows["works"].values() if w["shape"].intersects(row["shape"]))
        items = [{"id": permit, "floors": each["floors"]} for permit, each in works]
        costs = [each["cost"] for _, each in works]
        cards[name] = {
            "sheet": row["number"], "work_count": len(items), "works": items, "defence": row["use"] == "CQP",
            "first_work": items[0]["id"] if items else None,
            "cost_sum": sum(costs) if costs else None, "use": row["use"], "place": row["place"],
        }  # fmt: skip
    return cards


def policy(agency: str, chance: random.Random) -> Policy:
    made = Policy(agency)
    # Of an agency with one grant the file is all it sees, of one with more a part of it.
    actions: list[frozenset[Action]] = [frozenset({"read", "export"}), frozenset({"read"})]
    for layer in ("plots", "plots", "works", "works", "cards"):
        if chance.random() < 0.35:
            continue
        rows, test = chance.choice([(None, None), *ROWS[layer]])
        ground = ground_of(chance) if chance.random() < 0.35 else None
        names = chance.sample(COLUMNS[layer][1:], 2) if chance.random() < 0.3 else None
        precision: Any = chance.choice(["exact", "exact", "exact", "generalised", "centroid", "none"])
        classes: Any = chance.choice([{"open"}, {"open", "agency"}, {"open", "agency", "restricted"}])
        grant = Grant(
            0, agency, layer, classes=frozenset(classes), attributes=names and (COLUMNS[layer][0], *names), rows=rows,
            polygon=None if ground is None else shapely.to_geojson(ground), precision=precision,
            metres=50.0 if precision == "generalised" else 0.0, actions=actions[len(made.parts) % len(actions)],
            legal_basis="NĐ 194/2025/NĐ-CP", purpose="test",
        )  # fmt: skip
        made.parts.append(Part(grant, test, ground))
    return made


def ground_of(chance: random.Random) -> shapely.Geometry:
    """Some columns of the town, cut through the middle of plots, so that no boundary is in doubt."""
    west, east = sorted(chance.sample(range(9), 2))
    ring = shapely.box(CORNER[0] + west * SIZE - 10, CORNER[1] - 10, CORNER[0] + east * SIZE - 10, CORNER[1] + 130)
    return shapely.transform(ring, lambda xy: vn2000.to_wgs84(xy, GRID))


@dataclass
class City:
    """The rows as the test knows them, and a way to bring them into the store."""

    town: Town
    rows: Rows

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
                [row["shape"] for row in rows], [GRID] * len(rows), faults(layer, rows))  # fmt: skip


def faults(layer: str, rows: list[Row]) -> list[Finding]:
    """Every value that some contract's check might warn of, so that the rates are others with nearly every event."""
    odd = {"number": 20, "legal_area": 420.0, "floors": 4, "cost": 50.0}
    return [
        Finding("attribute.range", "warning", "warn", row[COLUMNS[layer][0]], at, name, row[name], limit)
        for at, row in enumerate(rows, start=1) for name, limit in odd.items() if row.get(name, 0) > limit
    ]  # fmt: skip


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
    """On the plot of its number, as a rule; some refer to another one, and some to one that is not there."""
    refers = chance.choice([f"P{index:03}", f"P{chance.randrange(40):03}", "P900", None])
    return placed(
        {"permit": f"W{index:02}", "floors": chance.randint(1, 6), "cost": float(chance.randint(10, 90)),
         "plot": refers},
        shapely.Point(CORNER[0] + 6 + SIZE * (index % 8), CORNER[1] + 10 + SIZE * (index // 8)),
    )  # fmt: skip


@dataclass(frozen=True)
class Event:
    """Something that happens to one feature: what it was, and what it is; None: it was not there, or is no more."""

    layer: str
    name: str
    before: Row | None
    after: Row | None

    def upon(self, rows: Rows) -> Rows:
        """The rows once it has happened."""
        kept = {**rows[self.layer]}
        if self.after is None:
            del kept[self.name]
        else:
            kept[self.name] = self.after
        return {**rows, self.layer: kept}


def happen(city: City, chance: random.Random, layer: str | None = None) -> Event:
    """Something that happens to one feature, of that layer or of any, not loaded yet."""
    event = conceived(city.rows, chance, layer)
    city.rows = event.upon(city.rows)
    return event


def conceived(rows: Rows, chance: random.Random, layer: str | None = None) -> Event:
    """Something that might happen."""
    layer = layer or chance.choice(["plots", "works"])
    name = chance.choice(sorted(rows[layer]))
    before = rows[layer][name]
    kind = chance.choice(["value", "value", "value", "place", "end", "begin"])
    if kind == "end":
        return Event(layer, name, before, None)
    if kind == "begin":
        number = len(rows[layer]) + 100
        after = plot(number % 40, chance) | {"key": f"P{number}"} if layer == "plots" else work(number % 16, chance) | {
            "permit": f"W{number}"}  # fmt: skip
        return Event(layer, after[COLUMNS[layer][0]], None, after)
    if kind == "place":
        # By no sum of these does a point come to lie on a boundary.
        moved = shapely.transform(before["shape"], lambda xy: xy + np.array([2.7, 3.9]))
        return Event(layer, name, before, placed(before, moved))
    column = chance.choice(COLUMNS[layer][1:])
    choices = {
        "number": [7, 33], "use": ["ODT", "CLN", "CQP"], "legal_area": [405.5, 500.25], "note": ["mới", None],
        "mark": ["a9", "c3"], "valid_from": [date(2019, 5, 1)], "floors": [2, 5], "cost": [12.5, 77.0],
        "plot": [*sorted(rows["plots"])[:3], "P901", None],
    }  # fmt: skip
    value = chance.choice([value for value in choices[column] if value != before[column]])
    return Event(layer, name, before, {**before, column: value})


def addresses(layer: str, names: list[str], then: str) -> Iterator[str]:
    """Every address about a layer, in every format. `then`: an instant at which it was already loaded."""
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
        "plot=P001", "sortby=plot,first_work", "filter=plot%20IS%20NULL", "filter=NOT%20(plot='P001')",
        "first_work=W01", "filter=A_CONTAINS(works,('W01'))", "filter=work_count%20%3E%200", "sortby=-work_count",
        "filter=works%20IS%20NULL",
        "properties=works,plot&limit=30", f"as-of={then}", f"as-of={then}&sortby=-first_work,-number&limit=30",
    ]  # fmt: skip
    yield from (f"{at}/items?f=json&{each}" for each in told)
    for name in names:
        yield from (f"{at}/items/{name}?f={format_}" for format_ in ("json", "html", "jsonfg", "jsonld"))
        yield f"{at}/items/{name}?f=json&as-of={then}"
    yield from (f"{at}/{rest}" for rest in (
        "tiles", "tiles/WebMercatorQuad?f=tilejson", "tiles/WebMercatorQuad", "tiles/WebMercatorQuad/16/28863/52039",
        "tiles/WebMercatorQuad/17/57726/104079", "changes", "changes?f=ndjson&limit=30", "changes?f=html",
        "changes?since=now", "changes?since=1", "changes?since=2020-01-01", f"changes?since={then}", "styles",
        "styles/default?f=mapbox", "styles/default?f=qml", "styles/default?f=sld11",
        *(f"statistics?by={by}&f={format_}" for by in ("use", "valid_from", "use,valid_from", "floors", "work_count")
          for format_ in ("json", "csv", "html")),
    ))  # fmt: skip
    record = f"/collections/data-catalogue/items/{layer}"
    yield from (f"{record}?f={format_}" for format_ in ("json", "html", "jsonld", "iso19139"))
    yield f"/catalogue/changes?collection={layer}"


def general(agency: str, names: list[str]) -> Iterator[str]:
    """Every other address. `names`: ids of plots."""
    yield from (
        "/?f=json", "/?f=html", "/?f=jsonld", "/conformance", "/openapi?f=json", "/openapi?f=html",
        "/collections?f=json", "/collections?f=html", "/collections?f=jsonld", "/tiles", "/tiles?f=html",
        "/tiles/WebMercatorQuad?f=tilejson", "/tiles/WebMercatorQuad/17/57726/104079",
        "/tiles/WebMercatorQuad/16/28863/52039?collections=cards", "/code-lists/use", "/catalogue", "/catalogue?f=html",
        "/catalogue/changes", "/catalogue/changes?f=html", "/open-data", "/open-data?f=html",
        "/collections/data-catalogue", "/collections/data-catalogue/items", "/collections/data-catalogue/items?f=html",
        "/collections/data-catalogue/items?q=th%E1%BB%AD", "/collections/data-catalogue/items?sortby=-updated",
        "/collections/data-catalogue/items?bbox=105,20,107,22", "/styles", "/styles/default", "/requests", "/health",
        "/statistics?f=json", "/statistics?f=html",
        f"/qgis/{agency}.qgz", "/qgis/public.qgz",
    )  # fmt: skip
    yield from (f"/lots/{name}/dossier?f={format_}" for name in names for format_ in ("json", "html"))
