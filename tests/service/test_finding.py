"""The form by which a feature is looked for, where there are many administrative units."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date
from html import unescape

import pyarrow as pa
import pytest
import shapely

from sdi.contract.registry import read_registry
from sdi.service.finding import MOST, SHOWN
from sdi.store import engine, migrate
from sdi.store.sharing import agencies
from tests.service.conftest import CORNER, Town, deliver, served
from tests.service.test_browser import CHROMIUM, QUIET
from tests.service.test_heading import COMMON, LOTS, WARDS

NAMES = ["Phường Đại Mỗ", "Phường Ân Thi", "Phường 10", "Phường An Khánh", "Phường Dương Nội", "Phường 2", "Phường Ăn",
         "Phường Ô Chợ Dừa", "Phường Ba Đình", "Phường Bà Rịa"]  # fmt: skip
ORDERED = ["Phường 2", "Phường 10", "Phường An Khánh", "Phường Ăn", "Phường Ân Thi", "Phường Ba Đình", "Phường Bà Rịa",
           "Phường Dương Nội", "Phường Đại Mỗ", "Phường Ô Chợ Dừa"]  # fmt: skip
OPTION = r'<option value="(W\d+)">([^<]+)</option>'


@pytest.fixture(scope="module")
def city(new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[int], Town]]:
    """One whose wards everybody sees, as many of them as are asked for; they become more from test to test."""
    folder = tmp_path_factory.mktemp("city")
    texts = ("lots", LOTS.replace(r"^W\d$", r"^W\d+$")), ("wards", WARDS.replace(", privacy: agency", ""))
    for name, text in texts:
        (folder / f"{name}.yaml").write_text(text + COMMON, encoding="utf-8")
    registry, database = read_registry(folder), new_database()
    with engine.connect(database) as owner:
        migrate.apply(owner, registry)
        agencies.add(owner, "so_thu", "department", "Sở Thử nghiệm", "Department of Tests")
    lot = pa.table({"id": ["a", "b"], "key": ["a", "b"], "number": ["1", "2"], "sheet": ["1", "1"],
                    "ward": ["W1", "W2"], "since": pa.array([None] * 2, pa.date32()), "old_ward": ["W1", "W2"],
                    "map_ward": ["W1", "W2"]})  # fmt: skip
    deliver(database, registry, registry["lots"], lot, [shapely.Point(*CORNER)] * 2, [5897] * 2)

    with served(database, registry, data=tmp_path_factory.mktemp("data"), audit="off") as found:

        def of(count: int) -> Town:
            codes = [f"W{number}" for number in range(count)]
            table = pa.table({
                "id": codes, "code": codes,
                "name": [NAMES[number] if number < len(NAMES) else f"Phường Xa {number}" for number in range(count)],
                "since": pa.array([date(2025, 7, 1)] * count), "until": pa.array([None] * count, pa.date32()),
                "succeeds": pa.array(["[]"] * count),
            })  # fmt: skip
            deliver(database, registry, registry["wards"], table, [shapely.Point(*CORNER)] * count, [5897] * count)
            while found.get("/collections/wards/items?limit=1")["numberMatched"] != count:
                pass
            return found

        yield of


def test_units_stand_in_the_order_of_a_dictionary(city: Callable[[int], Town]) -> None:
    text = city(len(NAMES)).ask("/collections/lots/items?f=html&lang=vi").text
    assert "<datalist" not in text
    options = re.findall(OPTION, text)
    assert [unescape(name).partition(" (")[0] for _, name in options] == ORDERED
    assert all(unescape(name) == f"{NAMES[int(code[1:])]} ({code})" for code, name in options)


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not on this machine")
def test_a_browser_takes_a_code_and_says_what_to_do_with_anything_else(city: Callable[[int], Town]) -> None:
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        page = browser.new_page(locale="vi-VN", viewport={"width": 390, "height": 800})
        page.goto(f"{city(MOST + 1).url}/collections/lots/items?f=html&lang=vi")
        assert page.evaluate("document.querySelector('input[name=ward]').list.options.length") == MOST + 1
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
        page.fill("input[name=ward]", "Đại Mỗ")
        assert not page.evaluate("document.querySelector('form.search').checkValidity()")
        page.fill("input[name=ward]", "W1")
        page.click("form.search button")
        page.wait_for_url("**ward=W1**")
        assert re.findall(r"items/(\w)\?", page.inner_html("table")) == ["a"]
        assert page.input_value("input[name=ward]") == "W1"
        browser.close()


@pytest.mark.parametrize("count", [MOST + 1, SHOWN])
def test_of_many_units_one_writes_and_is_shown_what_fits(city: Callable[[int], Town], count: int) -> None:
    for language, hint in (("vi", "Hãy gõ một phần tên hoặc mã rồi chọn"),
                           ("en", "Write a part of the name or of the code, and choose")):  # fmt: skip
        text = city(count).ask(f"/collections/lots/items?f=html&lang={language}&ward=W2").text
        (given,) = re.findall(r'<input name="ward" ([^>]*)>', text)
        assert 'value="W2"' in given
        assert f'title="{hint}"' in given
        (listed,) = re.findall(r'list="([^"]+)"', given)
        (choices,) = re.findall(rf'<datalist id="{listed}">(.*?)</datalist>', text)
        options = re.findall(OPTION, choices)
        assert len(options) == count
        assert [unescape(name).partition(" (")[0] for _, name in options[: len(ORDERED)]] == ORDERED
        assert re.findall(r'<tr><td><a href="/collections/lots/items/([^?]+)\?', text) == ["b"]


def test_more_units_than_a_page_should_carry_are_asked_for_by_code(city: Callable[[int], Town]) -> None:
    text = city(SHOWN + 1).ask("/collections/lots/items?f=html").text
    assert '<input name="ward" value="">' in text
    assert "<option" not in text
