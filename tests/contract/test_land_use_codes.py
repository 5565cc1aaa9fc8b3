"""The land-use codes as a versioned list: what holds when, what replaced what, and what a person must decide."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta
from pathlib import Path

import pytest

from sdi.contract.codelist import CodeList, read_code_list

PATH = Path(__file__).resolve().parents[2] / "layers" / "code_lists" / "land_use.csv"
NEW_LIST = date(2024, 8, 1)
"""TT 08/2024/TT-BTNMT comes into force."""


@pytest.fixture(scope="module")
def codes() -> CodeList:
    found, faults = read_code_list(PATH)
    assert faults == []
    return found


def test_the_list_holds_the_codes_of_three_circulars(codes: CodeList) -> None:
    assert len(codes.values()) == 111
    assert Counter(code.status for code in codes.codes) == {
        "current": 53, "group": 18, "superseded": 23, "review": 9, "overlay": 8,
    }  # fmt: skip


def test_old_codes_name_the_code_that_replaced_them(codes: CodeList) -> None:
    successors = {code.code: code.successor for code in codes.codes if code.status == "superseded"}
    expected = {
        "LUN": "LUK", "BHK": "HNK", "NHK": "HNK", "DDT": "DDD", "DDL": "DDD", "DSH": "DKV", "TSL": "NTS", "TSN": "NTS",
        "LNC": "CLN", "LNQ": "CLN", "LNK": "CLN",
    }  # fmt: skip
    assert expected.items() <= successors.items()
    current = {code.code for code in codes.codes if code.status == "current"}
    assert set(successors.values()) <= current
    assert {code.successor for code in codes.codes if code.code in ("OCT", "SMN")} == {"OTC", "TVC"}


def test_uncertain_old_codes_wait_for_a_person_and_have_no_successor(codes: CodeList) -> None:
    review = {code.code: code.successor for code in codes.codes if code.status == "review"}
    assert review == dict.fromkeys(["SKT", "SKX", "DTS", "DCK", "MVB", "MVT", "MVR", "MVK", "COC"])


def test_old_codes_end_where_the_new_list_begins(codes: CodeList) -> None:
    before, after = codes.on(NEW_LIST - timedelta(days=1)), codes.on(NEW_LIST)
    assert {"BHK", "DSH", "SKX", "CDG"} <= set(before)
    assert not {"BHK", "DSH", "SKX", "CDG"} & set(after)
    new = {"CNT", "DMT", "DKT", "SCT", "DCT", "DPC", "DDD", "CGT", "MCS"}
    assert new <= set(after)
    assert not new & set(before)


def test_no_superseded_code_is_in_force_under_the_new_list(codes: CodeList) -> None:
    assert {code.status for code in codes.on(date(2026, 11, 1)).values()} == {"current", "group", "overlay"}


def test_every_code_has_one_top_group(codes: CodeList) -> None:
    parents = {code.code: code.parent for code in codes.codes}

    def top(code: str) -> str:
        above = parents[code]
        return code if above is None else top(above)

    current = [code.code for code in codes.codes if code.status == "current"]
    assert Counter(map(top, current)) == {"NNP": 11, "PNN": 37, "CSD": 5}
    assert (top("ODT"), top("LUC"), top("BCS"), top("CQP")) == ("PNN", "NNP", "CSD", "PNN")


def test_every_entry_says_where_it_comes_from_and_how_sure_that_is(codes: CodeList) -> None:
    assert all(code.source.startswith(("[V] ", "[2] ", "[C] ", "[R] ", "[?] ")) for code in codes.codes)
    assert {code.source[:3] for code in codes.codes} <= {"[2]", "[R]"}  # the official annex has not been read


def test_every_current_code_has_a_colour_of_its_own_for_the_map(codes: CodeList) -> None:
    assert [code.code for code in codes.codes if code.status == "current" and code.colour is None] == []


def test_a_code_of_another_day_is_still_found(codes: CodeList) -> None:
    found = codes.find("BHK", date(2026, 1, 1))
    assert found is not None
    assert found.successor == "HNK"
    assert codes.find("XXX", date(2026, 1, 1)) is None
