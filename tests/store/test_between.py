"""A delivery against the other layers: each check with rows that break it and rows that keep it, in a real database."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import shapely

from sdi.contract.layer import Check, Layer
from sdi.contract.naming import Naming
from sdi.contract.registry import Registry, read_registry
from sdi.contract.report import Finding, Report
from sdi.settings import ROOT
from sdi.store import between, between_rules, engine, ledger, loader, migrate, waiver
from sdi.store.between_rules import compatible, compiled
from sdi.store.statement import Parameters
from tests.store.town import EAST, GRID, HEAD, NORTH, Town, attribute, delivery, features

TODAY = date(2026, 11, 1)
ITEMS = "items: [{name: id, type: text, title: {vi: mã, en: id}}]"
UNITS = (
    HEAD.format(id="units", kind="features")
    + "frame: code\nidentifier: {attribute: unit}\ngeometry: {type: MultiPolygon}\n"
    + "temporal: {start: since, end: until}\nattributes:\n"
    + attribute("unit", "text")
    + attribute("code", "text")
    + attribute("level", "text")
    + attribute("since", "date")
    + attribute("until", "date")
    + attribute("succeeds", "list", f"{ITEMS}, refers_to: units")
)
PLOTS = (
    HEAD.format(id="plots", kind="features")
    + "identifier: {attribute: number}\ngeometry: {type: MultiPolygon}\nattributes:\n"
    + attribute("number", "text")
    + attribute("ward", "text")
    + attribute("use", "code", "code_list: uses")
)
HOUSES = (
    HEAD.format(id="houses", kind="features")
    + "identifier: {attribute: number}\ngeometry: {type: MultiPolygon}\nattributes:\n"
    + attribute("number", "text")
    + attribute("paper", "text")
    + attribute("exempt", "boolean")
    + attribute("floors", "integer")
)
PAPERS = (
    HEAD.format(id="papers", kind="features")
    + "identifier: {attribute: paper}\ngeometry: {type: Point, required: false}\nload: {mode: partial}\nattributes:\n"
    + attribute("paper", "text")
    + attribute("plot", "text", "refers_to: plots")
)
ZONES = (
    HEAD.format(id="zones", kind="features")
    + "identifier: {attribute: zone}\ngeometry: {type: MultiPolygon}\ntemporal: {end: until}\nattributes:\n"
    + attribute("zone", "text")
    + attribute("plan", "integer")
    + attribute("planned", "code", "code_list: uses")
    + attribute("most", "integer")
    + attribute("until", "date")
)
USES = """code,label_vi,label_en,parent,valid_from,valid_to,successor,status,source
OTC,Đất ở,Residential,,,,,group,
ODT,Đất ở đô thị,Urban residential,OTC,,,,current,
ONT,Đất ở nông thôn,Rural residential,OTC,,,,current,
TMD,Thương mại,Trade,,,,,current,
LUA,Lúa,Rice,,,,,group,
LUK,Lúa khác,Other rice,LUA,,,,current,
LUN,Lúa nương,Upland rice,LUA,,2024-08-01,LUK,superseded,
"""
CONTRACTS = {"units": UNITS, "plots": PLOTS, "houses": HOUSES, "papers": PAPERS, "zones": ZONES}


@pytest.fixture(scope="module")
def contracts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("between") / "layers"
    (folder / "code_lists").mkdir(parents=True)
    (folder / "code_lists" / "uses.csv").write_text(USES, encoding="utf-8")
    for name, text in CONTRACTS.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def database(new_database: Callable[[], str], contracts: Path) -> str:
    url = new_database()
    with engine.connect(url) as connection:
        migrate.apply(connection, read_registry(contracts))
    return url


@pytest.fixture
def village(database: str, contracts: Path) -> Iterator[Town]:
    """Empty tables of the five layers."""
    with engine.connect(database) as connection:
        names = ", ".join(f"town.{name}" for name in CONTRACTS)
        connection.execute(f"TRUNCATE sdi.load, sdi.publication, sdi.waiver, {names} CASCADE".encode())
        yield Town(database, read_registry(contracts), connection)


# --- rows -------------------------------------------------------------------------------------------------------------


def area(x: float, y: float, width: float, height: float) -> Any:
    """Metres from a corner in TP.HCM."""
    return shapely.multipolygons([shapely.box(EAST + x, NORTH + y, EAST + x + width, NORTH + y + height)])


def unit(name: str, code: str, shape: Any, **values: Any) -> dict[str, Any]:
    row = {"unit": name, "code": code, "level": "commune", "since": None, "until": None, "succeeds": None}
    return {"id": name, "geom": shape} | row | values


def plot(number: str, shape: Any, **values: Any) -> dict[str, Any]:
    return {"id": number, "number": number, "ward": None, "use": None, "geom": shape} | values


def house(number: str, shape: Any, **values: Any) -> dict[str, Any]:
    return {"id": number, "number": number, "paper": None, "exempt": None, "floors": None, "geom": shape} | values


def paper(number: str, place: tuple[float, float] | None = None, **values: Any) -> dict[str, Any]:
    point = None if place is None else shapely.Point(EAST + place[0], NORTH + place[1])
    return {"id": number, "paper": number, "plot": None, "geom": point} | values


def zone(name: str, shape: Any, **values: Any) -> dict[str, Any]:
    return {
        "id": name,
        "zone": name,
        "plan": None,
        "planned": None,
        "most": None,
        "until": None,
        "geom": shape,
    } | values


def checking(village: Town, layer: str, *checks: dict[str, Any]) -> tuple[Layer, Registry]:
    contract = village.registry[layer].model_copy(update={"checks": [Check.model_validate(each) for each in checks]})
    return contract, replace(village.registry, layers={**village.registry.layers, layer: contract})


def ask(village: Town, layer: str, rows: list[dict[str, Any]], *checks: dict[str, Any], **said: Any) -> list[Finding]:
    """What is found of rows that are only checked."""
    contract, registry = checking(village, layer, *checks)
    table = features(contract, rows)
    return between.preview(village.connection, contract, registry, table.to_reader, **({"day": TODAY} | said))


def brief(findings: list[Finding]) -> list[tuple[Any, ...]]:
    return [(f.rule, f.feature, f.value, f.limit, f.other) for f in findings]


# --- place ------------------------------------------------------------------------------------------------------------

IN_UNIT = {"rule": "place.commune", "parameters": {"layer": "units", "attribute": "ward"}}


def two_units(village: Town) -> None:
    village.load("units", [unit("A", "00001", area(0, 0, 1000, 1000)), unit("B", "00002", area(1000, 0, 1000, 1000))])


def test_a_plot_outside_the_unit_whose_code_it_bears_is_told_with_its_metres(village: Town) -> None:
    two_units(village)
    rows = [plot("1", area(10, 10, 20, 20), ward="00001"), plot("2", area(1290, 10, 20, 20), ward="00001")]
    told = ask(village, "plots", rows, IN_UNIT)
    assert [(f.rule, f.feature, f.row, f.attribute, f.limit, f.other) for f in told] == [
        ("place.commune", "2", 2, "ward", 1, "00001")
    ]
    assert told[0].value == pytest.approx(300, abs=0.5)
    assert told[0].place == pytest.approx((105.75 + 0.9242, 10.7609), abs=0.01)
    assert "00001" in told[0].sentence("vi")


def test_what_is_found_is_told_by_titles(village: Town) -> None:
    row = plot("1", area(10, 10, 20, 20), ward="00009")
    (empty,) = ask(village, "plots", [row], IN_UNIT)
    assert (
        empty.sentence("en")
        == f"Not compared with layer {village.registry['units'].title.en}, which holds nothing yet."
    )
    two_units(village)
    contract = village.registry["plots"]
    (told,) = ask(village, "plots", [row], IN_UNIT, naming=Naming(contract, {"ward": "MAXA"}))
    assert told.attribute == "ward"
    assert (
        told.sentence("en")
        == f"{contract['ward'].title.en} (column 'MAXA'): no unit of code '00009' is in force on {TODAY}."
    )


def test_a_plot_a_little_over_the_line_is_kept_within_the_tolerance(village: Town) -> None:
    two_units(village)
    rows = [plot("1", area(993, 10, 20, 20), ward="00001")]  # its inner point is 3 m outside
    assert ask(village, "plots", rows, IN_UNIT | {"tolerance": 2.0})[0].value == pytest.approx(3, abs=0.1)
    assert not ask(village, "plots", rows, IN_UNIT | {"tolerance": 4.0})


def test_a_code_means_the_unit_that_was_in_force_on_the_day(village: Town) -> None:
    """After the reform 00001 names another commune (3,316 of the 3,321 codes are an old commune's)."""
    reform = date(2025, 7, 1)
    village.load("units", [
        unit("old", "00001", area(0, 0, 1000, 1000), until=reform),
        unit("new", "00001", area(5000, 0, 1000, 1000), since=reform),
        unit("gone", "00009", area(0, 0, 1000, 1000), until=reform),
    ])  # fmt: skip
    rows = [plot("1", area(10, 10, 20, 20), ward="00001"), plot("2", area(10, 10, 20, 20), ward="00009")]
    assert not ask(village, "plots", rows, IN_UNIT, day=date(2025, 6, 30))
    told = ask(village, "plots", rows, IN_UNIT, day=reform)
    assert [(f.rule, f.feature) for f in told] == [("place.commune", "1"), ("place.unknown", "2")]
    assert (told[1].value, told[1].limit) == ("00009", "2025-07-01")
    assert told[0].value == pytest.approx(4980, rel=0.005)


def test_a_plot_in_no_unit_at_all_is_told(village: Town) -> None:
    province = unit("P", "79", area(0, 0, 9000, 9000), level="province")
    village.load("units", [province, unit("A", "00001", area(0, 0, 1000, 1000))])
    rows = [plot("1", area(10, 10, 20, 20)), plot("2", area(3000, 10, 20, 20))]
    check = {"rule": "place.nowhere", "parameters": {"layer": "units"}}
    assert not ask(village, "plots", rows, check)
    check["parameters"] = {"layer": "units", "other_where": "level = 'commune'"}
    assert [(f.rule, f.feature, f.limit) for f in ask(village, "plots", rows, check)] == [
        ("place.nowhere", "2", "units")
    ]


# --- references and belonging -----------------------------------------------------------------------------------------


def test_an_id_that_the_other_layer_lacks_is_told_and_one_that_is_empty_is_not(village: Town) -> None:
    village.load("plots", [plot("7", area(0, 0, 10, 10))])
    rows = [paper("G1", plot="7"), paper("G2", plot="8"), paper("G3")]
    assert brief(ask(village, "papers", rows)) == [("reference.missing", "G2", "8", "plots", None)]


def test_what_a_delivery_refers_to_may_stand_in_it(village: Town) -> None:
    rows = [
        unit("new", "1", area(0, 0, 9, 9), succeeds=[{"id": "old"}, {"id": "older"}]),
        unit("old", "2", area(0, 0, 9, 9)),
    ]
    assert brief(ask(village, "units", rows)) == [("reference.missing", "new", "older", "units", None)]
    village.load("units", [unit("older", "3", area(0, 0, 9, 9))])
    assert not ask(village, "units", rows)


def test_a_layer_that_holds_nothing_is_named_once_and_makes_no_finding_of_each_feature(village: Town) -> None:
    told = ask(village, "papers", [paper("G1", plot="7"), paper("G2", plot="8")])
    assert [(f.rule, f.severity, f.feature, f.other) for f in told] == [("layer.absent", "info", None, "plots")]


PAPERED = {
    "rule": "layer.missing",
    "parameters": {
        "layer": "papers", "key": {"paper": "paper"}, "place": True, "through": "plots",
        "through_key": {"number": "plot"}, "where": "exempt IS NULL OR exempt = FALSE",
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"paper": "G1"}, False),  # it bears the number of a paper
        ({"paper": "G9"}, True),
        ({}, True),
        ({"exempt": True}, False),
        ({"geom": area(35, 5, 10, 10)}, False),  # a paper's point lies in it
        ({"geom": area(65, 5, 10, 10)}, False),  # a paper names the plot it stands on
    ],
)
def test_a_house_without_a_paper_by_number_place_or_plot_is_told(
    village: Town, values: dict[str, Any], found: bool
) -> None:
    village.load("plots", [plot("7", area(60, 0, 20, 20)), plot("8", area(0, 0, 20, 20))])
    village.load("papers", [paper("G1"), paper("G2", (40, 10)), paper("G3", plot="7")])
    told = ask(village, "houses", [house("H", area(5, 5, 10, 10)) | values], PAPERED)
    assert [(f.rule, f.feature, f.attribute, f.value, f.other) for f in told] == (
        [("layer.missing", "H", "paper", values.get("paper"), "papers")] if found else []
    )
    if found:
        assert told[0].limit == "paper, ≤ 0 m, plots.number"


def test_a_paper_without_a_plot_may_lie_beside_one_by_so_many_metres(village: Town) -> None:
    village.load("plots", [plot("7", area(0, 0, 20, 20))])
    near, far = {"place": True, "reach": 6.0}, {"place": True, "reach": 4.0}
    rows = [paper("G1", (25, 10)), paper("G2", (10, 10)), paper("G3", (900, 10)), paper("G4")]
    for said, lost in ((near, ["G3", "G4"]), (far, ["G1", "G3", "G4"])):
        check = {"rule": "layer.missing", "parameters": {"layer": "plots", **said}}
        assert [f.feature for f in ask(village, "papers", rows, check)] == lost


# --- land -------------------------------------------------------------------------------------------------------------

CROSSES = {"rule": "layer.crosses", "parameters": {"layer": "plots", "percent": 2}}


def test_a_house_across_a_boundary_is_told_with_what_lies_outside_its_main_plot(village: Town) -> None:
    village.load("plots", [plot("7", area(0, 0, 20, 20)), plot("8", area(20, 0, 20, 20))])
    rows = [
        house("within", area(2, 2, 10, 10)),
        house("across", area(14, 2, 10, 10)),
        house("mostly beyond", area(17, 2, 10, 10)),
        house("into the road", area(2, 15, 10, 10)),
        house("nowhere", area(500, 500, 10, 10)),
        house("a hand's breadth", area(10.15, 2, 10, 10)),  # 1.5 m2, and 1.5 %
    ]
    assert brief(ask(village, "houses", rows, CROSSES)) == [
        ("layer.crosses", "across", 40.0, 2.0, "7 | 8"),
        ("layer.crosses", "mostly beyond", 30.0, 2.0, "8 | 7"),
        ("layer.crosses", "into the road", 50.0, 2.0, "7"),
    ]


def test_a_house_that_holds_together_over_many_plots_is_measured_against_the_largest(village: Town) -> None:
    """A courtyard house whose inner point lies on a small plot."""
    village.load("plots", [plot("small", area(40, 0, 5, 10)), plot("large", area(45, 0, 60, 10))])
    rows = [house("H", shapely.multipolygons([shapely.box(EAST + 40, NORTH, EAST + 47, NORTH + 10)]))]
    assert brief(ask(village, "houses", rows, CROSSES)) == [("layer.crosses", "H", 20.0, 1.4, "small | large")]


EXCEEDS = {"rule": "layer.exceeds", "parameters": {"layer": "zones", "attribute": "floors", "limit": "most"}}


def test_more_floors_than_the_zone_allows_are_told(village: Town) -> None:
    village.load("zones", [
        zone("Z5", area(0, 0, 100, 100), most=5), zone("Z?", area(100, 0, 100, 100)),
        zone("ended", area(0, 0, 100, 100), most=2, until=date(2020, 1, 1)),
    ])  # fmt: skip
    rows = [
        house("high", area(5, 5, 10, 10), floors=6), house("right", area(25, 5, 10, 10), floors=5),
        house("unknown", area(45, 5, 10, 10)), house("without limit", area(105, 5, 10, 10), floors=60),
        house("without zone", area(905, 5, 10, 10), floors=60),
    ]  # fmt: skip
    assert brief(ask(village, "houses", rows, EXCEEDS)) == [("layer.exceeds", "high", 6, 5, "Z5")]
    assert not ask(village, "houses", rows, EXCEEDS | {"tolerance": 1})


def test_of_plans_above_each_other_the_most_detailed_rules_where_the_contract_says_so(village: Town) -> None:
    shape = area(0, 0, 100, 100)
    village.load("zones", [zone("general", shape, plan=1, most=25), zone("detailed", shape, plan=3, most=5)])
    rows = [house("H", area(5, 5, 10, 10), floors=9)]
    assert not ask(village, "houses", rows, EXCEEDS)  # a plan allows it
    preferring = EXCEEDS | {"parameters": {**EXCEEDS["parameters"], "prefer": "plan"}}  # type: ignore[dict-item]
    assert brief(ask(village, "houses", rows, preferring)) == [("layer.exceeds", "H", 9, 5, "detailed")]


def test_a_limit_may_be_found_by_key(village: Town) -> None:
    village.load("zones", [zone("H", area(900, 900, 9, 9), most=3)])
    check = {"rule": "layer.exceeds", "parameters": {**EXCEEDS["parameters"], "key": {"number": "zone"}}}  # type: ignore[dict-item]
    rows = [house("H", area(5, 5, 10, 10), floors=4), house("I", area(5, 5, 10, 10), floors=4)]
    assert brief(ask(village, "houses", rows, check)) == [("layer.exceeds", "H", 4, 3, "H")]


DIFFERS = {"layer": "zones", "attribute": "use", "other": "planned"}


@pytest.mark.parametrize(
    ("use", "planned", "differs"),
    [
        ("ODT", "ODT", False),
        ("ODT", "TMD", True),
        ("ODT", "OTC", False),  # a group allows what stands below it
        ("OTC", "ODT", False),
        ("ODT", "ONT", True),  # two of one group are two
        ("LUN", "LUK", False),  # a code that the other has replaced
        ("TMD", "ODT", True),
    ],
)
def test_a_use_is_held_against_the_plan_by_codes_and_their_groups(
    village: Town, use: str, planned: str, differs: bool
) -> None:
    village.load("zones", [zone("Z", area(0, 0, 100, 100), planned=planned)])
    rows = [
        plot("7", area(0, 0, 20, 20), use=use),
        plot("8", area(0, 0, 20, 20)),
        plot("9", area(900, 0, 9, 9), use=use),
    ]
    told = ask(village, "plots", rows, {"rule": "layer.differs", "parameters": DIFFERS})
    assert brief(told) == ([("layer.differs", "7", use, planned, "Z")] if differs else [])


def test_the_contract_says_what_else_goes_with_a_planned_use(village: Town) -> None:
    codes = village.registry
    allowing = compatible(codes, codes["plots"], "use", codes["zones"], "planned", {"TMD": ["OTC"], "LUA": ["TMD"]})
    assert {("ODT", "TMD"), ("ONT", "TMD"), ("TMD", "LUK"), ("TMD", "LUN")} <= allowing
    assert ("TMD", "ODT") not in allowing
    village.load("zones", [zone("Z", area(0, 0, 100, 100), planned="TMD")])
    rows = [plot("7", area(0, 0, 20, 20), use="ODT")]
    parameters = {**DIFFERS, "allows": {"TMD": ["OTC"]}}
    assert not ask(village, "plots", rows, {"rule": "layer.differs", "parameters": parameters})


# --- what becomes of it -----------------------------------------------------------------------------------------------


def load(village: Town, rows: list[dict[str, Any]], *checks: dict[str, Any]) -> Report:
    """Houses, under a contract with other checks."""
    contract, registry = checking(village, "houses", *checks)
    report = Report("houses", "1.0.0", read=len(rows), kept=len(rows))
    with village.connection.transaction():
        loader.load(
            village.connection,
            contract,
            registry,
            features(contract, rows),
            None,
            delivery(contract),
            report,
            day=TODAY,
        )
    return report


def test_a_feature_that_breaks_a_check_between_layers_goes_to_quarantine_and_the_others_in(village: Town) -> None:
    village.load("plots", [plot("7", area(0, 0, 20, 20))])
    good, bad = house("in", area(2, 2, 10, 10), floors=2), house("out", area(15, 2, 10, 10), floors=3)
    for _ in range(2):  # an empty layer, and one that holds rows
        report = load(village, [good, bad], CROSSES | {"action": "quarantine"})
        assert (report.kept, report.quarantined) == (1, 1)
        assert village.ids("houses") == {"in"}
    held = village.rows(
        "SELECT id, source_row, findings -> 0 ->> 'rule', attributes ->> 'floors', ST_SRID(geom), ST_SRID(geom_wgs84)"
        " FROM sdi.quarantine WHERE layer = 'houses'"
    )
    assert set(held) == {("out", 2, "layer.crosses", "3", GRID, 4326)}


def test_the_hash_that_comes_with_a_feature_is_no_attribute_in_quarantine(village: Town) -> None:
    contract = village.registry["houses"]
    told = features(contract, [house("out", area(15, 2, 10, 10))]).append_column("row_hash", pa.array([bytes(16)]))
    _, rows = between.set_aside(told.to_reader, [], frozenset({1}))
    assert set(json.loads(rows["attributes"][0].as_py())) == {attribute.name for attribute in contract.stored}


def test_a_feature_that_turns_bad_keeps_its_old_state(village: Town) -> None:
    village.load("plots", [plot("7", area(0, 0, 20, 20))])
    load(village, [house("H", area(2, 2, 10, 10), floors=2), house("I", area(2, 2, 5, 5))], CROSSES)
    moved = house("H", area(15, 2, 10, 10), floors=9)
    report = load(village, [moved, house("I", area(2, 2, 5, 5))], CROSSES | {"action": "quarantine"})
    assert report.quarantined == 1
    assert village.rows("SELECT id, floors FROM town.houses ORDER BY id") == [("H", 2), ("I", None)]


def test_an_unchanged_feature_is_asked_again_for_the_other_layer_may_have_changed(village: Town) -> None:
    village.load("plots", [plot("7", area(0, 0, 20, 20))])
    rows = [house("H", area(2, 2, 10, 10))]
    assert not load(village, rows, CROSSES).findings
    village.load("plots", [plot("7", area(0, 0, 6, 20)), plot("8", area(6, 0, 14, 20))])
    assert load(village, rows, CROSSES).by_rule() == {"layer.crosses": 1}
    found = village.rows(
        "SELECT rule, feature, source_row, ST_SRID(place) FROM sdi.finding WHERE rule = 'layer.crosses'"
    )
    assert found == [("layer.crosses", "H", 1, 4326)]


def test_a_check_may_refuse_the_delivery_and_nothing_is_written(village: Town) -> None:
    village.load("plots", [plot("7", area(0, 0, 20, 20))])
    rows = [house("in", area(2, 2, 10, 10)), house("out", area(15, 2, 10, 10))]
    with pytest.raises(ledger.Refused):
        load(village, rows, CROSSES | {"action": "refuse"})
    assert village.ids("houses") == set()


def test_a_waived_finding_stays_a_finding_and_holds_nobody_back(village: Town) -> None:
    village.load("plots", [plot("7", area(0, 0, 20, 20))])
    rows = [house("out", area(15, 2, 10, 10))]
    reason = "Nhà cũ trước khi tách thửa"
    waiver.give(village.connection, village.registry["houses"], "layer.crosses", "out", reason=reason, steward="q1")
    report = load(village, rows, CROSSES | {"action": "quarantine"})
    assert [(f.rule, f.action, f.waived) for f in report.findings] == [("layer.crosses", "waived", reason)]
    assert village.ids("houses") == {"out"}


def test_checking_leaves_nothing_behind(village: Town) -> None:
    village.load("plots", [plot("7", area(0, 0, 20, 20))])
    for _ in range(2):
        assert ask(village, "houses", [house("out", area(15, 2, 10, 10))], CROSSES)
    assert village.ids("houses") == set()
    assert village.one("SELECT count(*) FROM pg_class WHERE relname IN ('sdi_staged', 'sdi_asked')") == 0


# --- the statements ---------------------------------------------------------------------------------------------------


def test_no_predicate_is_used_that_gives_up_on_valid_polygons() -> None:
    source = Path(between_rules.__file__).read_text(encoding="utf-8")
    fragile = r"ST_(Covers|CoveredBy|Contains|ContainsProperly|Within|Touches|Overlaps|Crosses|Relate|Equals)\s*\("
    assert re.findall(fragile, source) == []
    assert "ST_Transform" not in source


@pytest.mark.parametrize("check", [EXCEEDS, CROSSES, PAPERED], ids=lambda check: check["rule"])
def test_a_check_by_place_finds_its_features_by_the_index(village: Town, check: dict[str, Any]) -> None:
    shapes = [area(30 * (n % 60), 30 * (n // 60), 20, 20) for n in range(3000)]
    village.load("plots", [plot(str(n), shape) for n, shape in enumerate(shapes)])
    village.load("zones", [zone(str(n), shape, most=5) for n, shape in enumerate(shapes)])
    village.load("papers", [paper(str(n), (30 * (n % 60), 30 * (n // 60))) for n in range(3000)])
    for name in ("plots", "zones", "papers"):
        village.connection.execute(f"ANALYZE town.{name}".encode())
    contract, registry = checking(village, "houses", check)
    with village.connection.transaction(force_rollback=True):
        village.connection.execute(
            "CREATE TEMPORARY TABLE sdi_asked ON COMMIT DROP AS SELECT row_number() OVER ()::int AS source_row, id,"
            " number, 'G' || id AS paper, false AS exempt, 3::bigint AS floors, ST_PointOnSurface(geom_wgs84) AS point,"
            " geom, geom_wgs84 FROM town.plots; ANALYZE sdi_asked"
        )
        asking = between_rules.Asking(contract, registry, contract.checks[0], TODAY)
        made = between_rules.RULED[asking.check.rule](asking)
        plan = "\n".join(
            row[0] for row in village.connection.execute(b"EXPLAIN " + made.sql.as_string().encode(), made.params)
        )
    assert "geom_wgs84__ix" in plan, plan


def test_the_filters_of_every_shipped_contract_can_be_compiled() -> None:
    registry = read_registry(ROOT / "layers")
    compiled_ = 0
    for layer in registry:
        for check in layer.checks:
            for name, about in (("where", layer.id), ("other_where", check.parameters.get("layer"))):
                if name in check.parameters:
                    compiled(check.parameters[name], registry[str(about)], Parameters())
                    compiled_ += 1
    assert compiled_ > 0


def test_a_row_without_a_place_is_asked_by_key_and_told_without_one(village: Town) -> None:
    village.load("plots", [plot("7", area(0, 0, 20, 20))])
    told = ask(village, "papers", [paper("G2", plot="8"), paper("G3", (5, 5), plot="8")])
    assert [(f.feature, f.place is None) for f in told] == [("G2", True), ("G3", False)]
    assert np.isfinite(told[1].place or ()).all()
