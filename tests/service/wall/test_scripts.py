"""Nothing that somebody wrote runs in a page: features, titles, code lists and parameters, in a real browser.

The policy of the pages is off, for it is only the second wall: nothing may run without it. A page of each kind is
opened with it too, and nothing may fall foul of it, for what it forbids would be there.
"""

from __future__ import annotations

import csv
import html
import io
import re
import shutil
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import pytest

from tests.service.conftest import Town
from tests.service.wall.conftest import CALCULATED, NASTY

CHROMIUM = shutil.which("chromium")
WATCH = """
    window.faults = [];
    document.addEventListener('securitypolicyviolation', (event) => window.faults.push(event.violatedDirective));
"""
SEEN = """() => ({
    ran: window.ran, faults: window.faults, base: document.baseURI,
    links: [...document.querySelectorAll('[href], [src], [action], [formaction]')].flatMap(
        (each) => ['href', 'src', 'action', 'formaction'].map((name) => each.getAttribute(name))).filter(Boolean),
    handlers: [...document.querySelectorAll('*')].flatMap(
        (each) => each.getAttributeNames().filter((name) => name.startsWith('on'))),
    foreign: document.querySelectorAll('iframe, object, embed, base, meta[http-equiv], style').length,
    scripts: [...document.scripts].filter((each) => !each.src && each.type !== 'application/json').length,
})"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("chromium is not on this machine")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"],
        )
        yield found
        found.close()


@pytest.fixture(scope="module")
def page(browser: Any) -> Iterator[Any]:
    """A browser that runs whatever it finds."""
    yield from opens(browser, bypass_csp=True)


@pytest.fixture(scope="module")
def guarded(browser: Any) -> Iterator[Any]:
    """A browser that obeys the policy of a page."""
    yield from opens(browser, bypass_csp=False)


def opens(browser: Any, *, bypass_csp: bool) -> Iterator[Any]:
    context = browser.new_context(bypass_csp=bypass_csp, locale="vi-VN")
    context.set_default_timeout(60_000)
    context.add_init_script(WATCH)
    found = context.new_page()
    found.asked = []
    found.on("request", lambda each: found.asked.append(each.url))
    found.on("dialog", lambda each: (found.asked.append("dialog"), each.dismiss()))
    yield found
    context.close()


def opened(page: Any, town: Town, path: str) -> dict[str, Any]:
    """What a page has become, and what of it is not right: nothing, it is hoped."""
    page.goto(town.url + path, wait_until="load")
    if page.locator("#map").count():
        page.wait_for_function(
            "document.getElementById('map-note')?.textContent || document.querySelector('#map[data-features]')"
        )
    seen: dict[str, Any] = page.evaluate(SEEN)
    wrong = {name: seen[name] for name in ("ran", "faults", "handlers", "foreign", "scripts") if seen[name]}
    schemes = {urlsplit(urljoin(town.url, link)).scheme for link in seen["links"]} - {"http", "https", "mailto", "data"}
    assert (path, wrong, schemes) == (path, {}, set())
    # Leaflet's own link is none of ours; all that is fetched must be.
    assert [url for url in page.asked if not url.startswith((town.url, "data:"))] == []
    assert CALCULATED not in page.content()
    return seen


def addresses(town: Town) -> list[str]:
    """A page of each kind that can be reached by links."""
    found, kinds, new = [], set(), ["/"]
    while new:
        address = new.pop()
        answer = town.ask(address, Accept="text/html")
        assert answer.status == 200
        if not (answer.headers["Content-Type"] or "").startswith("text/html"):
            continue  # a file to be kept, such as a project for QGIS
        found.append(address)
        for link in hrefs(answer.text):
            parts = urlsplit(link)
            kind = tuple(step if step in KINDS else "x" for step in parts.path.split("/"))
            if (
                parts.netloc
                or not parts.path.startswith("/")
                or parts.path.startswith("/static/")
                or "f=" in parts.query
            ):
                continue
            if kind not in kinds:
                kinds.add(kind)
                new.append(link)
    return found


KINDS = {"collections", "plots", "works", "ground", "plot_card", "items", "schema", "queryables", "sortables", "lots",
         "dossier", "code-lists", "conformance", "openapi"}  # fmt: skip


def hrefs(text: str) -> list[str]:
    return [html.unescape(each) for each in re.findall(r'<a [^>]*href="([^"]*)"', text)]


def test_no_page_runs_what_features_and_contracts_say(page: Any, nasty: Town) -> None:
    pages = addresses(nasty)
    assert len(pages) > 15
    assert any(path.endswith("/dossier") for path in pages)
    ids = [quote(each, safe="") for each in NASTY]
    pages += [f"/collections/plots/items/{each}?lang=en" for each in ids] + [f"/lots/{ids[1]}/dossier?lang=en"]
    for path in [*pages, "/?lang=en", "/collections?lang=en", "/collections/plots?lang=en", "/code-lists/use?lang=en"]:
        opened(page, nasty, path)


def test_no_page_falls_foul_of_its_policy(guarded: Any, nasty: Town) -> None:
    for path in addresses(nasty):
        opened(guarded, nasty, path)


def test_a_popup_and_a_label_on_the_map_run_nothing(page: Any, nasty: Town) -> None:
    opened(page, nasty, f"/collections/plots/items/{quote(NASTY[1], safe='')}")
    page.wait_for_selector("#map[data-features='1']")
    # Until the map has come to rest a click moves it.
    for _ in range(60):
        page.locator("#map").click()
        if page.locator(".leaflet-popup-content a").count():
            break
        page.wait_for_timeout(500)
    assert NASTY[1] in page.locator(".feature-label").inner_text()
    assert NASTY[1] in page.locator(".leaflet-popup-content").inner_text()
    seen = page.evaluate(SEEN)
    assert not seen["ran"]
    assert not seen["faults"]


PARAMETERS = ("lang", "f", "limit", "offset", "bbox", "crs", "datetime", "as-of", "sortby", "properties", "filter",
              "filter-lang", "q", "cursor", "id", "number", "owner_kind", "X")  # fmt: skip
TOGETHER = "".join(NASTY)


def asked() -> Iterator[str]:
    """Nasty texts as parameters, as names of parameters, and as steps of a path."""
    for name in PARAMETERS:
        yield f"/collections/plots/items?{name}={quote(NASTY[1], safe='')}"
    yield f"/collections/plots/items?owner_kind={quote(TOGETHER, safe='')}&q={quote(NASTY[1], safe='')}"
    yield f"/collections/plots/items?id={quote(TOGETHER, safe='')}&as-of=2026-01-01"
    yield f"/collections/plots/items?{quote(NASTY[0], safe='')}=1"
    yield f"/collections/plots/items?filter={quote(TOGETHER, safe='')}"
    yield f"/?{quote(NASTY[1], safe='')}={quote(NASTY[2], safe='')}"
    for path in ("/{}", "/collections/{}", "/collections/plots/items/{}", "/code-lists/{}", "/lots/{}/dossier",
                 "/{}/x/dossier", "/collections/{}/schema"):  # fmt: skip
        yield path.format(quote(TOGETHER, safe="")) + "?f=html"
        yield path.format(quote(NASTY[1], safe="")) + "?f=html&as-of=2026-01-01"
    yield "//evil.example/%2e%2e?f=html"
    yield "/collections/plots/items?lang=vi&f=html&x=" + quote(NASTY[6])


def test_no_page_runs_what_is_asked(page: Any, nasty: Town) -> None:
    for path in asked():
        opened(page, nasty, path)


@pytest.mark.parametrize("query", ["f=csv", "f=csv&skipGeometry=false"])
def test_no_cell_of_a_csv_is_a_formula(nasty: Town, query: str) -> None:
    text = nasty.ask(f"/collections/plots/items?{query}&limit=30").body.decode("utf-8-sig")
    cells = [cell for row in csv.reader(io.StringIO(text, newline="")) for cell in row]
    assert any("HYPERLINK" in cell for cell in cells)
    assert [cell for cell in cells if cell[:1] in ("=", "+", "@", "\t", "\r")] == []


def test_what_is_no_page_is_told_to_be_none(nasty: Town) -> None:
    """A browser that is led to data shows or keeps it, and never takes it for a page."""
    for path in ("/collections/plots/items?f=json", "/collections/plots/items?f=csv", "/collections?f=json",
                 "/collections/plots/items?f=jsonld", "/collections/plots/items?f=geojsonseq", "/openapi?f=json",
                 f"/nope?f=json&{quote(NASTY[0])}", "/collections/plots/schema?f=json"):  # fmt: skip
        answer = nasty.ask(path)
        assert "html" not in answer.headers["Content-Type"], path
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        for name in ("Link", "Content-Crs", "ETag", "Content-Disposition", "Location"):
            for value in answer.headers.get_all(name, []):
                assert "<script" not in value
                assert value.isascii()
                assert value.isprintable()
