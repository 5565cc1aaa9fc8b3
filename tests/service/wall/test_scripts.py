"""Nothing that somebody wrote runs in a page: features, titles, code lists, names, reasons and parameters, in a real
browser.

The policy of the pages is off, for it is only the second wall: nothing may run without it. A page of each kind is
opened with it too, and nothing may fall foul of it, for what it forbids would be there. Pages that are there only for
who shows a key are opened with one.
"""

from __future__ import annotations

import csv
import html
import io
import re
import shutil
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urljoin, urlsplit
from xml.etree import ElementTree

import pytest

from sdi.service.pages import TEMPLATES
from tests.service.conftest import Town
from tests.service.wall.conftest import CALCULATED, NASTY, TOGETHER

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


def opens(browser: Any, **options: Any) -> Iterator[Any]:
    context = browser.new_context(locale="vi-VN", **options)
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
    return judged(page, town, path, page.goto(town.url + path, wait_until="load"))


def judged(page: Any, town: Town, path: str, answer: Any) -> dict[str, Any]:
    policy = answer.headers.get("content-security-policy", "")
    if "html" in answer.headers["content-type"]:
        assert policy.startswith("default-src 'none'; script-src 'self';"), (path, policy)
    assert answer.headers["x-content-type-options"] == "nosniff"
    if page.locator("#map").count():
        # Not by a function: where the page is not done at once, that needs what its policy forbids.
        page.locator("#map[data-features], #map-note:not(:empty)").first.wait_for(state="attached")
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


FEATURE = quote(NASTY[1], safe="")
PAGES = {
    "agencies.html": "/admin/agencies", "audit.html": "/audit?f=html&limit=1000", "catalogue.html": "/catalogue?f=html",
    "changes.html": "/catalogue/changes?f=html", "code_list.html": "/code-lists/use?f=html",
    "collection.html": "/collections/plots?f=html", "collections.html": "/collections?f=html",
    "conformance.html": "/conformance?f=html", "dossier.html": f"/lots/{FEATURE}/dossier?f=html",
    "feed.html": "/collections/plots/changes?f=html",
    "item.html": f"/collections/plots/items/{FEATURE}?f=html", "items.html": "/collections/plots/items?f=html",
    "landing.html": "/?f=html", "open_data.html": "/open-data?f=html", "openapi.html": "/openapi?f=html",
    "problem.html": f"/collections/{FEATURE}?f=html", "record.html": "/collections/data-catalogue/items/plots?f=html",
    "requests.html": "/requests?f=html&all=true", "schema.html": "/collections/plots/schema?f=html",
    "statistics.html": "/collections/plots/statistics?f=html", "statistics_list.html": "/statistics?f=html",
    "tileset.html": "/collections/plots/tiles?f=html",
}  # fmt: skip
"""Every page there is, by its template."""
TOLD = {
    "/admin/agencies": NASTY, "/requests?f=html&all=true": NASTY, "/audit?f=html&limit=1000": NASTY[:9],
    "/collections/plots/changes?f=html": [NASTY[1], NASTY[2], NASTY[7], NASTY[12]],
    "/collections/plots__findings/items?f=html": NASTY, "/collections/plots__quarantine/items?f=html": NASTY[1::2],
}  # fmt: skip
"""Pages for who shows a key, and which of the texts must stand there, or nothing would be tried."""


@pytest.fixture(scope="module")
def official(browser: Any, key: str) -> Iterator[Any]:
    """A browser of the agency that administers and collects; it runs whatever it finds."""
    yield from opens(browser, bypass_csp=True, extra_http_headers={"X-API-Key": key})


def squeezed(text: str) -> str:
    return "".join(text.split())


def test_no_page_that_a_key_opens_runs_what_is_stored(official: Any, nasty: Town, key: str) -> None:
    assert PAGES.keys() | {"base.html", "macros.html"} == {path.name for path in TEMPLATES.glob("*.html")}
    for text in NASTY[:9]:
        nasty.ask(f"/collections/plots/items/{quote(text, safe='')}", X_API_Key=key, X_Purpose=text)
    ends = time.monotonic() + 60
    while NASTY[8] not in {each.get("purpose") for each in nasty.get("/audit?limit=1000", X_API_Key=key)["entries"]}:
        assert time.monotonic() < ends, "nothing is recorded"
        time.sleep(0.2)
    for path in [*PAGES.values(), *TOLD.keys() - PAGES.values()]:
        opened(official, nasty, path)
        shown = squeezed(official.evaluate("document.querySelector('main').textContent"))
        assert [text for text in TOLD.get(path, ()) if squeezed(text) not in shown] == [], path
    finding = nasty.get("/collections/plots__findings/items?f=json", X_API_Key=key)["features"][0]["id"]
    for path in (f"/collections/plots__findings/items/{finding}", "/collections/plots__quarantine/schema",
                 "/collections/plots__findings", "/tiles/WebMercatorQuad", "/requests?overdue=true",
                 f"/collections/plots/items/{FEATURE}?as-of=2100-01-01"):  # fmt: skip
        opened(official, nasty, path + ("&" if "?" in path else "?") + "f=html&lang=en")


def asked_with_a_key() -> Iterator[str]:
    """Nasty texts as parameters of what is there for agencies, or was not asked above."""
    text, all_ = quote(NASTY[1], safe=""), quote(TOGETHER, safe="")
    for name in ("layer", "feature", "agency", "from", "to", "before", "limit", "X"):
        yield f"/audit?f=html&{name}={text}"
    yield f"/audit?f=html&feature={all_}&agency={all_}"
    yield from (f"/requests?f=html&{name}={text}" for name in ("all", "overdue", "lang", "X"))
    yield from (f"/admin/agencies?{name}={text}" for name in ("lang", "f", "X"))
    yield from (f"/collections/plots/statistics?f=html&{name}={text}" for name in ("by", "X"))
    yield from (f"/collections/data-catalogue/items?f=html&{name}={all_}"
                for name in ("q", "bbox", "sortby", "type", "limit"))  # fmt: skip
    yield from (f"/catalogue/changes?f=html&{name}={text}" for name in ("collection", "datetime", "limit"))
    yield from (f"/collections/plots__findings/items?f=html&{name}={all_}" for name in ("rule", "feature", "filter"))
    yield from (f"/collections/plots/changes?f=html&{name}={text}" for name in ("since", "limit", "X"))
    yield f"/tiles/WebMercatorQuad?f=html&collections={text}"
    yield f"/collections/plots__findings/items/{all_}?f=html"
    for path in ("/collections/plots/{}", "/collections/plots/styles/{}", "/collections/plots/tiles/{}",
                 "/collections/data-catalogue/items/{}", "/qgis/{}.qgz", "/styles/{}", "/admin/{}"):  # fmt: skip
        yield path.format(text)


def test_no_page_that_a_key_opens_runs_what_is_asked(official: Any, nasty: Town) -> None:
    for path in asked_with_a_key():
        opened(official, nasty, path)


def test_no_page_runs_what_a_key_says_or_follows_it_elsewhere(page: Any, nasty: Town, key: str) -> None:
    """A key may stand in the address, and then it is written into every link; a wrong one is written nowhere."""
    refused = nasty.ask(f"/collections?f=html&key={quote(TOGETHER, safe='')}", Accept="text/html")
    assert refused.status == 401
    assert TOGETHER not in html.unescape(refused.text)
    seen = opened(page, nasty, f"/collections/plots__findings/items?f=html&key={key}&feature={FEATURE}")
    assert sum(f"key={key}" in link for link in seen["links"]) > 5


SEND = """([action, fields]) => {
    const form = document.createElement('form');
    Object.assign(form, {method: 'post', action});
    for (const [name, value] of fields) {
        const field = document.createElement('textarea');
        Object.assign(field, {name, value});
        form.append(field);
    }
    document.body.append(form);
    form.submit();
}"""


def sent() -> Iterator[tuple[str, dict[str, str]]]:
    """Forms with nasty texts in their fields: most are refused, and the answer says why; some are done."""
    text = NASTY[1]
    grant = {"agency": "xa_1", "layer": "plots", "precision": "exact", "legal_basis": "x", "purpose": text}
    for fields in (
        {"do": TOGETHER}, {"do": "add", "agency": TOGETHER, "kind": "ward", "name-vi": text, "name-en": text},
        {"do": "add", "agency": "xa_moi", "kind": text, "name-vi": text, "name-en": text},
        {"do": "key", "agency": "xa_1", "days": text}, {"do": "key", "agency": text, "days": "1"},
        {"do": "key", "agency": "xa_1", "days": "1", "name": TOGETHER[:200], "note": text},
        {"do": "merge", "agency": "xa_2", "into": text, "why": text},
        {"do": "revoke-grant", "grant": text, "why": text},
        *({"do": "grant", **grant, name: TOGETHER} for name in ("agency", "layer", "class", "action", "attributes",
                                                             "rows", "polygon", "precision", "metres", "from")),
    ):  # fmt: skip
        yield "/admin/agencies", fields
    ask = {"do": "ask", "layer": "plots", "purpose": text, "legal_basis": text}
    for fields in (ask, {**ask, "layer": text}, {**ask, "class": text}, {**ask, "action": text},
                   {"do": "grant", "request": text}, {"do": "refuse", "request": "1" * 15, "why": text}):  # fmt: skip
        yield "/requests", fields


def test_no_answer_to_a_form_runs_what_was_sent(official: Any, nasty: Town) -> None:
    opened(official, nasty, "/requests?f=html")
    proof = official.locator("input[name=proof]").first.get_attribute("value")
    for path, fields in sent():
        with official.expect_navigation() as answered:
            official.evaluate(SEND, [path, [*{**fields, "proof": proof}.items()]])
        judged(official, nasty, f"{path} {fields}", answered.value)


@pytest.mark.parametrize("path", ["/collections/data-catalogue/items/plots?f=iso19139",
                                  "/collections/plots/styles/default?f=sld11",
                                  "/collections/plots/styles/default?f=qml"])  # fmt: skip
def test_no_xml_has_what_a_browser_would_run(nasty: Town, key: str, path: str) -> None:
    """A browser shows XML, and runs what in it is of HTML or SVG."""
    answer = nasty.ask(path, X_API_Key=key)
    assert answer.status == 200
    assert b"<?xml-stylesheet" not in answer.body
    names = {each.tag for each in ElementTree.fromstring(answer.text).iter()}
    assert [name for name in names if name.startswith(("{http://www.w3.org/1999/", "{http://www.w3.org/2000/svg"))
            and not name.startswith("{http://www.w3.org/1999/xlink}")] == []  # fmt: skip


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
