"""The published flaws of other servers of this kind, tried here: each by what it did there.

GeoServer, MapServer, pygeoapi, pg_featureserv, ldproxy, CKAN and Martin had them; what became of them stands in their
advisories. Nothing here is a 5xx, nothing shows what is hidden, and nothing comes back as it was sent where it could
run.
"""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from sdi.store import engine
from tests.service.conftest import Answer, Town
from tests.service.wall.test_limits import head, raw

PLOTS = "/collections/plots/items"
SQL = (
    "' OR '1'='1",
    "'; DROP TABLE testtown.plots; --",
    "1) OR 1=1 --",
    "\\'; SELECT pg_sleep(30) --",
    "'||pg_sleep(30)||'",
    '"; DROP TABLE testtown.plots; --',
    '" FROM testtown.plots; --',
    "%' OR '1' LIKE '%",
    "$$; SELECT 1; $$",
    "1;SELECT 1",
    "number) FROM testtown.plots UNION SELECT sha256 FROM sdi.agency_key --",
    'plots" WHERE 1=1 --',
    "{0}",
    "%(p0)s",
    "%s",
    "E'\\x27'",
    "’ OR ’1’=’1",
    "\u02bc OR 1=1",
)


@pytest.fixture(scope="module")
def all_ids(town: Town) -> set[str]:
    return {feature["id"] for feature in town.get(f"{PLOTS}?limit=30&skipGeometry=true")["features"]}


def refused(answer: Answer, sent: str) -> None:
    assert answer.status in (400, 404), (answer.status, answer.text[:300])
    assert answer.headers["Content-Type"] == "application/problem+json"
    for foreign in ("psycopg", "SELECT", "syntax error", "Traceback", "relation", "agency_key"):
        assert foreign in sent or foreign not in answer.text


@pytest.mark.parametrize("text", SQL)
def test_sql_in_a_name_is_no_name(town: Town, text: str) -> None:
    """Property names, sort keys and column lists were pasted into statements (MapServer, pg_featureserv, ldproxy)."""
    written = quote(text, safe="")
    name = quote('"' + text.replace('"', '""') + '"', safe="")
    for query in (f"sortby={written}", f"sortby=-{written}", f"properties={written}", f"filter={name}%3D1",
                  f"{written}=1", f"crs={written}", f"bbox={written}", f"datetime={written}", f"limit={written}",
                  f"filter=CASEI({name})%3D'a'", f"filter-lang={written}&filter=number%3D1"):  # fmt: skip
        refused(town.ask(f"{PLOTS}?{query}"), text)
    tree = {"op": "=", "args": [{"property": text}, 1]}
    refused(town.ask(f"{PLOTS}?filter-lang=cql2-json&filter={quote(json.dumps(tree))}"), text)
    refused(town.ask(f"{PLOTS}?filter-lang=cql2-json&filter={quote(json.dumps({'op': text, 'args': [1, 1]}))}"), text)


@pytest.mark.parametrize("text", SQL)
def test_sql_in_a_value_is_a_value(town: Town, text: str) -> None:
    """LIKE patterns, feature ids and array members were pasted into statements (GeoServer's CVE-2023-25157)."""
    literal = quote("'" + text.replace("'", "''") + "'", safe="")
    pattern = quote("'" + text.replace("'", "''").replace("\\", "\\\\").replace("%", "\\%") + "'", safe="")
    for query in (f"owner_kind={quote(text, safe='')}", f"id={quote(text, safe='')}", f"use={quote(text, safe='')}",
                  f"filter=owner_kind%3D{literal}", f"filter=owner_kind%20LIKE%20{pattern}",
                  f"filter=owner_kind%20IN%20({literal})", f"filter=CASEI(owner_kind)%3DCASEI({literal})"):  # fmt: skip
        answer = town.ask(f"{PLOTS}?{query}")
        assert answer.status == 200, (query, answer.text[:300])
        assert answer.json["features"] == []
    assert town.ask(f"{PLOTS}/{quote(text, safe='')}").status == 404
    searched = town.ask(f"{PLOTS}?q={quote(text, safe='')}")
    assert searched.status in (200, 400)
    if text.strip("%'\" ") not in ("s", ""):
        assert searched.status == 400 or len(searched.json["features"]) < 30


def test_after_all_this_the_data_are_there(town: Town, all_ids: set[str]) -> None:
    with engine.connect(town.database) as connection:
        assert connection.execute("SELECT count(*) FROM testtown.plots").fetchone() == (40,)
    assert len(all_ids) == 30


@pytest.mark.parametrize(
    "path",
    [
        "../../etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e/%2e%2e/etc/passwd",
        "..%5c..%5cwindows",
        "%c0%ae%c0%ae/etc",
        "....//....//etc/passwd",
        "/etc/passwd",
        "file:///etc/passwd",
        "plots/../secrets",
        "plots%2f..%2fsecrets",
        "secrets",
        "plots%00.json",
        "plots;secrets",
        "PLOTS",
        "plots.yaml",
        ".git/config",
        "%252e%252e%252fetc",
        "\u2025/etc",
        "con",
        "plots:secrets",
        "testtown.plots",
        "sdi.agency_key",
        "pg_catalog.pg_shadow",
        '"testtown"."plots"',
    ],
)
def test_an_id_is_no_path_and_no_table(town: Town, path: str) -> None:
    """Ids of collections and styles were file names and table names (GeoServer, CKAN, Martin, pg_tileserv)."""
    written = quote(path, safe="/%;:.")
    for address in (f"/collections/{written}", f"/collections/{written}/items", f"/collections/plots/items/{written}",
                    f"/code-lists/{written}", f"/static/{written}", f"/tileMatrixSets/{written}",
                    f"/collections/{written}/export", f"/collections/{written}/tiles/WebMercatorQuad/0/0/0",
                    f"/collections/{written}/coverage", f"/lots/{written}/dossier"):  # fmt: skip
        answer = town.ask(address)
        if address.endswith("plots/../secrets"):
            continue  # an address of two steps, tried below
        assert answer.status in (400, 404), (address, answer.status)
        assert "root:" not in answer.text
        assert "privacy:" not in answer.text


@pytest.mark.parametrize(
    "name", ["f", "offset", "limit", "bbox", "crs", "lang", "filter", "callback", "jsonp", "format"]
)
def test_a_parameter_does_not_come_back_as_markup(town: Town, name: str) -> None:
    """`offset` and `f` came back as they were sent (MapServer #7573, pygeoapi)."""
    sent = "<script>alert(1)</script>"
    for accept in ("text/html", "application/json", "*/*"):
        answer = town.ask(f"{PLOTS}?{name}={quote(sent)}", Accept=accept)
        if (answer.headers["Content-Type"] or "").startswith("text/html"):
            assert sent not in answer.text
        else:
            assert "json" in answer.headers["Content-Type"]


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:1", "[", "[::1", "a b", '"><script>', "x/../y", "", "é"]
)
def test_whatever_host_is_named_links_begin_with_our_own_address(town: Town, host: str) -> None:
    """Links made of Host and X-Forwarded-Host poison caches and lead elsewhere (MapServer #7544, pygeoapi)."""
    fields = [f"X-Forwarded-Host: {host}", f"X-Forwarded-Proto: {host}", f"Forwarded: host={host}",
              f"X-Forwarded-Prefix: /{host}", f"X-Original-URL: /{host}"]  # fmt: skip
    for path in (
        "/collections?f=json",
        "/collections?f=html",
        f"{PLOTS}?limit=1",
        f"{PLOTS}?limit=1&f=html",
        "/nope?f=html",
    ):
        lines = [f"GET {path} HTTP/1.1", f"Host: {host}", "Connection: close", *fields, "", ""]
        answer = raw(town, "\r\n".join(lines).encode("latin-1"))
        status = int(answer[9:12])
        assert status < 500, answer[:500]
        if host.strip("[] "):
            assert host.encode("latin-1") not in answer.replace(b"X-Request-Id", b""), path


@pytest.mark.parametrize(
    "path",
    [
        "//evil.example",
        "//evil.example/%2e%2e",
        "/\\evil.example",
        "/%09//evil.example",
        "/agency/",
        "/collections/",
        "/agency?next=//evil.example",
        "/https://evil.example",
    ],
)
def test_nobody_is_led_elsewhere(town: Town, path: str) -> None:
    answer = raw(town, head(path))
    assert int(answer[9:12]) in (400, 401, 404)
    assert b"location:" not in answer.lower()


@pytest.mark.parametrize(
    "sent", ["%0d%0aSet-Cookie:%20a=b", "%0aX-Injected:%201", "%E5%98%8D%E5%98%8ASet-Cookie:a", "%00"]
)
def test_no_id_and_no_parameter_makes_a_header(town: Town, sent: str) -> None:
    for path in (
        f"/collections/{sent}",
        f"{PLOTS}/{sent}",
        f"{PLOTS}?owner_kind={sent}&limit=1",
        f"{PLOTS}?id={sent}",
        f"/collections/plots/export?f={sent}",
        f"{PLOTS}?f={sent}",
        f"/{sent}",
        f"/static/{sent}",
    ):
        answer = town.ask(path)
        assert answer.status < 500
        assert answer.headers["Set-Cookie"] is None
        assert answer.headers["X-Injected"] is None


@pytest.mark.parametrize(
    "query",
    [
        "limit=99999999999999999999999999", "offset=99999999999999999999999999", f"number={'9' * 5000}",
        f"limit={'9' * 900}", "offset=9223372036854775807", "filter=number%3D1e308", "filter=number%3D1e99999999",
        f"filter=number%3D{'9' * 5000}", "bbox=1e308,1e308,1e309,1e309", f"datetime={'9' * 400}-01-01",
        "filter=number%3D10%5E10%5E10%5E10", "filter=number*1e300*1e300*1e300%3D1",
    ],
)  # fmt: skip
def test_no_number_is_too_large_to_be_answered(town: Town, query: str) -> None:
    assert town.ask(f"{PLOTS}?{query}").status in (200, 400)


@pytest.mark.parametrize(
    "address",
    [
        "99/0/0",
        "24/99999999999/0",
        "-1/0/0",
        "0/-1/0",
        "0/0/1",
        "22/9999999999999999999999/0",
        "a/b/c",
        "0/0/0.5",
        "1e1/0/0",
        "00/0/0",
        "٠/0/0",
    ],
)
def test_no_tile_outside_the_set_costs_a_query(town: Town, address: str) -> None:
    """Unbounded zooms and sizes were a denial of service (Martin, pg_tileserv)."""
    assert town.ask(f"/collections/plots/tiles/WebMercatorQuad/{quote(address)}").status in (400, 404)


BOMBS = {
    "parentheses": "(" * 3000 + "number=1" + ")" * 3000,
    "open parentheses": "(" * 5000,
    "not": "NOT " * 2000 + "number=1",
    "minus": "number=" + "-" * 5000 + "1",
    "functions": "CASEI(" * 800 + "owner_kind" + ")" * 800 + "='a'",
    "or": " OR ".join(["number=1"] * 900),
    "wildcards": "owner_kind LIKE '" + "%a" * 2000 + "b'",
    "signs": "number=" + "-" * 9000 + "1",
    "comparisons": "1=" * 4900 + "1",
    "a box of signs": "S_INTERSECTS(geometry,BBOX(" + "-" * 9000 + "1,1,1,1))",
    "a box of parentheses": "S_INTERSECTS(geometry,BBOX" + "(" * 4000 + ")" * 4000 + ")",
    "a box of spaces": "S_INTERSECTS(geometry,BBOX(1," + " " * 9000 + "x))",
    "lists in lists": "number IN " + "(" * 38 + "1 1" + ",1)" * 38,
    "a geometry's parentheses": "S_INTERSECTS(geometry," + "GEOMETRYCOLLECTION(" * 500 + "POINT(1 1)" + ")" * 500 + ")",
    "quotes": "owner_kind='" + "''" * 4000 + "'",
    "spaces": "number" + " " * 9000 + "=1",
    "dots": "." * 9000,
    "a letter that grows when it is folded": "CASEI(owner_kind)='" + "\ufdfa" * 900 + "'",
    "marks": "owner_kind='" + "a" + "\u0301" * 4000 + "'",
}


@pytest.mark.parametrize("name", BOMBS)
def test_no_filter_takes_the_worker_s_time(town: Town, name: str) -> None:
    """Recursion and backtracking in parsers of filters (pg_featureserv, GeoServer, ldproxy)."""
    answer = town.ask(f"{PLOTS}?limit=1&filter={quote(BOMBS[name])}")
    assert answer.status in (200, 400), answer.text[:200]


JSON_BOMBS = {
    "lists": "[" * 9_000, "not": '{"op":"not","args":[' * 500 + "true" + "]}" * 500,
    "numbers": '{"op":"=","args":[{"property":"number"},' + "9" * 9000 + "]}",
    "keys": '{"op":"=","op":"=","args":[{"property":"number"},1],"args":[]}',
    "a ring of rings": '{"op":"s_intersects","args":[{"property":"geometry"},{"type":"Polygon","coordinates":'
    + "[" * 900 + "]" * 900 + "}]}",
    "__proto__": '{"op":"=","args":[{"property":"__proto__"},{"__class__":"x"}]}',
}  # fmt: skip


@pytest.mark.parametrize("name", JSON_BOMBS)
def test_no_tree_takes_the_worker_s_time(town: Town, name: str) -> None:
    assert town.ask(f"{PLOTS}?filter-lang=cql2-json&filter={quote(JSON_BOMBS[name])}").status == 400


@pytest.mark.parametrize(
    "text", ["(a+)+$", "a" * 450 + "!", "(((((((((", "[a-z", "\\", ".*" * 200, "%" * 400, "𝕳" * 200, "*** a"]
)
def test_no_search_is_an_expression_that_runs_away(town: Town, text: str) -> None:
    assert town.ask(f"{PLOTS}?limit=1&q={quote(text, safe='')}").status in (200, 400)


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Accept", "text/html," * 2000),
        ("Accept", "*/*;q=" + "0" * 9000),
        ("Accept-Language", "vi-" * 5000),
        ("Accept-Encoding", "gzip;q=" + "9" * 9000),
        ("If-None-Match", '"x",' * 5000),
        ("Range", "bytes=" + "0-1," * 5000),
        ("If-Modified-Since", "Mon, 99 Foo 99999 99:99:99 GMT"),
        ("Authorization", "Basic " + "A" * 9000),
        ("Authorization", "Bearer " + "\x7f" * 10),
        ("Content-Length", "-1"),
        ("Cookie", "a=b;" * 5000),
    ],
)
def test_no_header_is_a_fault_of_the_service(town: Town, header: str, value: str) -> None:
    for path in ("/collections", f"{PLOTS}?limit=1", "/static/map.js", "/collections/ground/coverage?f=GTiff"):
        status = int(raw(town, head(path, f"{header}: {value}"))[9:12])
        assert status < 500, (path, status)


def test_a_hidden_layer_is_not_told_from_one_that_is_not_there(town: Town) -> None:
    """Private rows were told by their errors (CKAN #652)."""
    for path in (
        "/collections/{}",
        "/collections/{}/items",
        "/collections/{}/schema",
        "/collections/{}/export",
        "/collections/{}/tiles",
        "/collections/{}/tiles/WebMercatorQuad/0/0/0",
        "/collections/{}/items/a",
    ):
        hidden, absent = town.ask(path.format("secrets")), town.ask(path.format("sxcrxts"))
        assert hidden.status == absent.status == 404
        assert hidden.text.replace("secrets", "sxcrxts") == absent.text
    for name in ("hidden_note", "holder", "nothing_at_all"):
        answer = town.ask(f"{PLOTS}?filter={name}%3D'x'")
        assert answer.status == 400
        assert answer.json["detail"].startswith(f"There is no property '{name}' to filter by.")
