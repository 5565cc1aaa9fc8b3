"""Form: each check with a delivery that breaks it and one that keeps it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import numpy as np
import pytest

from sdi.contract.report import Finding
from sdi.ingest.checks.unique import shared
from sdi.ingest.deliver import Received
from tests.ingest.plots import code, square

HandIn = Callable[..., Received]
X, Y = 603_500.0, 1_191_400.0

PLOTS = """
identifier: {template: "{number}"}
geometry: {type: Polygon}
temporal: {start: since, end: until}
attributes:
  - {name: number, title: {vi: Số, en: Number}, type: integer}
  - {name: commune, title: {vi: Xã, en: Commune}, type: text}
  - {name: former, title: {vi: Xã cũ, en: Former commune}, type: text}
  - {name: sheet, title: {vi: Tờ, en: Sheet}, type: text}
  - {name: parcel, title: {vi: Thửa, en: Parcel}, type: text}
  - {name: use, title: {vi: Loại đất, en: Use}, type: code, code_list: uses}
  - {name: since, title: {vi: Từ, en: Since}, type: date}
  - {name: until, title: {vi: Đến, en: Until}, type: date}
  - {name: year, title: {vi: Năm, en: Year}, type: integer, unit: a}
  - {name: seen, title: {vi: Lúc, en: Seen}, type: datetime}
"""
CODES = (code("ODT"), code("CLN"))


def contract(*checks: str) -> str:
    return PLOTS + ("checks:\n" if checks else "") + "".join(f"  - {check}\n" for check in checks)


def plots(*rows: dict[str, Any]) -> list[tuple[Any, dict[str, Any]]]:
    return [(square(X + 20 * n, Y), {"number": n, **row}) for n, row in enumerate(rows, start=1)]


def found(received: Received, rule: str) -> list[Finding]:
    return [finding for finding in received.report.findings if finding.rule == rule]


# --- unique -----------------------------------------------------------------------------------------------------------

NUMBERED = "{rule: attribute.unique, parameters: {attributes: [sheet, parcel], within: [commune, former]}}"
VALID = "{rule: attribute.unique, parameters: {attributes: [sheet, parcel], within: [commune], valid: true}}"


def test_sheet_and_parcel_number_twice_in_a_commune_are_told_of_both(hand_in: HandIn) -> None:
    rows = [{"commune": "00004", "sheet": "7", "parcel": number} for number in ("1", "2", "1")]
    told = found(hand_in(contract(NUMBERED), plots(*rows), *CODES), "attribute.unique")
    assert [(f.feature, f.other, f.value) for f in told] == [("1", "3", "7 / 1"), ("3", "1", "7 / 1")]
    assert told[0].row == 1
    assert told[0].place is not None
    assert told[0].sentence("vi") == ("Tờ (cột «sheet») / Thửa (cột «parcel») = «7 / 1» cũng là của đối tượng 3.")


@pytest.mark.parametrize(
    "other",
    [
        {"commune": "00007", "sheet": "7", "parcel": "1"},  # another commune numbers by itself
        {"commune": "00004", "former": "00001", "sheet": "7", "parcel": "1"},  # so does one that was merged into it
        {"commune": "00004", "sheet": "7", "parcel": None},  # without a number there is none to repeat
    ],
)
def test_the_same_numbers_may_stand_in_another_commune_old_or_new(hand_in: HandIn, other: dict[str, Any]) -> None:
    rows = [{"commune": "00004", "sheet": "7", "parcel": "1"}, other]
    assert not found(hand_in(contract(NUMBERED), plots(*rows), *CODES), "attribute.unique")


def test_a_number_may_be_given_again_when_its_first_parcel_has_ended(hand_in: HandIn) -> None:
    same = {"commune": "00004", "sheet": "7", "parcel": "1"}
    ended = same | {"since": "2001-05-01", "until": "2020-03-01"}
    followed = hand_in(contract(VALID), plots(ended, same | {"since": "2020-03-01"}), *CODES)
    assert not found(followed, "attribute.unique")
    early = hand_in(contract(VALID), plots(ended, same | {"since": "2020-02-28"}), *CODES)
    assert [f.feature for f in found(early, "attribute.unique")] == ["1", "2"]


def test_both_of_a_repeated_number_go_to_quarantine_where_the_contract_says_so(hand_in: HandIn) -> None:
    rows = [{"commune": "00004", "sheet": "7", "parcel": number} for number in ("1", "2", "1")]
    received = hand_in(contract(NUMBERED.replace("unique,", "unique, action: quarantine,")), plots(*rows), *CODES)
    assert (received.report.kept, received.report.quarantined) == (1, 2)


def test_periods_that_share_a_key_are_found_as_pair_by_pair_comparison_finds_them() -> None:
    rng = np.random.default_rng(5)
    keys = rng.integers(0, 60, 400)
    start = rng.integers(0, 1000, 400)
    end = start + rng.integers(1, 60, 400)
    meets = (keys[:, None] == keys) & (start[:, None] < end) & (start < end[:, None]) & ~np.eye(400, dtype=bool)
    one, other = shared(keys, start, end)
    assert meets[one, other].all()
    assert set(one.tolist() + other.tolist()) <= set(np.flatnonzero(meets.any(axis=1)).tolist())
    later = {max(pair, key=lambda row: (start[row], end[row], row)) for pair in zip(*np.nonzero(meets), strict=True)}
    assert {(keys[row], start[row]) for row in later} == {(keys[row], start[row]) for row in one.tolist()}


# --- codes at the date of the data ------------------------------------------------------------------------------------

LISTED = (
    code("LUK"),
    code("LUN", "superseded", valid_to=date(2024, 8, 1), successor="LUK"),
    code("CNT", valid_from=date(2024, 8, 1)),
)
DATED = "{rule: code.superseded, parameters: {attribute: use, date: since}}"


def test_a_code_is_held_against_the_list_of_the_features_own_day(hand_in: HandIn) -> None:
    rows = plots({"use": "LUN", "since": "2019-01-01"}, {"use": "LUN", "since": "2025-01-01"}, {"use": "LUN"})
    told = found(hand_in(contract(DATED), rows, *LISTED), "code.superseded")
    assert [(f.feature, f.value, f.limit) for f in told] == [("2", "LUN", "LUK"), ("3", "LUN", "LUK")]


def test_without_a_day_of_its_own_a_code_is_held_against_that_of_the_delivery(hand_in: HandIn) -> None:
    rows = plots({"use": "LUN", "since": "2025-01-01"})
    assert not found(hand_in(contract(), rows, *LISTED, day=date(2019, 1, 1)), "code.superseded")
    assert found(hand_in(contract(), rows, *LISTED, day=date(2025, 1, 1)), "code.superseded")


def test_a_code_keeps_the_lists_spelling_when_days_differ(hand_in: HandIn) -> None:
    rows = plots({"use": "luk", "since": "2019-01-01"}, {"use": "LUK", "since": "2025-01-01"}, {"since": "2025-01-01"})
    received = hand_in(contract(DATED), rows, *LISTED)
    assert received.features().read_all()["use"].to_pylist() == ["LUK", "LUK", None]


# --- text -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "broken"),
    [
        ("Ph\ufffd\ufffdng Bến Nghé", "U+FFFD"),
        ("Phường\x07 Bến Nghé", "U+0007"),
        ("Tổ 3 – Äƒn uá»‘ng", "Äƒ á»‘"),
    ],
)
def test_broken_characters_are_told_and_the_value_kept(hand_in: HandIn, value: str, broken: str) -> None:
    # Beside good text, so that no encoding fits the whole column better than what it says.
    good = [{"sheet": f"Phường Bến Nghé, ngõ {n}"} for n in range(30)]
    received = hand_in(contract(), plots({"sheet": value}, *good), *CODES)
    told = found(received, "text.garbled")
    assert [(f.feature, f.attribute, f.limit) for f in told] == [("1", "sheet", broken)]
    assert not any(ord(character) < 32 for character in str(told[0].value))
    assert received.report.kept == 31


@pytest.mark.parametrize("value", ["“UBND XÃ”", "Đường «Lá»", "Nguyễn Thị Ánh Đường Ỷ Lan", "Café – Crêpe…", "7/2 a_b"])
def test_vietnamese_in_quotation_marks_is_not_broken(hand_in: HandIn, value: str) -> None:
    assert not found(hand_in(contract(), plots({"sheet": value}), *CODES), "text.garbled")


# --- time -------------------------------------------------------------------------------------------------------------

ORDER = "{rule: time.order, parameters: {start: since, end: until}}"


def test_a_period_that_ends_before_or_when_it_begins_is_told(hand_in: HandIn) -> None:
    rows = plots(
        {"since": "2020-01-02", "until": "2020-01-01"},
        {"since": "2020-01-01", "until": "2020-01-01"},
        {"since": "2020-01-01", "until": "2020-01-02"},
        {"since": "2020-01-01"},
    )
    told = found(hand_in(contract(ORDER), rows, *CODES), "time.order")
    assert [(f.feature, f.attribute, f.value, f.other, f.limit) for f in told] == [
        ("1", "until", "2020-01-01", "since", "2020-01-02"),
        ("2", "until", "2020-01-01", "since", "2020-01-01"),
    ]
    assert told[0].sentence("en") == "Until is 2020-01-01, not after Since, which is 2020-01-02."


@pytest.mark.parametrize(
    ("attribute", "late", "right"),
    [("since", "2999-01-01", "2020-01-01"), ("year", 2999, 2020), ("seen", "2999-01-01T08:00:00", "2020-01-01T08:00")],
)
def test_what_is_dated_in_the_future_is_told(hand_in: HandIn, attribute: str, late: Any, right: Any) -> None:
    check = f"{{rule: time.future, parameters: {{attribute: {attribute}}}}}"
    received = hand_in(contract(check), plots({attribute: late}, {attribute: right}, {}), *CODES)
    told = found(received, "time.future")
    assert [(f.feature, f.attribute, f.limit) for f in told] == [("1", attribute, date.today().isoformat())]
    assert str(late)[:4] in str(told[0].value)


def test_today_is_not_the_future_and_a_tolerance_is_in_days(hand_in: HandIn) -> None:
    check = "{rule: time.future, tolerance: 400000, parameters: {attribute: since}}"
    assert not found(hand_in(contract(check), plots({"since": "2999-01-01"}), *CODES), "time.future")
    today = {"since": date.today().isoformat(), "seen": f"{date.today()}T23:00:00+00:00"}
    checks = [f"{{rule: time.future, parameters: {{attribute: {name}}}}}" for name in ("since", "seen")]
    assert not found(hand_in(contract(*checks), plots(today), *CODES), "time.future")
