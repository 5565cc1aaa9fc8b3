"""What a page calls a feature: of several attributes, with units by their names, in the reader's language."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from html import unescape
from pathlib import Path

import pyarrow as pa
import pytest
import shapely

from sdi.access import Grant
from sdi.contract.registry import read_registry
from sdi.store import engine, migrate
from sdi.store.sharing import agencies, grants, keys
from tests.service.conftest import CORNER, Town, deliver, served

COMMON = """
version: 1.0.0
description: {vi: Để thử, en: For a test}
theme: headings
steward: {id: so_thu, name: {vi: Sở Thử nghiệm, en: Department of Tests}}
legal_basis: [{reference: Luật Đất đai 31/2024/QH15, confidence: V}]
geometry: {type: Point}
licence: {id: test, title: {vi: Thử nghiệm, en: Test}}
update_cycle: asNeeded
"""
LOTS = """
id: lots
title: {vi: Thửa, en: Lots}
identifier: {attribute: key}
attributes:
  - {name: key, title: {vi: Khóa, en: Key}, type: text, required: true}
  - {name: number, title: {vi: Số thửa, en: Number}, type: text}
  - {name: sheet, title: {vi: Số tờ, en: Sheet}, type: text, privacy: agency}
  - {name: ward, title: {vi: Mã xã, en: Commune code}, type: text, pattern: '^W\\d$'}
  - {name: since, title: {vi: Từ, en: Since}, type: date}
  - {name: old_ward, title: {vi: Mã xã cũ, en: Former commune}, type: text}
  - {name: map_ward, title: {vi: Xã của tờ, en: Commune of the sheet}, type: text, template: '{ward}'}
sharing: {level: open}
statistics: {by: [ward], units: {ward: wards}}
reform: {attribute: ward, former: old_ward, units: wards}
heading:
  - {vi: 'thửa số {number}', en: 'lot {number}'}
  - {vi: 'tờ số {sheet}', en: 'sheet {sheet}'}
  - {vi: '{ward}', en: '{ward}'}
  - {vi: 'từ {since}', en: 'since {since}'}
style: {label: number}
"""
WARDS = """
id: wards
title: {vi: Phường, en: Wards}
identifier: {template: '{code}.{since}'}
frame: code
attributes:
  - {name: code, title: {vi: Mã, en: Code}, type: text, required: true}
  - {name: name, title: {vi: Tên, en: Name}, type: text, privacy: agency}
  - {name: since, title: {vi: Từ, en: Since}, type: date}
  - {name: until, title: {vi: Đến, en: Until}, type: date}
  - name: succeeds
    title: {vi: Kế thừa, en: Succeeds}
    type: list
    items:
      - {name: id, title: {vi: Khóa, en: Key}, type: text}
      - {name: code, title: {vi: Mã, en: Code}, type: text}
      - {name: share, title: {vi: Phần, en: Share}, type: number}
temporal: {start: since, end: until}
units: {succeeds: succeeds, code: code, share: share}
sharing: {level: open}
style: {label: name}
"""


REFORM = date(2025, 7, 1)


@pytest.fixture(scope="module")
def lots(new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    folder = tmp_path_factory.mktemp("lots")
    for name, text in (("lots", LOTS), ("wards", WARDS)):
        (folder / f"{name}.yaml").write_text(text + COMMON, encoding="utf-8")
    _migrated(database := new_database(), folder)
    with served(database, read_registry(folder), data=tmp_path_factory.mktemp("data"), audit="off") as found:
        yield found


def _migrated(database: str, folder: Path) -> None:
    registry = read_registry(folder)
    with engine.connect(database) as owner:
        migrate.apply(owner, registry)
        agencies.add(owner, "so_thu", "department", "Sở Thử nghiệm", "Department of Tests")
    place = shapely.Point(*CORNER)
    wards(database, folder)
    lots = pa.table({
        "id": ["a", "b", "c", "d"], "key": ["a", "b", "c", "d"], "number": ["1", None, None, "4"],
        "sheet": ["12", "7", None, None], "ward": ["W1", "W2", None, "W9"],
        "since": pa.array([None, date(2020, 1, 15), None, None], pa.date32()),
        "old_ward": ["W1", "W3", None, None], "map_ward": ["W3", "W2", "W9", None],
    })  # fmt: skip
    deliver(database, registry, registry["lots"], lots, [place] * 4, [5897] * 4)


def wards(database: str, folder: Path, called: str = "Phường Hồ Sen", ends: date | None = None) -> None:
    """Load the wards, of which one is called so, and another one ends so."""
    registry = read_registry(folder)
    table = pa.table({
        "id": ["W1.2000-01-01", "W1.2025-07-01", "W2.2025-07-01", "W3.2000-01-01"], "code": ["W1", "W1", "W2", "W3"],
        "name": ["Phường Cũ", called, "Phường <b>Ỷ</b>", "Phường An"],
        "since": pa.array([date(2000, 1, 1), REFORM, REFORM, date(2000, 1, 1)]),
        "until": pa.array([REFORM, None, ends, REFORM], pa.date32()),
        "succeeds": pa.array(["[]"] * 3 + ['[{"id": "W0", "code": "W0", "share": 100}]']),
    })  # fmt: skip
    deliver(database, registry, registry["wards"], table, [shapely.Point(*CORNER)] * 4, [5897] * 4)


@pytest.fixture(scope="module")
def key(lots: Town) -> str:
    """Of an agency that sees the sheets and the wards' names."""
    classes = frozenset({"open", "agency"})
    with engine.connect(lots.database, engine.OWNER) as owner:
        for layer in ("lots", "wards"):
            grant = Grant(0, "so_thu", layer, classes, legal_basis="NĐ 194/2025/NĐ-CP", purpose="test")  # type: ignore[arg-type]
            grants.give(owner, lots.registry[layer], grant)
        return keys.make_key(owner, "so_thu")


def heading(town: Town, name: str, language: str, **headers: str) -> str:
    page = town.ask(f"/collections/lots/items/{name}?f=html&lang={language}", **headers)
    found = re.search(r"<h1>(.*?)</h1>", page.text)
    assert found is not None, page.text
    title = re.search(r"<title>(.*?) · ", page.text)
    assert title is not None
    assert title[1] == found[1]
    assert "<b>" not in found[1]
    return unescape(found[1])


def test_a_heading_is_what_a_land_officer_writes(lots: Town, key: str) -> None:
    assert heading(lots, "a", "vi", X_API_Key=key) == "Thửa số 1, tờ số 12, Phường Hồ Sen"
    assert heading(lots, "a", "en", X_API_Key=key) == "Lot 1, sheet 12, Phường Hồ Sen"
    assert heading(lots, "b", "vi", X_API_Key=key) == "Tờ số 7, Phường <b>Ỷ</b>, từ 15/01/2020"


def listed(town: Town, query: str, **headers: str) -> list[str]:
    page = town.ask(f"/collections/lots/items?lang=en&f=html{query}", **headers)
    assert page.status == 200, page.text
    return re.findall(r'<tr><td><a href="/collections/lots/items/([^?]+)\?', page.text)


def test_a_feature_is_found_by_the_words_of_its_heading(lots: Town, key: str) -> None:
    """What is left empty in the form asks for nothing; for a program an empty text is a value as any other."""
    page = lots.ask("/collections/lots/items?lang=en&f=html&number=4", X_API_Key=key).text
    assert re.findall(r'<input name="(\w+)" value="(\w*)">', page) == [("number", "4"), ("sheet", "")]
    assert re.findall(r'<option value="(\w+)">([^<]+)</option>', page) == [
        ("W2", "Phường &lt;b&gt;Ỷ&lt;/b&gt; (W2)"), ("W1", "Phường Hồ Sen (W1)"),
        ("W3", "Phường An (W3) – until 30 Jun 2025")]  # fmt: skip
    assert "Phường An (W3) – đến 30/06/2025" in lots.ask("/collections/lots/items?lang=vi&f=html", X_API_Key=key).text
    assert listed(lots, "&number=1&sheet=&ward=", X_API_Key=key) == ["a"]
    assert listed(lots, "&number=&sheet=7&ward=W2", X_API_Key=key) == ["b"]
    assert listed(lots, "&number=1&sheet=7&ward=", X_API_Key=key) == []
    assert lots.get("/collections/lots/items?f=json&number=")["numberMatched"] == 0


def test_by_what_is_hidden_nothing_is_found(lots: Town, key: str) -> None:
    """Nor is a ward named that who asks cannot see by its name."""
    page = lots.ask("/collections/lots/items?lang=en&f=html").text
    assert re.findall(r'<input name="(\w+)" value="">', page) == ["number", "ward"]
    assert "<option" not in page
    assert lots.ask("/collections/lots/items?f=html&sheet=12").status == 400
    assert listed(lots, "&ward=W1") == ["a"]


def test_a_page_is_another_when_a_ward_is_called_otherwise(lots: Town, key: str) -> None:
    """Its form has the wards' names; of the features themselves nothing has changed."""
    page = "/collections/lots/items?lang=en&f=html"
    held, of_public = (lots.ask(page, **headers).headers["ETag"] for headers in ({"X_API_Key": key}, {}))
    assert lots.ask(page, X_API_Key=key, If_None_Match=held).status == 304
    wards(lots.database, lots.registry.folder, "Phường Mới")
    time.sleep(1.0)  # a snapshot is at most half a second old
    answer = lots.ask(page, X_API_Key=key, If_None_Match=held)
    assert (answer.status, "Phường Mới (W1)" in answer.text) == (200, True)
    assert lots.ask(page, If_None_Match=of_public).status == 304
    assert heading(lots, "a", "vi", X_API_Key=key).endswith("Phường Mới")
    wards(lots.database, lots.registry.folder)
    time.sleep(1.0)


def cells(town: Town, name: str, language: str, **headers: str) -> dict[str, str]:
    """The feature's table: title -> what stands beside it, which stands in the table of all of them as well."""
    page = town.ask(f"/collections/lots/items/{name}?f=html&lang={language}", **headers).text
    found = dict(re.findall(r'<th scope="row">([^<]+)</th><td>(.*?)</td>', page))
    row = re.search(rf"<tr><td><a [^>]*>{name}</a></td>(.*?)</tr>",
                    town.ask(f"/collections/lots/items?f=html&lang={language}", **headers).text)  # fmt: skip
    assert row is not None
    assert [text for title, text in found.items() if title not in ("Id", "Mã định danh")] == re.findall(
        r"<td[^>]*>(.*?)</td>", row[1])  # fmt: skip
    return {title: unescape(text) for title, text in found.items()}


def test_a_unit_s_code_stands_behind_its_name(lots: Town, key: str) -> None:
    """The former code is of the unit that ended, though it is given to another one now. Programs read the code."""
    seen = cells(lots, "a", "vi", X_API_Key=key)
    assert seen["Mã xã"] == "Phường Hồ Sen (W1)"
    assert seen["Mã xã cũ"] == "Phường Cũ (W1)"
    assert seen["Xã của tờ"] == "Phường An (W3)"
    assert cells(lots, "b", "en", X_API_Key=key)["Commune code"] == "Phường <b>Ỷ</b> (W2)"
    assert cells(lots, "d", "en", X_API_Key=key)["Commune code"] == "W9"
    told = lots.get("/collections/lots/items/a?f=json", X_API_Key=key)["properties"]
    assert (told["ward"], told["old_ward"], told["map_ward"]) == ("W1", "W1", "W3")
    assert "Phường" not in lots.ask("/collections/lots/items?f=csv", X_API_Key=key).text


def test_of_a_list_in_which_nothing_is_no_table_is_shown(lots: Town) -> None:
    wards = lots.get("/collections/wards/items?f=json")["features"]
    assert sorted(len(each["properties"]["succeeds"]) for each in wards) == [0, 0, 0, 1]
    page = lots.ask("/collections/wards/items?f=html&lang=en").text
    assert page.count('<table class="list">') == 1
    assert page.count('<span class="empty">–</span></td></tr>') == 3


def test_who_cannot_see_a_unit_s_name_reads_its_code_alone(lots: Town) -> None:
    seen = cells(lots, "a", "vi")
    assert (seen["Mã xã"], seen["Mã xã cũ"], seen["Xã của tờ"]) == ("W1", "W1", "W3")


def test_a_unit_that_ends_is_marked_from_that_day_on(lots: Town, key: str) -> None:
    """Its last day is the one before; until then it stands unmarked, among those that are in force."""
    page = "/collections/lots/items?lang=vi&f=html"
    today = datetime.now(UTC).date()
    for ends, marked in ((today, True), (today + timedelta(days=1), False)):
        wards(lots.database, lots.registry.folder, ends=ends)
        time.sleep(1.0)  # a snapshot is at most half a second old
        options = re.findall(r'<option value="(W\d)">([^<]+)</option>', lots.ask(page, X_API_Key=key).text)
        assert [code for code, _ in options] == (["W1", "W2", "W3"] if marked else ["W2", "W1", "W3"])
        last = f" – đến {today - timedelta(days=1):%d/%m/%Y}" if marked else ""
        assert unescape(dict(options)["W2"]) == f"Phường <b>Ỷ</b> (W2){last}"
    wards(lots.database, lots.registry.folder)
    time.sleep(1.0)


def test_of_what_is_hidden_or_unknown_a_heading_tells_nothing(lots: Town, key: str) -> None:
    """Neither a sheet, which the public does not see, nor the name of a ward, which it does not see either."""
    assert heading(lots, "a", "vi") == "Thửa số 1, W1"
    assert heading(lots, "b", "en") == "W2, since 15 Jan 2020"
    assert heading(lots, "c", "vi") == heading(lots, "c", "vi", X_API_Key=key) == "c"
    assert heading(lots, "d", "vi", X_API_Key=key) == "Thửa số 4, W9"
