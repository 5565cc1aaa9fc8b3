"""The printable report: one file that needs no network, says what is wrong where, and stays readable at any size."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from sdi.contract.registry import Registry, read_registry
from sdi.national import vn2000
from sdi.report.account import MOST_LISTED, Account, Listed, Mark, Outline, Quality, RuleCount, Waived
from sdi.report.drawing import HEIGHT, WIDTH
from sdi.report.page import render
from sdi.settings import ROOT

CORNER = (588_000.0, 2_326_000.0)
"""In EPSG:5897, near Hoàn Kiếm."""
GRID = 5897


@pytest.fixture(scope="module")
def registry() -> Registry:
    return read_registry(ROOT / "layers")


def lonlat(east: float, north: float) -> tuple[float, float]:
    lon, lat = vn2000.to_wgs84(np.array([(CORNER[0] + east, CORNER[1] + north)]), GRID)[0]
    return float(lon), float(lat)


def square(east: float, north: float, side: float = 18.0, *, held: bool = False) -> Outline:
    x, y = CORNER[0] + east, CORNER[1] + north
    ring = [(x, y), (x + side, y), (x + side, y + side), (x, y + side), (x, y)]
    return Outline([ring], "polygon", held)


def account(registry: Registry, count: int = 0, **said: Any) -> Account:
    """A load of 400 parcels with so many findings, spread over them."""
    findings, marks = [], []
    for number in range(count):
        place = lonlat(20.0 * (number % 20) + 9, 20.0 * (number // 20 % 20) + 9)
        marks.append(Mark(*place, "error"))
        if number < MOST_LISTED:
            text = f"Mã «X{number}» không có trong danh mục land_use (land_use_code)."
            findings.append(Listed("code.unknown", "error", "quarantine", text, f"Code 'X{number}' is not in the list.",
                                   f"00070.7.{number}", number + 1, f"X{number}", place))  # fmt: skip
    facts = {"file_name": "thua <b>đất</b>.gpkg", "sha256": "a1" * 32, "size": 81_234, "driver": "GPKG",
             "encoding": "UTF-8", "crs_used": "EPSG:5897", "crs_declared": "EPSG:3405", "operation": 6960}  # fmt: skip
    plain: dict[str, Any] = {
        "layer": registry["cadastral_parcels"], "status": "done", "moment": datetime(2026, 11, 21, 2, 5, tzinfo=UTC),
        "steward": "Trần Thị Bình", "delivery": facts, "grid": GRID, "read": 400, "quarantined": min(count, 400),
        "dropped": 0, "contract_version": "1.0.0", "load_id": 17, "mode": "full", "inserted": 400 - min(count, 400),
        "rules": [RuleCount("code.unknown", "error", "quarantine", count)] if count else [],
        "findings": findings, "marks": marks[:5000], "places": count,
        "outlines": [square(20.0 * (n % 20), 20.0 * (n // 20), held=n < count) for n in range(400)],
        "quality": [Quality("domain consistency", 400, min(count, 400), 0, min(count, 400) / 400)],
    }  # fmt: skip
    return Account(**plain | said)


class Page(HTMLParser):
    """What a page fetches, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attributes if name in ("src", "href", "action", "data")]

    def handle_data(self, data: str) -> None:
        self.text += data


def svg(text: str) -> ElementTree.Element:
    found = re.search(r"<svg.*?</svg>", text, re.DOTALL)
    assert found is not None
    return ElementTree.fromstring(found.group(0))


@pytest.mark.parametrize("count", [0, 7, 5000])
@pytest.mark.parametrize("language", ["vi", "en"])
def test_a_report_is_one_file_without_network_or_script(registry: Registry, count: int, language: str) -> None:
    page = Page(render(account(registry, count), language))
    assert page.addresses == []
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert "@import" not in page.text
    assert "url(http" not in page.text


def test_it_says_in_vietnamese_what_was_delivered_by_whom_and_what_became_of_it(registry: Registry) -> None:
    text = Page(render(account(registry, 7), "vi")).text
    for told in (
        "Thửa đất địa chính", "thua <b>đất</b>.gpkg", "Trần Thị Bình", "09:05, 21/11/2026", "tệp khai EPSG:3405",
        "Đã nạp 393 đối tượng; 7 đối tượng bị cách ly", "Cách ly", "--mode partial", "Sở Nông nghiệp và Môi trường",
    ):  # fmt: skip
        assert told in text, told


def test_and_in_english(registry: Registry) -> None:
    text = Page(render(account(registry, 7), "en")).text
    assert "393 features were loaded; 7 are in quarantine" in text
    assert "Code 'X3' is not in the list." in text
    assert "Mã «X3»" not in text


def test_every_finding_has_its_place_in_the_grid_and_in_degrees(registry: Registry) -> None:
    text = Page(render(account(registry, 7), "vi")).text.replace("\u202f", "")
    assert "588049.00, 2326009.00" in text
    assert "{:.6f}, {:.6f}".format(*lonlat(49, 9)) in text


def test_a_few_findings_carry_the_numbers_of_their_lines_on_the_map(registry: Registry) -> None:
    drawn = [each.text for each in svg(render(account(registry, 7), "vi")).iter("{http://www.w3.org/2000/svg}text")]
    assert {"1", "7"} <= set(drawn)


def test_the_map_is_true_to_scale_and_told_in_the_grid(registry: Registry) -> None:
    picture = svg(render(account(registry, 7, outlines=[]), "vi"))
    texts = [str(each.text) for each in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert any(text.replace("\u202f", "").startswith("5880") for text in texts), "eastings stand at the edge"
    assert any(text.replace("\u202f", "").startswith("2326") for text in texts), "northings stand at the edge"
    # Findings are 20 m apart in one row: so are their numbers on the map, by the bar's scale.
    circles = [each for each in picture.iter("{http://www.w3.org/2000/svg}circle") if each.get("r") == "8"]
    apart = float(str(circles[1].get("cx"))) - float(str(circles[0].get("cx")))
    bars = [each for each in picture.iter("{http://www.w3.org/2000/svg}rect") if each.get("height") == "5"]
    bar = float(str(bars[-1].get("width")))
    length = float(next(text for text in texts if re.fullmatch(r"\d+ m", text)).removesuffix(" m"))
    assert apart / bar == pytest.approx(20 / length, rel=2e-3)


def test_where_nothing_was_found_it_says_so_and_draws_the_features(registry: Registry) -> None:
    text = render(account(registry, 0), "vi")
    assert "Không có phát hiện nào" in text
    assert len(list(svg(text).iter("{http://www.w3.org/2000/svg}path"))) > 400
    assert "sdi quarantine" not in text


def test_five_thousand_findings_are_capped_and_the_rest_is_told(registry: Registry) -> None:
    text = render(account(registry, 5000), "vi")
    assert len(text) < 2_000_000
    assert "còn 4.960 phát hiện nữa của quy tắc này" in text
    assert len(list(svg(text).iter("{http://www.w3.org/2000/svg}circle"))) >= 5000


def test_one_stray_does_not_shrink_all_the_rest_to_a_dot(registry: Registry) -> None:
    told = account(registry, 200)
    stray = Mark(102.3, 8.6, "error")
    text = render(account(registry, 200, marks=[*told.marks, stray], places=201), "vi")
    assert "1 điểm nằm ngoài khung bản đồ" in text
    dots = [each for each in svg(text).iter("{http://www.w3.org/2000/svg}circle") if each.get("r") in ("2.4", "3.2")]
    across = [float(str(each.get("cx"))) for each in dots]
    assert sorted(across)[-2] - min(across) > WIDTH / 4
    assert HEIGHT > 0


def test_what_a_file_says_is_text_and_never_markup(registry: Registry) -> None:
    finding = Listed("code.unknown", "error", "quarantine", "<script>alert(1)</script>", "x", '"><img src=x>', 1)
    text = render(account(registry, 1, findings=[finding], steward="<i>x</i>"), "vi")
    assert "<script>" not in text
    assert "<img" not in text
    assert "<i>x" not in text


def test_a_refused_delivery_is_told_as_that(registry: Registry) -> None:
    rules = [RuleCount("place.outside", "error", "refuse", 1)]
    finding = Listed("place.outside", "error", "refuse", "400 đối tượng nằm ngoài.", "400 features lie outside.")
    text = Page(render(account(registry, 0, status="refused", rules=rules, findings=[finding]), "vi")).text
    assert "Bị từ chối" in text
    assert "Dữ liệu cũ vẫn được phục vụ" in text
    assert "cả bộ dữ liệu" in text


@pytest.mark.parametrize("status", ["refused", "checked"])
def test_where_nothing_was_loaded_nothing_is_said_to_be_loaded_or_to_wait_in_quarantine(
    registry: Registry, status: str
) -> None:
    rules = [RuleCount("code.unknown", "error", "quarantine", 1), RuleCount("coverage.overlap", "warning", "warn", 1),
             RuleCount("geometry.repaired", "warning", "repair", 1)]  # fmt: skip
    for language, said in (("vi", ("đã được nạp", "Xuất vùng cách ly", "Đã được sửa")),
                           ("en", ("were loaded", "Export the quarantine", "It was repaired"))):  # fmt: skip
        told = Page(render(account(registry, 0, status="done", rules=rules), language)).text
        assert all(words in told for words in said)
        told = Page(render(account(registry, 0, status=status, rules=rules), language)).text
        assert not [words for words in said if words in told]


def test_waivers_stand_in_it_with_reason_and_date(registry: Registry) -> None:
    given = Waived("area.legal", "00070.7.1", "Bản án 12/2026", "binh", datetime(2026, 11, 1, tzinfo=UTC), "31/12/2026",
                   "in force")  # fmt: skip
    text = Page(render(account(registry, 1, waivers=[given]), "vi")).text
    for told in ("Bản án 12/2026", "31/12/2026", "còn hiệu lực"):
        assert told in text


def test_a_layer_of_lines_and_points_is_drawn_too(registry: Registry) -> None:
    x, y = CORNER
    shapes = [Outline([[(x, y), (x + 100, y + 30)]], "line"), Outline([[(x + 50, y + 10)]], "point", held=True)]
    assert svg(render(account(registry, 0, outlines=shapes), "en")) is not None


def test_a_chromium_prints_it_on_a4(registry: Registry, tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    path = tmp_path / "report.html"
    path.write_text(render(account(registry, 5000), "vi"), encoding="utf-8")
    with playwright.sync_playwright() as run:
        try:
            browser = run.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        except playwright.Error:
            pytest.skip("no chromium on this machine")
        page = browser.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        pdf = page.pdf(format="A4")
        browser.close()
    assert asked == [path.as_uri()]
    assert wide == 0
    assert pdf.startswith(b"%PDF")
