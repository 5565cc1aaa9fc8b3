"""Columns become attributes: names, types, codes, lists, ids, and what breaks the contract."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from sdi.contract.delivery import Request
from sdi.errors import UsageError
from sdi.ingest.cast import cast, clean
from sdi.ingest.conform import match
from sdi.ingest.deliver import Received
from sdi.ingest.lists import coded_amounts
from tests.ingest.plots import code, contract, square

HandIn = Callable[..., Received]

PLAIN = """
identifier: {template: "{number}"}
geometry: {type: Polygon}
attributes:
  - {name: number, title: {vi: Số, en: Number}, type: integer}
"""


def rules(received: Received) -> dict[str, int]:
    return received.report.by_rule()


def plot(number: int, **values: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    return square(603_500 + 20 * number, 1_191_400), {"number": number, **values}


def values_of(texts: list[Any], kind: str, scale: int | None = None) -> list[Any]:
    return list(cast(clean(pa.array(texts)), kind, scale)[0].to_pylist())


# --- types ----------------------------------------------------------------------------------------------------------


def test_vietnamese_and_english_numbers_are_read_by_what_the_column_says() -> None:
    assert values_of(["3.359,80", "1.234,5", "12", "1.234"], "decimal", 2) == [
        Decimal("3359.80"), Decimal("1234.50"), Decimal("12.00"), Decimal("1234.00"),
    ]  # fmt: skip
    assert values_of(["3.74", "1.234", "-5", "1e3", "+2"], "number") == [3.74, 1.234, -5.0, 1000.0, 2.0]
    assert values_of(["1,234.5", "1,234"], "number") == [1234.5, 1234.0]
    assert values_of(["1,234", "12,5"], "number") == [1.234, 12.5]
    assert values_of(["1.234.567", "0007", "12.0"], "integer") == [1234567, 7, 12]
    assert values_of(["5 340", "5\u00a0340,5"], "number") == [5340.0, 5340.5]


def test_a_column_written_both_ways_gives_no_value_where_it_could_be_either() -> None:
    assert values_of(["3.359,80", "3.74", "1.234"], "number") == [3359.80, 3.74, None]


def test_what_is_no_number_is_told_and_blanks_are_not() -> None:
    typed, failed = cast(clean(pa.array(["12", " ", "mười", None, "\u00a0", "12.5"])), "integer")
    assert typed.to_pylist() == [12, None, None, None, None, None]
    assert failed.tolist() == [False, False, True, False, False, True]


def test_dates_are_day_first_or_iso_and_impossible_ones_are_told() -> None:
    texts = ["05/3/2024", "2024-03-05", "20240305", "5.3.2024", "2024-03-05T23:00:00+07:00", "31/02/2024", "lâu dài"]
    typed, failed = cast(clean(pa.array(texts)), "date")
    assert typed.to_pylist() == [date(2024, 3, 5)] * 5 + [None, None]
    assert failed.tolist() == [False] * 5 + [True, True]


def test_a_time_without_a_zone_is_vietnamese_time() -> None:
    typed, _ = cast(clean(pa.array(["05/3/2024 7:30", "2024-03-05T10:00:00Z"])), "datetime")
    assert [moment.isoformat() for moment in typed.to_pylist()] == [
        "2024-03-05T00:30:00+00:00",
        "2024-03-05T10:00:00+00:00",
    ]
    assert typed.to_pylist()[0].utcoffset() == timedelta(0)


def test_booleans_are_read_in_both_languages() -> None:
    assert values_of(["có", "Không", "x", "1", "0", "TRUE", "sai", "nửa", ""], "boolean") == [
        True, False, True, True, False, True, False, None, None,
    ]  # fmt: skip


def test_numbers_become_text_without_a_point_of_their_own() -> None:
    assert values_of([7.620220493e9, 1.5, float("nan")], "text") == ["7620220493", "1.5", None]


# --- names ----------------------------------------------------------------------------------------------------------

NAMES = """
identifier: {attribute: sheet}
geometry: {type: Polygon}
attributes:
  - {name: sheet, official_name: soHieuToBanDo, title: {vi: Tờ, en: Sheet}, type: text, sources: [Tờ bản đồ, shbando]}
  - {name: term, official_name: thoiHanSuDung, title: {vi: Hạn, en: Term}, type: text}
  - {name: owner, title: {vi: Chủ, en: Owner}, type: text, privacy: personal, sources: [tenChu, ghiChu]}
"""


def matched(columns: list[str], text: str = NAMES, **wish: Any) -> Any:
    from pathlib import Path

    return match(contract(text), columns, Request(path=Path("plots.gpkg"), **wish))


@pytest.mark.parametrize(
    "column",
    ["sheet", "SHEET", "soHieuToBanDo", "so_hieu_to_ban_do", "TỜ BẢN ĐỒ", "to ban do", "SOHIEUTOBA", "SHBANDO"],
)
def test_a_column_is_known_by_any_of_its_names_however_written_and_cut(column: str) -> None:
    assert matched([column, "wkb"]).attributes == {"sheet": column}


def test_an_own_name_goes_before_a_source_and_two_sources_are_asked_about() -> None:
    assert matched(["shbando", "soHieuToBanDo"]).attributes == {"sheet": "soHieuToBanDo"}
    with pytest.raises(UsageError, match="shbando, to ban do could all be 'sheet'") as error:
        matched(["shbando", "to ban do"])
    assert "--map shbando=sheet" in str(error.value)
    found = matched(["shbando", "to ban do"], mapping={"to ban do": "sheet"})
    assert (found.attributes, found.unknown) == ({"sheet": "to ban do"}, ["shbando"])
    assert matched(["shbando", "to ban do"], mapping={"to ban do": ""}).attributes == {"sheet": "shbando"}


def test_words_of_map_and_set_that_are_wrong_name_the_right_ones() -> None:
    for wish in ({"mapping": {"shband": "sheet"}}, {"mapping": {"shbando": "shet"}}, {"constants": {"shet": "1"}}):
        with pytest.raises(UsageError, match="Did you mean"):
            matched(["shbando"], **wish)
    with pytest.raises(UsageError, match="personal"):
        matched(["x"], mapping={"x": "owner"})


def test_personal_columns_are_dropped_all_of_them_and_unknown_ones_told_one_by_one(hand_in: HandIn) -> None:
    received = hand_in(
        NAMES, [(square(603_500, 1_191_400), {"sheet": "1", "tenchu": "Nguyễn Văn A", "ghiChu": "B", "x1": 1, "x2": 2})]
    )
    told = {finding.rule: set() for finding in received.report.findings}
    for finding in received.report.findings:
        told[finding.rule].add(finding.attribute)
    assert told == {"file.personal_dropped": {"tenchu", "ghiChu"}, "file.column_unknown": {"x1", "x2"}}
    assert "Nguyễn" not in str(received.features().read_all().to_pylist())


def test_quarantine_keeps_raw_values_but_no_personal_ones(hand_in: HandIn) -> None:
    text = NAMES.replace("type: text}", "type: date}", 1)
    received = hand_in(
        text, [(square(603_500, 1_191_400), {"sheet": "1", "thoiHanSuDung": "lâu dài", "tenchu": "Nguyễn Văn A"})]
    )
    row = received.quarantined().read_all().to_pylist()[0]
    assert json.loads(row["attributes"]) == {"sheet": "1", "term": "lâu dài"}
    assert [finding["rule"] for finding in json.loads(row["findings"])] == ["attribute.type"]
    assert (row["source_row"], row["id"], received.features().read_all().num_rows) == (1, "1", 0)


# --- rules ----------------------------------------------------------------------------------------------------------


def test_every_rule_of_an_attributes_contract_is_checked(hand_in: HandIn) -> None:
    text = (
        PLAIN
        + """
  - {name: name, title: {vi: Tên, en: Name}, type: text, required: true, max_length: 3}
  - {name: ward, title: {vi: Xã, en: Ward}, type: text, pattern: '^\\d{5}$'}
  - {name: floors, title: {vi: Tầng, en: Floors}, type: integer, minimum: 1, maximum: 90}
"""
    )
    received = hand_in(text, [
        plot(1, name="Một", ward="26740", floors=3), plot(2, name=None, ward="26740", floors=3),
        plot(3, name="Bốn!", ward="2674", floors=0), plot(4, name="Năm", ward=None, floors=91),
        plot(5, name="Sáu", ward="26740", floors="ba"),
    ])  # fmt: skip
    assert rules(received) == {
        "attribute.range": 2, "attribute.required": 1, "attribute.length": 1, "attribute.pattern": 1,
        "attribute.type": 1,
    }  # fmt: skip
    assert received.features().read_all()["id"].to_pylist() == ["1"]
    assert received.report.read == 5 == received.report.kept + received.report.quarantined


def test_a_required_attribute_that_no_feature_has_refuses_the_delivery_once(hand_in: HandIn) -> None:
    text = PLAIN + "  - {name: name, title: {vi: Tên, en: Name}, type: text, required: true}\n"
    received = hand_in(text, [plot(1), plot(2)])
    assert received.report.refused
    assert rules(received) == {"attribute.required": 1}


def test_a_contracts_check_tunes_severity_and_action_of_one_attribute(hand_in: HandIn) -> None:
    text = (
        PLAIN
        + """
  - {name: floors, title: {vi: Tầng, en: Floors}, type: integer, minimum: 1}
  - {name: year, title: {vi: Năm, en: Year}, type: integer, minimum: 1900}
checks:
  - {rule: attribute.range, severity: info, action: warn, parameters: {attribute: floors}}
  - {rule: attribute.range, action: refuse, parameters: {attribute: year}}
"""
    )
    mild = hand_in(text, [plot(1, floors=0, year=2000)])
    assert [(f.severity, f.action) for f in mild.report.findings] == [("info", "warn")]
    assert mild.features().read_all().num_rows == 1
    assert hand_in(text, [plot(1, floors=1, year=190)]).report.refused


def test_leading_zeros_that_a_number_column_took_come_back(hand_in: HandIn) -> None:
    text = PLAIN + "  - {name: ward, title: {vi: Xã, en: Ward}, type: text, pattern: '^\\d{5}$'}\n"
    received = hand_in(text, [plot(1, ward=4), plot(2, ward=26740)])
    assert received.features().read_all()["ward"].to_pylist() == ["00004", "26740"]


def test_constants_defaults_and_templates_fill_what_the_file_lacks(hand_in: HandIn) -> None:
    text = (
        PLAIN
        + """
  - {name: ward, title: {vi: Xã, en: Ward}, type: text}
  - {name: kind, title: {vi: Loại, en: Kind}, type: text, default: new}
  - {name: key, title: {vi: Khóa, en: Key}, type: text, template: "{long_key}!"}
  - {name: long_key, title: {vi: Khóa, en: Key}, type: text, template: "{ward}.{number}"}
"""
    )
    received = hand_in(text, [plot(1, key="given", kind="old"), plot(2)], constants={"ward": "26740"})
    columns = received.features().read_all().select(["kind", "key", "long_key"]).to_pydict()
    assert columns == {"kind": ["old", "new"], "key": ["given", "26740.2!"], "long_key": ["26740.1", "26740.2"]}


# --- codes and lists ------------------------------------------------------------------------------------------------

CODES = (
    code("ODT", label_vi="Đất ở tại đô thị"), code("CLN"), code("NNP", "group"), code("COC", "review"),
    code("BHK", "superseded", successor="HNK", valid_to=date(2024, 8, 1)), code("HNK", valid_from=date(2024, 8, 1)),
)  # fmt: skip
USES = PLAIN + "  - {name: use, title: {vi: Loại, en: Use}, type: code, code_list: uses}\n"


def test_codes_are_held_against_the_list_of_the_datas_date(hand_in: HandIn) -> None:
    plots = [
        plot(number, use=use) for number, use in enumerate(["ODT", "BHK", "XYZ", "COC", "NNP", "HNK", None], start=1)
    ]
    now = hand_in(USES, plots, *CODES)
    assert rules(now) == {"code.review": 2, "code.unknown": 1, "code.superseded": 1}
    superseded = next(finding for finding in now.report.findings if finding.rule == "code.superseded")
    assert (superseded.value, superseded.limit, superseded.feature) == ("BHK", "HNK", "2")
    assert now.features().read_all()["use"].to_pylist() == ["ODT", "BHK", "COC", "NNP", "HNK", None]
    then = hand_in(USES, plots, *CODES, day=date(2020, 1, 1))
    assert "code.superseded" not in rules(then)
    assert {finding.value for finding in then.report.findings if finding.rule == "code.review"} == {"COC", "NNP", "HNK"}


def test_codes_in_other_case_or_told_by_their_label_are_the_lists_own(hand_in: HandIn) -> None:
    received = hand_in(
        USES, [plot(1, use="odt"), plot(2, use="Đất ở tại đô thị"), plot(3, use="ĐẤT Ở TẠI ĐÔ THỊ ")], *CODES
    )
    assert received.features().read_all()["use"].to_pylist() == ["ODT"] * 3


LISTS = (
    USES
    + """
  - name: uses
    title: {vi: Mục đích, en: Uses}
    type: list
    parse: coded_amounts
    sources: [mucdich]
    items:
      - {name: code, title: {vi: Mã, en: Code}, type: code, code_list: uses, sources: [use]}
      - {name: area, title: {vi: Diện tích, en: Area}, type: decimal}
      - {name: term, title: {vi: Hạn, en: Term}, type: text, sources: [thsd]}
      - {name: new, title: {vi: Chưa công nhận, en: Not recognised}, type: boolean}
"""
)


def test_several_uses_in_one_text_become_a_list() -> None:
    fields = contract(LISTS)["uses"].items or []
    assert coded_amounts("ONT(1782.60);CLN(2754.70)", fields) == [
        {"code": "ONT", "area": 1782.6}, {"code": "CLN", "area": 2754.7},
    ]  # fmt: skip
    assert coded_amounts("ONT+CLN", fields) == [{"code": "ONT"}, {"code": "CLN"}]
    assert coded_amounts("ODT*", fields) == [{"code": "ODT", "new": True}]
    assert coded_amounts("ODT: 120,5 m2, CLN: 80", fields) == [
        {"code": "ODT", "area": 120.5},
        {"code": "CLN", "area": 80.0},
    ]
    assert coded_amounts("lâu dài (50 năm)", fields) is None


def test_a_list_comes_from_its_own_column_or_from_its_items_columns(hand_in: HandIn) -> None:
    own = hand_in(
        LISTS,
        [
            plot(1, mucdich="ODT(100);CLN(50)"),
            plot(2, mucdich='[{"code":"ODT","x":[1]}]'),
            plot(3, mucdich="?!"),
            plot(4, mucdich='[{"code":["ODT"]}]'),
            plot(5, mucdich='[{"code":{"id":"ODT"}}]'),
        ],
        *CODES,
    )
    assert [json.loads(text) for text in own.features().read_all()["uses"].to_pylist()] == [
        [{"code": "ODT", "area": 100.0}, {"code": "CLN", "area": 50.0}], [{"code": "ODT"}],
    ]  # fmt: skip
    assert rules(own) == {"attribute.type": 3}
    items = hand_in(LISTS, [plot(1, use="ODT", thsd="Lâu dài"), plot(2, use=None, thsd=None)], *CODES)
    assert items.features().read_all()["uses"].to_pylist() == ['[{"code":"ODT","term":"Lâu dài"}]', None]


def test_of_several_uses_in_the_column_of_one_code_the_largest_is_the_main_one(hand_in: HandIn) -> None:
    received = hand_in(LISTS, [plot(1, use="ODT(100);CLN(250)")], *CODES)
    assert received.features().read_all()["use"].to_pylist() == ["CLN"]
    assert [item["code"] for item in json.loads(received.features().read_all()["uses"][0].as_py())] == ["ODT", "CLN"]


def test_each_items_code_is_checked(hand_in: HandIn) -> None:
    received = hand_in(LISTS, [plot(1, mucdich="ODT+XYZ+BHK")], *CODES)
    told = {finding.rule: (finding.attribute, finding.value) for finding in received.report.findings}
    assert told == {"code.unknown": ("uses", "XYZ"), "code.superseded": ("uses", "BHK")}
    assert received.features().read_all().num_rows == 0


# --- ids ------------------------------------------------------------------------------------------------------------

KEYS = """
identifier: {template: "{sheet}.{number}", duplicates: %s}
geometry: {type: Polygon}
attributes:
  - {name: sheet, title: {vi: Tờ, en: Sheet}, type: integer}
  - {name: number, title: {vi: Số, en: Number}, type: integer}
"""


KEYED = """
identifier: {attribute: key}
geometry: {type: Polygon}
attributes:
  - {name: sheet, title: {vi: Tờ, en: Sheet}, type: integer}
  - {name: number, title: {vi: Số, en: Number}, type: integer}
  - {name: key, title: {vi: Khóa, en: Key}, type: text, required: true, template: "{sheet}.{number}"}
"""


def test_a_feature_that_lacks_a_part_of_its_id_has_none(hand_in: HandIn) -> None:
    received = hand_in(KEYS % "suffix", [plot(1, sheet=7), plot(2, sheet=None)])
    finding = received.report.findings[0]
    assert (finding.rule, finding.row, finding.feature, finding.limit) == ("identifier.missing", 2, None, "sheet")
    assert received.features().read_all()["id"].to_pylist() == ["7.1"]


def test_of_an_id_that_is_made_of_columns_the_missing_column_is_told(hand_in: HandIn) -> None:
    """The key itself is no column of the file: a steward cannot fill it in."""
    received = hand_in(KEYED, [plot(1, sheet=7), plot(2, sheet=None)])
    (missing,) = received.report.findings
    assert (missing.rule, missing.row, missing.limit) == ("identifier.missing", 2, "sheet")
    assert missing.sentence("vi") == "Không lập được mã định danh: thiếu Tờ (cột «sheet»)."
    assert missing.sentence("en") == "No identifier can be made: Sheet is missing."


def test_columns_without_which_no_feature_has_an_id_are_told_once_and_refuse_the_delivery(hand_in: HandIn) -> None:
    rows = [plot(1, sheet=None), plot(2, sheet=None), (plot(3)[0], {"number": None, "sheet": None})]
    received = hand_in(KEYED, rows)
    (missing,) = received.report.findings
    assert (missing.rule, missing.row, missing.limit) == ("identifier.missing", None, "sheet, number")
    assert (missing.action, received.report.quarantined) == ("refuse", 3)
    assert received.report.refused
    warned = KEYED + "checks: [{rule: attribute.required, action: warn}]\n"
    told = hand_in(warned, rows).report
    assert (told.by_rule(), told.refused) == ({"identifier.missing": 3}, False)


def test_a_feature_that_has_its_id_keeps_a_delivery_of_such_that_have_none(hand_in: HandIn) -> None:
    report = hand_in(KEYED, [plot(1, sheet=None), plot(2, sheet=3)]).report
    assert (report.by_rule(), report.refused, report.quarantined) == ({"identifier.missing": 1}, False, 1)


def test_a_repeated_id_gets_its_suffix_by_content_not_by_the_files_order(hand_in: HandIn) -> None:
    first = (square(603_500, 1_191_400), {"sheet": 1, "number": 1})
    second = (square(603_600, 1_191_400), {"sheet": 1, "number": 1})
    one, two = hand_in(KEYS % "suffix", [first, second]), hand_in(KEYS % "suffix", [second, first])
    assert sorted(one.features().read_all()["id"].to_pylist()) == ["1.1", "1.1~2"]
    named = [
        dict(zip(r.features().read_all()["geom"].to_pylist(), r.features().read_all()["id"].to_pylist(), strict=True))
        for r in (one, two)
    ]
    assert named[0] == named[1]


def test_features_that_share_an_id_and_differ_are_all_quarantined_and_of_equal_ones_one_stays(hand_in: HandIn) -> None:
    same = (square(603_500, 1_191_400), {"sheet": 1, "number": 1})
    other = (square(603_600, 1_191_400), {"sheet": 1, "number": 1})
    differing = hand_in(KEYS % "quarantine", [same, other])
    assert (differing.report.kept, differing.report.quarantined) == (0, 2)
    equal = hand_in(KEYS % "quarantine", [same, same, same])
    assert (equal.report.kept, equal.report.quarantined) == (1, 2)
    assert hand_in(KEYS % "refuse", [same, other]).report.refused
