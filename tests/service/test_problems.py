"""Whatever a client asks, it gets an answer or a problem of its own making; never a bare 500 and no foreign text."""

from __future__ import annotations

import json
import socket
from html import unescape
from urllib.parse import quote

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sdi.store import engine
from tests.service.conftest import Town, served

PLOTS = "/collections/plots/items"
EPSG = "http://www.opengis.net/def/crs/EPSG/0/"

WRONG = (
    [
        # The list of inputs that pygeoapi answers with 500 or takes without a word.
        "number=abc",
        "number=1.5",
        "legal_area=x",
        "legal_area=NaN",
        "height=inf",
        "disputed=maybe",
        "valid_from=2020",
        "valid_from=2020-13-01",
        "changed_at=yesterday",
        "bbox=1,2,3",
        "bbox=1,2,3,4,5",
        "bbox=a,b,c,d",
        "bbox=1_0,2,30,4",
        "bbox=",
        "bbox=1,2,3,nan",
        "bbox=1,5,3,4",
        "bbox=0,0,9,1,1,1",
        f"bbox=5,1,1,5&bbox-crs={EPSG}5897",
        f"bbox=1e300,1e300,2e300,2e300&bbox-crs={EPSG}5897",
        "bbox-crs=" + EPSG + "5897",
        f"bbox=1,2,3,4&bbox-crs={EPSG}3405",
        "bbox=1,2,3,4&bbox-crs=",
        f"crs={EPSG}9999",
        f"crs={EPSG}4756",
        "crs=EPSG:5897",
        "crs=",
        "crs=x",
        "datetime=2015",
        "datetime=2015-01",
        "datetime=2015-01/2015-02",
        "datetime=../x",
        "datetime=x",
        "datetime=2020-02-30",
        "datetime=2020-01-01/2019-01-01",
        "datetime=",
        "datetime=/",
        "datetime=2020-01-01/2020-01-02/2020-01-03",
        "datetime=2020-01-01T25:00:00Z",
        "limit=0",
        "limit=-1",
        "limit=a",
        "limit=1.5",
        "limit=",
        "limit=%C2%B2",
        "offset=-1",
        "offset=a",
        "offset=1e3",
        "sortby=",
        "sortby=nope",
        "sortby=uses",
        "sortby=geometry",
        "properties=nope",
        "properties=number,nope",
        "skipGeometry=perhaps",
        "f=xml",
        "f=",
        "lang=fr",
        "nope=1",
        "resulttype=hits",
        "query=x",
        "q=,",
        "limit=1&limit=2",
        "bbox=1,2,3,4&bbox=1,2,3,4",
        "unfindable=x",
        "uses=ODT",
        "filter-lang=cql",
        "filter=number%3D1&filter-lang=ecql",
        "number=%00",
        "owner_kind=%00",
        "owner_kind=%FF",
        "%FF=1",
        "filter=%FF%FE",
    ]
    + [
        f"filter={quote(text)}"
        for text in (
            "",
            "nope=1",
            "number",
            "number=",
            "number='abc'",
            "owner_kind=1",
            "number=1 AND",
            "((number=1)",
            "disputed='yes'",
            "unknown_function(number)=1",
            "uses='ODT'",
            "[1,2]",
            "number IN ()",
            "valid_from > 5",
            "valid_from > DATE('2020-02-31')",
            "S_INTERSECTS(geometry, POINT(1))",
            "S_INTERSECTS(nope, POINT(1 1))",
            "S_INTERSECTS(number, POINT(1 1))",
            "T_INTERSECTS(valid_from, INTERVAL('x','..'))",
            "number = " + "9" * 400,
            "(" * 500 + "number=1" + ")" * 500,
            "number=1" + " OR number=1" * 3000,
            "unfindable='x'",
            "holder='x'",
            "\x00",
            "1; DROP TABLE x",
        )
    ]
    + [
        f"filter-lang=cql2-json&filter={quote(text)}"
        for text in (
            "",
            "{",
            "[]",
            "1",
            '{"op":"="}',
            '{"op":"nope","args":[]}',
            '{"op":"=","args":[{"property":"nope"},1]}',
            '{"op":"=","args":[{"property":"number"},{"a":1}]}',
            "[" * 2000 + "]" * 2000,
            '{"op":"s_intersects","args":[{"property":"geometry"},{"type":"Polygon","coordinates":[[1]]}]}',
        )
    ]
)


@pytest.mark.parametrize("query", WRONG)
def test_a_wrong_parameter_is_a_problem_that_names_it(town: Town, query: str) -> None:
    answer = town.ask(f"{PLOTS}?{query}")
    assert answer.status == 400, answer.text[:300]
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json
    assert problem["status"] == 400
    assert problem["type"] == "about:blank"
    assert problem["title"]
    assert problem["detail"]
    assert problem["instance"] == PLOTS
    for foreign in ("psycopg", "pygeoapi", "Traceback", "SQLSTATE", "LINE 1"):
        assert foreign not in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/nope",
        "/collections/nope",
        "/collections/nope/items",
        "/collections/nope/items/1",
        "/collections/nope/schema",
        "/collections/plots/items/nope",
        "/collections/plots/items/abc%00",
        "/collections/plots/items/%FF",
        "/collections/plots/items/a%2Fb",
        "/collections/%00",
        "/collections/plots/coverage",
        "/collections/ground/items",
        "/collections/ground/items/1",
        "/lots/nope/dossier",
        "/nope/00004.1.1/dossier",
        "/lots/00004.1.7/dossier",
        "/code-lists/nope",
        "/processes",
        "/jobs",
        "/stac",
        "/TileMatrixSets",
        "/admin/config",
        "/collections/plots/map",
        "/collections/plots/items/",
        "/static/../app.py",
        "/static/nope.js",
        "/collections/secrets%2Fitems",
        "/collections/plots/items/" + "x" * 5000,
    ],
)
def test_an_address_that_is_not_there_is_a_problem_404(town: Town, path: str) -> None:
    answer = town.ask(path)
    assert answer.status == 404
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json["status"] == 404


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/conformance",
        "/collections",
        "/collections/plots",
        "/collections/plots/schema",
        "/collections/plots/queryables",
        "/collections/plots/items/00004.1.1",
        "/openapi",
        "/lots/00004.1.1/dossier",
        "/code-lists/use",
        "/collections/ground/coverage",
    ],
)
def test_no_resource_takes_a_parameter_or_a_format_that_it_does_not_know(town: Town, path: str) -> None:
    for query in ("nope=1", "f=nope", "lang=fr", "f=json&f=json", "f=%FF"):
        assert town.ask(f"{path}?{query}").status == 400, query


def test_an_unknown_parameter_is_told_its_nearest_name(town: Town) -> None:
    assert "'limit'" in town.ask(f"{PLOTS}?limt=3").json["detail"]
    assert "'number'" in town.ask(f"{PLOTS}?filter=numer%3D1").json["detail"]
    assert "'plots'" in town.ask("/collections/plot").json["detail"]


@pytest.mark.parametrize("header", ["vi;q=0", "*;q=0", "xx", ";;;", "vi;q=abc", "en;q=0.1,*", ",", "vi;q=0,en;q=0"])
def test_any_accept_language_is_understood(town: Town, header: str) -> None:
    assert town.ask("/collections", Accept_Language=header).status == 200


def test_methods_that_are_not_offered_are_405(town: Town) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        answer = town.ask(PLOTS, method)
        assert answer.status == 405
        assert answer.json["status"] == 405


def test_a_browser_gets_a_page_about_the_problem_in_its_language(town: Town) -> None:
    answer = town.ask("/nope", Accept="text/html", Accept_Language="vi")
    assert answer.status == 404
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "Không có địa chỉ này." in answer.text
    assert "There is no such address." in town.ask("/nope?lang=en", Accept="text/html").text


def test_what_is_wrong_is_told_in_the_language_that_is_asked_for(town: Town) -> None:
    told = {
        "vi": "Ở đây không có tham số «limits». Có phải ý bạn là «limit»?",
        "en": "There is no parameter 'limits' here. Did you mean 'limit'?",
    }
    for language, detail in told.items():
        for question, header in ((f"&lang={language}", "fr"), ("", language)):
            answer = town.ask(f"{PLOTS}?limits=3{question}", Accept_Language=header)
            assert (answer.status, answer.headers["Content-Language"]) == (400, language)
            assert answer.headers.get_all("Content-Language") == [language]
            assert answer.json["detail"] == detail
        page = town.ask(f"{PLOTS}?limits=3&lang={language}", Accept="text/html")
        assert page.headers["Content-Language"] == language
        assert detail in unescape(page.text)
    assert town.ask(f"{PLOTS}?limits=3").json["detail"] == told["en"], "a machine that asks for no language"
    assert told["vi"] in unescape(town.ask(f"{PLOTS}?limits=3", Accept="text/html").text)


def test_a_table_that_does_not_fit_its_contract_is_told_without_its_names(town: Town) -> None:
    with engine.connect(town.database) as connection, served(town.database, town.registry) as other:
        other.get("/collections/plots")
        connection.execute("ALTER TABLE testtown.works RENAME COLUMN floors TO secret_floors")
        try:
            answer = other.ask("/collections/works/items")
        finally:
            connection.execute("ALTER TABLE testtown.works RENAME COLUMN secret_floors TO floors")
    assert answer.status == 503
    assert "floors" not in answer.text
    assert answer.json["title"] == "The store is not available"


def test_a_bug_is_a_problem_with_a_number_and_nothing_of_its_text(
    town: Town, capfd: pytest.CaptureFixture[str]
) -> None:
    async def broken(request: Request) -> Response:
        raise RuntimeError("secret of the machine")

    with served(town.database, town.registry, lambda app: app.router.routes.append(Route("/broken", broken))) as other:
        answer = other.ask("/broken")
        page = other.ask("/broken", Accept="text/html")
    assert answer.status == page.status == 500
    assert page.headers["Content-Type"].startswith("text/html")
    assert page.headers["X-Request-Id"] in page.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "secret" not in answer.text + page.text
    number = answer.headers["X-Request-Id"]
    assert number in answer.json["detail"]
    logged = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    bug = next(line for line in logged if line.get("request") == number and line["event"] == "bug")
    assert "secret of the machine" in bug["exception"]


def test_each_request_is_one_line_of_json_in_the_log(town: Town, capfd: pytest.CaptureFixture[str]) -> None:
    with served(town.database, town.registry) as other:
        capfd.readouterr()
        other.get(f"{PLOTS}?limit=3", X_Request_Id="find-me-again")
        other.get("/health")
        assert other.ask("/static/sdi.css").status == 200
        assert other.ask("/static/nothing.css", X_Request_Id="not-there").status == 404
        assert 'route="/static/{path:path}",status="200"' in other.ask("/metrics").text
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    found = [line for line in lines if line["event"] == "request"]
    assert [line["request"] for line in found] == ["find-me-again", "not-there"]
    line = found[0]
    assert (line["method"], line["path"], line["status"]) == ("GET", PLOTS, 200)
    assert (line["collection"], line["rows"]) == ("plots", 3)
    assert line["ms"] > 0


def test_a_cache_keeps_pages_and_languages_apart(town: Town) -> None:
    assert "Accept, Accept-Language, Authorization, X-API-Key" in town.ask("/collections").headers.get_all("Vary", [])


def test_a_service_whose_store_is_away_starts_and_says_so(town: Town) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with served(f"postgresql://nobody@127.0.0.1:{port}/none", town.registry) as other:
        assert other.ask("/health").status == 503
        answer = other.ask("/collections")
        assert answer.status == 503
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert str(port) not in answer.text


def test_a_query_that_takes_too_long_is_told_to_ask_for_less(town: Town) -> None:
    with (
        engine.connect(town.database) as connection,
        served(town.database, town.registry, statement_timeout=0.3) as other,
    ):
        other.get("/collections/plots")
        with connection.transaction():
            connection.execute("LOCK TABLE testtown.plots")
            answer = other.ask(f"{PLOTS}?limit=1")
    assert answer.status == 503
    assert answer.json["title"] == "The request takes too long"


def test_every_answer_has_a_number_that_the_log_has_too(town: Town) -> None:
    assert town.ask("/").headers["X-Request-Id"]
    assert town.ask("/", X_Request_Id="abcdef-123456").headers["X-Request-Id"] == "abcdef-123456"
    assert town.ask("/", X_Request_Id="x" * 500).headers["X-Request-Id"] != "x" * 500
