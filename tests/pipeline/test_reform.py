"""An administrative reform: codes by place and by the table of successions, and what old and new codes find."""

from __future__ import annotations

import csv
import json
import unicodedata
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from sdi import pipeline
from sdi.access import PUBLIC, row_filter
from sdi.contract.query import FeatureQuery, Interval
from sdi.errors import UsageError
from sdi.store import cql, engine, features, history, succession
from tests.deployment import Deployment
from tests.pipeline.test_real_sets import VIETNAM

DAY = date(2025, 7, 1)
BEFORE, AFTER = ("1990-01-01", DAY.isoformat()), (DAY.isoformat(), None)
WEST, SOUTH, STEP = 106.70, 10.77, 0.001
"""The town's corner in TP.HCM, and the side of one of its squares, in degrees."""


def square(west: float, east: float, south: float = 0.0, north: float = 1.0) -> dict[str, Any]:
    x, y = (lambda n: WEST + n * STEP), (lambda n: SOUTH + n * STEP)
    ring = [[x(west), y(south)], [x(east), y(south)], [x(east), y(north)], [x(west), y(north)], [x(west), y(south)]]
    return {"type": "Polygon", "coordinates": [ring]}


def unit(code: str, days: tuple[str, str | None], shape: dict[str, Any] | None, *former: Any) -> dict[str, Any]:
    """A commune; `former`: (code, share) of the units it succeeds."""
    succeeds = [{"id": f"{old}.{BEFORE[0]}", "code": old, "share": share} for old, share in former]
    properties = {"code": code, "level": "commune", "name": f"Xã {code}", "valid_from": days[0], "valid_to": days[1],
                  "provinceCode": "99", "succeeds": json.dumps(succeeds) if succeeds else None}  # fmt: skip
    return {"type": "Feature", "geometry": shape, "properties": properties}


# 1, 2 and 3 become 91; 4 is divided between 92 and 5, which goes on under its code as a larger unit; 6 becomes 93.
UNITS = [
    unit("99001", BEFORE, square(0, 1)), unit("99002", BEFORE, square(1, 2)), unit("99003", BEFORE, square(2, 3)),
    unit("99004", BEFORE, square(3, 5)), unit("99005", BEFORE, square(5, 6)), unit("99006", BEFORE, square(6, 7)),
    unit("99091", AFTER, square(0, 3), ("99001", 100), ("99002", 100), ("99003", 100)),
    unit("99092", AFTER, square(3, 4), ("99004", 50)),
    unit("99005", AFTER, square(4, 6), ("99005", 100), ("99004", 50)),
    unit("99093", AFTER, square(6, 7), ("99006", 100)),
]  # fmt: skip
PARCELS = {
    "one": ("99001", square(0.1, 0.9)), "two": ("99002", square(1.1, 1.9)), "three": ("99003", square(2.1, 2.9)),
    "four west": ("99004", square(3.1, 3.9)), "four east": ("99004", square(4.1, 4.9)),
    "five": ("99005", square(5.1, 5.9)), "astray": ("99004", square(9.1, 9.9)), "six": ("99006", square(6.1, 6.4)),
    "defence": ("99006", square(6.5, 6.9)),
}  # fmt: skip


def parcel(name: str, code: str, shape: dict[str, Any], **more: Any) -> dict[str, Any]:
    properties = {"maXa": code, "soTo": "1", "soThua": name, "khoa": name, "maXaToBanDo": code,
                  "loaiDat": "CQP" if name == "defence" else "ODT"}  # fmt: skip
    return {"type": "Feature", "geometry": shape, "properties": properties | more}


@dataclass(frozen=True)
class Town(Deployment):
    folder: Path = Path()

    def bring(self, layer: str, found: list[dict[str, Any]], **said: Any) -> pipeline.Outcome:
        file = self.folder / f"{layer}.geojson"
        file.write_text(json.dumps({"type": "FeatureCollection", "features": found}), encoding="utf-8")
        outcome = self.deliver(layer, file, **({"grid": 9210} | said))
        assert outcome.load is not None, outcome.report.by_rule()
        assert not outcome.load.quarantined, [f.sentence("en") for f in outcome.report.findings]
        return outcome

    def bring_parcels(self, **changed: dict[str, Any]) -> pipeline.Outcome:
        rows = [parcel(name, *PARCELS[name], **changed.get(name, {})) for name in PARCELS]
        return self.bring("cadastral_parcels", rows, mapping={"khoa": "parcel_key"})

    def reform(self, on: date = DAY) -> pipeline.Reformed:
        with self.loader() as connection:
            return pipeline.reform(connection, self.settings, self.registry, "cadastral_parcels", on, steward="sở")

    def find(
        self, code: str, *, on: date | None = None, as_filter: str | None = None, public: bool = False
    ) -> set[str]:
        """The parcels that a code finds, as the public's role."""
        layer = self.registry["cadastral_parcels"]
        moment = datetime.combine(on, datetime.min.time(), UTC) if on else None
        query = FeatureQuery("cadastral_parcels", (), limit=None, interval=Interval(moment, moment) if on else None)
        if as_filter is None:
            query = replace(query, equals=(("commune_code", code),))
        else:
            names = [each.name for each in layer.attributes]
            query = replace(query, filters=(cql.parse_filter(as_filter, "cql2-text", layer, names),))
        withheld = cql.parse_filter(row_filter(PUBLIC, layer) or "", "cql2-text", layer, list(layer.by_name))
        if public:
            query = replace(query, filters=(*query.filters, withheld))
        with engine.connect(engine.database_url(self.settings), engine.READER) as connection:

            def answer(asked: FeatureQuery) -> set[str]:
                statement = features.select_rows(layer, asked)
                return {row[0] for row in connection.execute(statement.sql, statement.params)}

            lookup = succession.select_meant(layer, query)
            meant = tuple(connection.execute(lookup.sql, lookup.params).fetchall()) if lookup else None
            found = answer(query)
            assert answer(replace(query, meant=meant)) == found, "codes looked up before are those looked up on the way"
            return found

    def codes(self) -> dict[str, tuple[str, str | None]]:
        rows = self.rows("SELECT id, commune_code, old_commune_code FROM cadastre.cadastral_parcels")
        return {name: (code, former) for name, code, former in rows}


@pytest.fixture(scope="module")
def deployment(new_deployment: Callable[..., Deployment]) -> Deployment:
    return new_deployment(extent=VIETNAM)


@pytest.fixture
def empty(deployment: Deployment, tmp_path: Path) -> Town:
    with engine.connect(engine.database_url(deployment.settings)) as connection:
        connection.execute(
            "TRUNCATE admin.admin_units, admin.admin_units__past, cadastre.cadastral_parcels,"
            " cadastre.cadastral_parcels__past, cadastre.parcel_overview, cadastre.parcel_overview__past,"
            " sdi.unit, sdi.succession, sdi.load CASCADE"
        )
    return Town(deployment.settings, deployment.registry, tmp_path)


@pytest.fixture
def town(empty: Town) -> Town:
    empty.bring("admin_units", UNITS)
    empty.bring_parcels()
    return empty


OLD_GROUND = {
    "99001": {"one"}, "99002": {"two"}, "99003": {"three"}, "99004": {"four west", "four east", "astray"},
    "99006": {"six", "defence"},
}  # fmt: skip


def test_a_reform_gives_new_codes_by_succession_and_by_place(town: Town) -> None:
    done = town.reform()
    assert done.plan.moves == {
        ("99001", "99091", "alone"): 1, ("99002", "99091", "alone"): 1, ("99003", "99091", "alone"): 1,
        ("99004", "99005", "place"): 1, ("99004", "99092", "place"): 1, ("99006", "99093", "alone"): 2,
    }  # fmt: skip
    assert town.codes() == {
        "one": ("99091", "99001"), "two": ("99091", "99002"), "three": ("99091", "99003"),
        "four west": ("99092", "99004"), "four east": ("99005", "99004"), "five": ("99005", "99005"),
        "astray": ("99004", None), "six": ("99093", "99006"), "defence": ("99093", "99006"),
    }  # fmt: skip
    assert [(each.id, each.code, each.why) for each in done.plan.unplaced] == [("astray", "99004", "nowhere")]
    assert done.load is not None
    assert (done.load.updated, done.load.inserted, done.load.deleted) == (8, 0, 0)


def test_nothing_else_of_a_feature_changes(town: Town) -> None:
    kept = "SELECT id, parcel_key, map_commune_code, sheet_number, ST_AsEWKB(geom) FROM cadastre.cadastral_parcels"
    before = sorted(town.rows(kept))
    town.reform()
    assert sorted(town.rows(kept)) == before
    assert dict(town.rows("SELECT id, map_commune_code FROM cadastre.cadastral_parcels"))["one"] == "99001"


def test_a_reform_that_is_only_planned_writes_nothing(town: Town) -> None:
    before, loads = town.codes(), town.rows("SELECT count(*) FROM sdi.load")
    with town.loader() as connection:
        done = pipeline.plan_reform(connection, town.registry, "cadastral_parcels", DAY)
    assert (done.plan.total, done.plan.unplaced_count, done.load) == (7, 1, None)
    assert (town.codes(), town.rows("SELECT count(*) FROM sdi.load")) == (before, loads)


def test_a_reform_done_twice_writes_once(town: Town) -> None:
    town.reform()
    again = town.reform()
    assert again.load is not None
    assert (again.load.written, again.plan.moves) == (0, {})


def test_before_the_day_nothing_is_reformed(town: Town) -> None:
    done = town.reform(date(2025, 6, 30))
    assert done.load is not None
    assert (done.load.written, done.plan.unplaced) == (0, [])


def test_derived_layers_follow(town: Town) -> None:
    town.reform()
    assert set(town.rows("SELECT id, commune_code FROM cadastre.parcel_overview WHERE id IN ('one', 'four east')")) == {
        ("one", "99091"), ("four east", "99005"),
    }  # fmt: skip


def test_a_reform_is_rolled_back_like_any_load(town: Town) -> None:
    before = town.codes()
    done = town.reform()
    assert done.load is not None
    after = town.codes()
    with town.loader() as connection:
        layer = town.registry["cadastral_parcels"]
        first = min(row[0] for row in town.rows("SELECT load_id FROM sdi.load WHERE layer = %s", layer.id))
        pipeline.rollback(connection, town.settings, town.registry, layer.id, first, steward="sở")
        assert town.codes() == before
        assert town.find("99004") == OLD_GROUND["99004"]
        pipeline.rollback(connection, town.settings, town.registry, layer.id, done.load.load_id, steward="sở")
        changed = history.versions(connection, layer, "one")[1].changed
    assert town.codes() == after
    assert changed == {"commune_code": ("99001", "99091"), "old_commune_code": (None, "99001")}
    assert [mode for (mode,) in town.rows("SELECT mode FROM sdi.load WHERE layer = %s ORDER BY load_id", layer.id)] == [
        "full", "reform", "rollback", "rollback",
    ]  # fmt: skip


@pytest.mark.parametrize("reformed", [False, True])
def test_an_old_code_finds_the_parcels_of_the_old_commune_before_and_after(town: Town, reformed: bool) -> None:
    if reformed:
        town.reform()
    for code, names in OLD_GROUND.items():
        assert town.find(code) == names
        assert town.find(code, as_filter=f"commune_code = '{code}'") == names


def test_a_new_code_finds_what_its_only_predecessors_had_before_the_reform_and_all_after(town: Town) -> None:
    merged = {"one", "two", "three"}
    assert town.find("99091") == merged
    assert town.find("99092") == set()  # of a unit that was divided only the place tells
    town.reform()
    assert town.find("99091") == merged
    assert town.find("99092") == {"four west"}
    assert town.find("99093") == {"six", "defence"}


def test_a_code_that_is_used_again_means_the_unit_of_the_day_that_is_asked_for(town: Town) -> None:
    town.reform()
    assert town.find("99005") == {"five", "four east"}
    assert town.find("99005", on=date(2025, 7, 1)) == {"five", "four east"}
    assert town.find("99005", on=date(2025, 6, 30)) == {"five"}
    assert town.find("99004", on=date(2025, 6, 30)) == {"four west", "four east", "astray"}


def test_filters_read_codes_as_parameters_do(town: Town) -> None:
    town.reform()
    everything = set(PARCELS)
    assert town.find("", as_filter="commune_code IN ('99001', '99006')") == {"one", "six", "defence"}
    assert town.find("", as_filter="commune_code <> '99004'") == everything - OLD_GROUND["99004"]
    assert town.find("", as_filter="NOT commune_code = '99001' AND parcel_number <> 'two'") == everything - {
        "one", "two",
    }  # fmt: skip
    assert town.find("", as_filter="'99001' = commune_code") == {"one"}
    assert town.find("", as_filter="commune_code LIKE '9909%'") == {
        "one",
        "two",
        "three",
        "four west",
        "six",
        "defence",
    }


def test_what_is_withheld_is_found_by_no_code(town: Town) -> None:
    for _ in range(2):
        assert town.find("99006", public=True) == town.find("99093", public=True) == {"six"}
        town.reform()


def test_a_code_that_no_unit_has_finds_what_bears_it(town: Town) -> None:
    town.bring_parcels(one={"maXa": "12345"})
    assert town.find("12345") == {"one"}
    assert town.find("54321") == set()


def test_a_delivery_that_brings_a_former_code_keeps_it(town: Town) -> None:
    town.bring_parcels(one={"maXaCu": "88888"})
    town.reform()
    assert town.codes()["one"] == ("99091", "88888")


def test_units_that_only_name_their_predecessors_by_code_are_enough(town: Town) -> None:
    """Most sets have the units of today alone: without the old outlines, the succession still tells."""
    rows = town.rows("SELECT id FROM admin.admin_units WHERE valid_to IS NOT NULL")
    with town.loader() as connection:
        for (name,) in rows:
            connection.execute("DELETE FROM admin.admin_units WHERE id = %s", [name])
    done = town.reform()
    assert done.plan.moves["99001", "99091", "alone"] == 1
    assert done.plan.moves["99004", "99092", "place"] == 1
    assert town.codes()["five"] == ("99005", None)  # whether it lay in the old 99005, nothing tells
    assert town.find("99001") == {"one"}


def test_a_layer_without_the_part_takes_no_reform(town: Town) -> None:
    with town.loader() as connection, pytest.raises(UsageError, match="no reform"):
        pipeline.reform(connection, town.settings, town.registry, "admin_units", DAY, steward="sở")


def test_the_parcels_of_duy_nghia_stay_under_a_code_that_is_in_force_again(
    empty: Town, shared_data: Callable[[str], Path]
) -> None:
    """20635 was the code of the commune before the reform, and is that of the larger one since: 9,777 real parcels."""
    communes = read(shared_data("vn_admin_2025") / "communes_full_48_da_nang.geojson.zip")
    former = old_codes(shared_data)
    for each in communes["features"]:
        names = former[each["properties"]["gisServerId"]]
        each["properties"]["succeeds"] = json.dumps([{"id": None, "code": code, "share": None} for code in names])
    empty.bring("admin_units", communes["features"], constants={"level": "commune", "valid_from": "2025-07-01"})
    parcels = shared_data("vn_cadastre_duynghia") / "duynghia_parcels_redacted.geojson.zip"
    assert empty.deliver("cadastral_parcels", parcels, grid=5899, constants={"commune_code": "20635"}).load
    [(count,)] = empty.rows("SELECT count(*) FROM cadastre.cadastral_parcels")
    assert len(empty.find("20635")) == count
    done = empty.reform()
    assert done.load is not None
    assert (done.plan.moves, done.load.written) == ({}, 0)
    assert 1 <= done.plan.unplaced_count <= 5  # one lies in Thăng An, next to it
    assert len(empty.find("20635")) == count
    assert empty.find("20629") == set()


def read(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read(archive.namelist()[0]))


def old_codes(shared_data: Callable[[str], Path]) -> dict[str, list[str]]:
    """The raw feed's id of a commune of Đà Nẵng -> the codes of the communes it was formed from, by their names."""

    def plain(text: str) -> str:
        return " ".join(unicodedata.normalize("NFC", text).split()).casefold()

    provinces = read(shared_data("vn_admin_pre2025") / "dvhcvn_2025-03-01.json.zip")["data"]
    units = [unit for province in provinces if province["level1_id"] in ("48", "49")
             for district in province["level2s"] for unit in district["level3s"]]  # fmt: skip
    codes = {plain(unit["name"]): unit["level3_id"] for unit in units}
    with (shared_data("vn_admin_2025") / "sapnhap_raw_communes_3320_attributes.csv").open(encoding="utf-8-sig") as file:
        told = {row["id"]: row["a05_truocsn"].split(",") for row in csv.DictReader(file)}
    return {name: [codes[plain(old)] for old in former if plain(old) in codes] for name, former in told.items()}
