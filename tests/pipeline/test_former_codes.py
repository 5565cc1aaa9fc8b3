"""Deliveries that still speak of the communes before a reform, to a layer that has had it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from sdi import pipeline
from sdi.store import quarantine
from tests.deployment import Deployment
from tests.pipeline.test_reform import DAY, PARCELS, Town, deployment, empty, old_codes, parcel, read, square, town

__all__ = ["deployment", "empty", "town"]
LAYER = "cadastral_parcels"
KEY = {"mapping": {"khoa": "parcel_key"}}


def counts(outcome: pipeline.Outcome) -> tuple[int, int, int]:
    assert outcome.load is not None
    return outcome.load.inserted, outcome.load.updated, outcome.load.deleted


def state(town: Town) -> list[tuple[object, ...]]:
    return town.rows(f"SELECT to_jsonb(p) - 'load_id' FROM cadastre.{LAYER} p ORDER BY id")


def of(*names: str) -> list[dict[str, object]]:
    return [parcel(name, *PARCELS[name]) for name in names]


def test_the_same_file_after_a_reform_writes_nothing_and_ends_nothing(town: Town) -> None:
    town.reform()
    before = state(town)
    for mode in ("full", "partial"):
        rows = [parcel(name, *PARCELS[name]) for name in PARCELS]
        assert counts(town.bring(LAYER, rows, mode=mode, **KEY)) == (0, 0, 0)
    assert state(town) == before


def test_what_changed_in_a_file_with_old_codes_is_all_that_is_written(town: Town) -> None:
    town.reform()
    codes = town.codes()
    assert counts(town.bring_parcels(one={"diaChi": "Phố Mới"}, five={"diaChi": "Phố Mới"})) == (0, 2, 0)
    assert town.codes() == codes
    assert town.rows(f"SELECT id FROM cadastre.{LAYER} WHERE address = 'Phố Mới' ORDER BY id") == [("five",), ("one",)]


def test_a_new_feature_under_an_old_code_gets_the_new_one_as_a_reform_would_give_it(town: Town) -> None:
    town.reform()
    rows = [*(parcel(name, *PARCELS[name]) for name in PARCELS), parcel("one b", "99001", square(0.91, 0.95)),
            parcel("four b", "99004", square(4.91, 4.95))]  # fmt: skip
    assert counts(town.bring(LAYER, rows, **KEY)) == (2, 0, 0)
    assert (town.codes()["one b"], town.codes()["four b"]) == (("99091", "99001"), ("99005", "99004"))
    done = town.reform()
    assert done.load is not None
    assert done.load.written == 0


def test_a_whole_delivery_of_an_old_commune_ends_what_that_one_lacks_and_nothing_of_its_neighbours(town: Town) -> None:
    """99001 became a part of 99091; a file of all of 99001 says nothing of what came from 99002 and 99003."""
    town.bring(LAYER, [*of(*PARCELS), parcel("one b", "99001", square(0.91, 0.95))], **KEY)
    town.reform()
    assert counts(town.bring(LAYER, of("one"), **KEY)) == (0, 0, 1)
    assert set(town.codes()) == set(PARCELS)
    assert counts(town.bring(LAYER, of("four west", "astray"), **KEY)) == (0, 0, 1)
    assert set(town.codes()) == set(PARCELS) - {"four east"}


def test_a_code_that_is_in_force_again_means_the_unit_in_which_the_delivered_features_lie(town: Town) -> None:
    town.bring(LAYER, [*of(*PARCELS), parcel("five b", "99005", square(5.91, 5.95))], **KEY)
    town.reform()
    assert counts(town.bring(LAYER, of("five"), **KEY)) == (0, 0, 1), "99005 as it was: 'four east' is not its own"
    assert "four east" in town.codes()
    rows = [parcel("four east", "99005", PARCELS["four east"][1], maXaToBanDo="99004"),
            parcel("new", "99005", square(4.91, 4.95))]  # fmt: skip
    assert counts(town.bring(LAYER, rows, **KEY)) == (1, 0, 1), "99005 as it is now: 'five' is lacking"


def test_a_delivery_in_new_codes_does_not_lose_the_old_ones(town: Town) -> None:
    town.reform()
    before = town.codes()
    rows = [parcel(name, before[name][0], shape, maXaToBanDo=code) for name, (code, shape) in PARCELS.items()]
    assert counts(town.bring(LAYER, rows, **KEY)) == (0, 0, 0)
    assert town.codes() == before


def test_a_layer_whose_reform_was_rolled_back_takes_old_codes_as_they_are(town: Town) -> None:
    done = town.reform()
    assert done.load is not None
    first = min(row[0] for row in town.rows("SELECT load_id FROM sdi.load WHERE layer = %s", LAYER))
    before = town.codes()
    with town.loader() as connection:
        pipeline.rollback(connection, town.settings, town.registry, LAYER, first, steward="sở")
    assert counts(town.bring_parcels()) == (0, 0, 0)
    assert town.codes()["one"] == ("99001", None)
    with town.loader() as connection:
        pipeline.rollback(connection, town.settings, town.registry, LAYER, done.load.load_id, steward="sở")
    assert counts(town.bring_parcels()) == (0, 0, 0)
    assert town.codes() == before


def test_a_parcel_split_under_old_codes_does_not_overlap_the_one_it_came_from(town: Town) -> None:
    town.reform()
    halves = [parcel("one w", "99001", square(0.1, 0.5)), parcel("one e", "99001", square(0.5, 0.9))]
    outcome = town.bring(LAYER, halves, **KEY)
    assert counts(outcome) == (2, 0, 1)
    assert not outcome.report.findings.of("coverage.overlap")


def test_a_feature_in_quarantine_without_an_id_ends_with_the_next_file_of_its_old_commune(town: Town) -> None:
    town.reform()
    file = town.folder / "xau.geojson"
    bad = parcel("", "99001", square(0.91, 0.95), khoa=None, soThua=None)
    file.write_text(json.dumps({"type": "FeatureCollection", "features": [*of("one"), bad]}), encoding="utf-8")
    outcome = town.deliver(LAYER, file, grid=9210, **KEY)
    assert outcome.report.quarantined == 1
    town.bring(LAYER, of("two"), **KEY)
    with town.loader() as connection:
        assert [row.state for row in quarantine.held(connection, LAYER)] == ["open"]
        town.bring(LAYER, of("one"), **KEY)
        assert list(quarantine.held(connection, LAYER)) == []


@pytest.mark.parametrize("day", [date(2025, 6, 30), DAY])
def test_the_day_of_the_reform_is_the_one_that_counts(town: Town, day: date) -> None:
    town.reform(day)
    before = town.codes()
    assert counts(town.bring_parcels()) == (0, 0, 0)
    assert town.codes() == before
    assert (before["one"][0] == "99091") == (day == DAY)


def test_the_real_parcels_of_duy_nghia_are_the_same_before_and_after(
    empty: Town, shared_data: Callable[[str], Path]
) -> None:
    communes = read(shared_data("vn_admin_2025") / "communes_full_48_da_nang.geojson.zip")
    former = old_codes(shared_data)
    for each in communes["features"]:
        names = former[each["properties"]["gisServerId"]]
        each["properties"]["succeeds"] = json.dumps([{"id": None, "code": code, "share": None} for code in names])
    empty.bring("admin_units", communes["features"], constants={"level": "commune", "valid_from": "2025-07-01"})
    parcels = shared_data("vn_cadastre_duynghia") / "duynghia_parcels_redacted.geojson.zip"
    together = next(names for names in former.values() if "20635" in names)
    gone = next(code for code in together if code != "20635")  # its ground is the same commune's now
    for code in ("20635", gone):
        said = {"grid": 5899, "constants": {"commune_code": code}, "allow_shrink": True}
        assert empty.deliver(LAYER, parcels, **said).load
        assert empty.reform().load
        before = state(empty)
        assert counts(empty.deliver(LAYER, parcels, **said)) == (0, 0, 0)
        assert state(empty) == before
        assert len(empty.find(code)) >= 9_700


def test_nothing_is_looked_up_where_no_reform_was(deployment: Deployment, town: Town) -> None:
    assert counts(town.bring_parcels()) == (0, 0, 0)
    assert town.codes()["one"] == ("99001", None)
