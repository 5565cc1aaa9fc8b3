"""What a person sees, in Debian's chromium: the landing page, a layer's map, a feature, the dossier on paper."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.service.conftest import AWKWARD, Town, served_apart

CHROMIUM = shutil.which("chromium")
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def apart(town: Town) -> Iterator[Town]:
    with served_apart(town) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("chromium is not on this machine")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield found
        found.close()


@pytest.fixture
def page(browser: Any, apart: Town) -> Iterator[Any]:
    """A page of a Vietnamese reader; nothing may come from another site and nothing may fail."""
    context = browser.new_context(locale="vi-VN", viewport={"width": 1200, "height": 1000})
    found = context.new_page()
    faults: list[str] = []
    found.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    found.on("pageerror", lambda error: faults.append(str(error)))
    found.on(
        "request",
        lambda request: faults.append(request.url) if not request.url.startswith((apart.url, "data:")) else None,
    )
    yield found
    assert faults == []
    context.close()


def test_the_landing_page_lists_the_layers_in_vietnamese(page: Any, apart: Town) -> None:
    page.goto(apart.url)
    assert page.locator("html").get_attribute("lang") == "vi"
    cards = page.locator(".card h3").all_inner_texts()
    assert sorted(cards) == ["Công trình thử", "Mặt đất thử", "Phiếu thửa đất", "Thửa đất thử"]
    page.get_by_text("English").click()
    assert "Published layers" in page.locator("main").inner_text()
    page.locator(".card").get_by_text("Test plots").click()
    assert page.url.endswith("/collections/plots?lang=en")
    assert page.locator("h1").inner_text() == "Test plots"


def test_the_map_shows_the_layer_in_its_colours_with_a_legend(page: Any, apart: Town) -> None:
    page.goto(f"{apart.url}/collections/plots")
    page.wait_for_selector("#map[data-features]")
    # 30 is the greatest page of this service; 35 are there.
    assert page.locator("#map").get_attribute("data-features") == "30"
    assert (
        page.locator("#map-note").inner_text() == "đang hiện 30 trong 35 đối tượng của khung nhìn; phóng to để thấy hết"
    )
    legend = page.locator(".legend").inner_text()
    assert "Đất ở tại đô thị (ODT)" in legend
    assert "Đất quốc phòng" not in legend
    colours = page.evaluate("""() => {
        const canvas = document.querySelector('#map canvas'), context = canvas.getContext('2d');
        const picture = context.getImageData(0, 0, canvas.width, canvas.height).data, seen = new Set();
        for (let at = 0; at < picture.length; at += 4)
            if (picture[at + 3] > 150) seen.add(picture.slice(at, at + 3).join());
        return [...seen];
    }""")
    assert "255,208,224" in colours


def test_what_is_too_small_to_be_seen_is_a_spot_in_its_colour(page: Any, apart: Town) -> None:
    page.goto(f"{apart.url}/collections/plots/items?limit=10&f=html")
    page.wait_for_selector("#map[data-features='10']")
    page.wait_for_timeout(500)
    assert page.locator("#map").get_attribute("data-spots") == "0"
    for _ in range(40):
        page.locator(".leaflet-control-zoom-out").click()
        page.wait_for_timeout(100)
        if page.locator("#map").get_attribute("data-spots") == "10":
            break
    assert page.locator("#map").get_attribute("data-spots") == "10"
    # On the first view again they are drawn as they are.
    page.reload()
    page.wait_for_selector("#map[data-spots='0']")


def test_the_header_is_one_row_where_there_is_room(page: Any, apart: Town) -> None:
    for language in ("vi", "en"):
        page.set_viewport_size({"width": 1280, "height": 900})
        page.goto(f"{apart.url}/?lang={language}")
        parts = [page.locator(f"header.site {each}").bounding_box()
                 for each in (".name", "nav", "a[rel=nofollow]", ".languages")]  # fmt: skip
        middles = [part["y"] + part["height"] / 2 for part in parts]
        assert max(middles) - min(middles) < 6, f"{language}: one below another"
        assert [part["x"] for part in parts] == sorted(part["x"] for part in parts)
        page.set_viewport_size({"width": 390, "height": 800})
        wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wider == 0, f"{language}: the page must be shifted to be read"


def test_a_click_on_the_map_leads_to_the_feature_and_its_dossier(page: Any, apart: Town) -> None:
    page.goto(f"{apart.url}/collections/plots/items?id=00004.1.1")
    page.wait_for_selector("#map[data-features='1']")
    page.wait_for_timeout(500)
    page.locator("#map").click()
    page.locator(".leaflet-popup-content a").click()
    page.wait_for_url("**/items/00004.1.1")
    text = page.locator("main").inner_text()
    assert AWKWARD in text
    assert "Đất ở tại đô thị (ODT)" in text
    assert "15/01/2020" in text
    assert "400,1" in text
    page.get_by_text("Hồ sơ: Phiếu thửa đất").click()
    page.wait_for_url("**/lots/00004.1.1/dossier*")
    assert page.locator(".dossier svg path").count() >= 2
    assert page.locator(".dossier svg text", has_text="10 m").count() == 1


def test_the_dossier_is_one_page_of_a4(page: Any, apart: Town, tmp_path: Path) -> None:
    page.goto(f"{apart.url}/lots/00004.1.1/dossier")
    page.emulate_media(media="print")
    assert not page.locator("header.site").is_visible()
    paper = page.pdf(format="A4", path=str(tmp_path / "dossier.pdf"), prefer_css_page_size=True)
    assert paper.count(b"/Type /Page\n") + paper.count(b"/Type /Page ") + paper.count(b"/Type/Page/") == 1


def test_a_dossier_as_full_as_a_parcel_s_is_one_page_of_a4(page: Any, apart: Town) -> None:
    """Eleven attributes, a summary of twenty, five short tables: what most parcels of the demo city have."""
    page.goto(f"{apart.url}/lots/00004.1.1/dossier")
    page.evaluate("""() => {
        const fill = (box, count) => {
            const first = box.querySelector("tr");
            box.replaceChildren(...Array.from({length: count}, () => first.cloneNode(true)));
        };
        fill(document.querySelector(".dossier .facts tbody"), 11);
        fill(document.querySelector(".dossier .two tbody"), 20);
        const table = document.querySelector(".dossier .related"), title = table.previousElementSibling;
        fill(table.querySelector("tbody"), 2);
        document.querySelectorAll(".dossier .related").forEach((each) => each === table || each.remove());
        document.querySelectorAll(".dossier > h2").forEach((each) => each === title || each.remove());
        for (let more = 1; more < 5; more++) table.after(title.cloneNode(true), table.cloneNode(true));
    }""")
    page.emulate_media(media="print")
    paper = page.pdf(format="A4", prefer_css_page_size=True)
    assert len(re.findall(rb"/Type\s*/Page[^s]", paper)) == 1
    page.set_viewport_size({"width": 688, "height": 1000})  # A4 without its margins, at 96 dots an inch
    columns = "getComputedStyle(document.querySelector('.dossier .two tbody')).gridTemplateColumns.split(' ').length"
    assert page.evaluate(columns) == 2, "paper is no telephone"


def test_the_preview_of_a_coverage_is_drawn(page: Any, apart: Town) -> None:
    page.goto(f"{apart.url}/collections/ground")
    page.wait_for_selector("#map[data-cells]")
    assert page.locator("#map").get_attribute("data-cells") == "1199"
    assert page.locator("#map img.leaflet-image-layer").count() == 1
    assert page.locator("#map-note").inner_text() == "0,1 – 119,9 m; càng đậm giá trị càng lớn"


def test_a_printed_table_is_whole(page: Any, apart: Town) -> None:
    page.goto(f"{apart.url}/collections/plots/items?limit=30&f=html")
    hidden = "(() => { const box = document.querySelector('.scroll'); return box.scrollHeight - box.clientHeight })()"
    assert page.evaluate(hidden) > 100, "on the screen it is scrolled"
    page.emulate_media(media="print")
    assert page.evaluate(hidden) <= 1


def test_the_ids_stay_in_sight_where_a_wide_table_is_moved_by_the_keyboard(page: Any, apart: Town) -> None:
    page.goto(f"{apart.url}/collections/plots/items?limit=30&f=html")
    table = page.locator(".scroll")
    table.focus()
    for _ in range(40):
        page.keyboard.press("ArrowRight")
    page.wait_for_function("document.querySelector('.scroll').scrollLeft > 200")
    assert abs(table.bounding_box()["x"] - table.locator("tbody td").first.bounding_box()["x"]) < 3
    beyond = """[...document.querySelectorAll("td > table.list")].filter((each) =>
        each.getBoundingClientRect().right > each.parentElement.getBoundingClientRect().right + 1).length"""
    page.evaluate("""document.querySelectorAll("table.list td:first-child").forEach((each) => {
        each.textContent = "Đất cơ sở sản xuất phi nông nghiệp và dịch vụ, một tên rất dài (SKC)";
    })""")
    assert page.evaluate(beyond) == 0, "a list lies over the next column"


def test_no_page_is_wider_than_a_telephone(page: Any, apart: Town) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    for path in ("/", "/collections", "/collections/plots", "/collections/plots/items",
                 "/collections/plots/items/00004.1.1", "/lots/00004.1.1/dossier", "/collections/data-catalogue/items",
                 "/open-data", "/openapi", "/collections/plots/tiles", "/collections/plots/schema",
                 "/catalogue/changes", "/collections/plots/changes"):  # fmt: skip
        for language in ("vi", "en"):
            page.goto(f"{apart.url}{path}?lang={language}&f=html")
            wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wider == 0, (path, language)


def test_a_long_choice_makes_no_form_wider_than_a_telephone(page: Any, apart: Town) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(f"{apart.url}/collections/plots/items?f=html")
    page.evaluate("""() => {
        const choice = document.createElement("select");
        choice.append(new Option("Phường Thợ Nhuộm Đông (99116) – đến 30/06/2025, một tên rất dài"));
        document.querySelector("form.search label").append(choice);
    }""")
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0


def test_a_long_word_makes_no_page_wider_than_a_telephone(page: Any, apart: Town) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(f"{apart.url}/collections/plots/items/00004.1.1")
    page.evaluate("document.querySelector('table.facts td').textContent = 'over_building_line:'.repeat(9)")
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0


@pytest.mark.parametrize(
    "path",
    [
        "/collections",
        "/conformance",
        "/openapi",
        "/collections/plots/schema",
        "/collections/plots/queryables",
        "/collections/plots/sortables",
        "/collections/plots/items",
        "/collections/works/items/01%2FGPXD",
        "/code-lists/use",
        "/collections/works",
        "/catalogue",
        "/collections/data-catalogue/items/plots",
        "/catalogue/changes",
        "/collections/plots/changes",
        "/open-data",
    ],
)
def test_every_page_opens_in_both_languages(page: Any, apart: Town, path: str) -> None:
    for language in ("vi", "en"):
        page.goto(f"{apart.url}{path}?lang={language}")
        assert page.locator("html").get_attribute("lang") == language
        assert page.locator("h1").count() == 1
