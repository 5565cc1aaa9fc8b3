"""The service calls nobody but its database, and what opens it to an agency stands in nothing that it writes."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from sdi.store import engine
from sdi.store.sharing import keys
from tests.service.conftest import ROOT, Answer, Town, served_apart
from tests.service.wall.conftest import Canary

AGENCY = "so_thu"


@dataclass
class Watched:
    """The town in a process of its own; what it writes, and what it reached."""

    town: Town
    log: Path
    notes: Path


@pytest.fixture(scope="module")
def watched(town: Town, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("watched")
    log, notes = folder / "log", folder / "notes"
    notes.touch()
    said = {"SDI_TEST_NOTES": str(notes), "SDI_DATA": str(folder / "data"), "SDI_RATE_AGENCY": "1000000",
            "PYTHONPATH": f"{ROOT}{os.pathsep}{Path(__file__).parent}"}  # fmt: skip
    with (
        log.open("wb") as file,
        served_apart(town, factory="confined:application", log=file, **said) as found,
    ):
        yield Watched(found, log, notes)


PLACES = (
    "http://127.0.0.1:{port}/x", "//127.0.0.1:{port}/x", "/vsicurl/http://127.0.0.1:{port}/x.tif",
    "postgresql://127.0.0.1:{port}/x", "file://127.0.0.1:{port}/etc/passwd", "127.0.0.1:{port}",
    "http://user@127.0.0.1:{port}#@evil.example/", "gopher://127.0.0.1:{port}/_x",
)  # fmt: skip
PARAMETERS = {
    "/collections/plots/items": ("crs", "bbox-crs", "filter-crs", "filter", "f", "lang", "profile", "schema", "cursor",
                                 "properties", "sortby", "id", "owner_kind", "q", "callback", "url"),
    "/collections/ground/coverage": ("f", "bbox-crs", "crs", "subset", "properties", "bbox"),
    "/tiles/WebMercatorQuad/0/0/0": ("collections", "f"),
    "/tiles/WebMercatorQuad": ("collections",),
    "/collections/plots/export": ("f", "crs"),
    "/": ("f", "lang", "url", "next"),
    "/agency": ("next", "redirect", "url"),
}  # fmt: skip


def test_nothing_that_is_asked_makes_the_service_call_anybody(watched: Watched, canary: Canary) -> None:
    town = watched.town
    for place in (each.format(port=canary.port) for each in PLACES):
        written = quote(place, safe="")
        for path, names in PARAMETERS.items():
            for name in names:
                given = f"{name}=1,2,3,4&{name}-crs" if name == "bbox" else name
                assert town.ask(f"{path}?{given}={written}").status < 500
        for path in (f"/{written}", f"/collections/{written}", f"/collections/plots/items/{written}",
                     f"/tileMatrixSets/{written}", f"/code-lists/{written}", f"/lots/{written}/dossier"):  # fmt: skip
            assert town.ask(path).status < 500
        headers = {"X_Forwarded_Host": place, "X_Forwarded_For": place, "Forwarded": f"host={place}", "Origin": place,
                   "Referer": place, "X_Original_URL": place, "X_Rewrite_URL": place, "Link": f"<{place}>"}  # fmt: skip
        assert town.ask("/collections", **headers).status == 200
    assert canary.calls == 0
    assert watched.notes.read_text() == ""


def test_each_kind_of_answer_is_made_without_a_call(watched: Watched) -> None:
    town = watched.town
    for path in (
        "/", "/openapi", "/conformance", "/collections", "/collections/plots", "/collections/plots/schema", "/health",
        "/collections/plots/items?f=jsonld", "/collections/plots/items?f=html", "/collections/plots/items?f=csv",
        "/collections/plots/items?f=jsonfg", "/collections/plots/items?f=parquet", "/collections/plots/items/00004.1.1",
        "/collections/plots/items/00004.1.1?f=jsonld", "/lots/00004.1.1/dossier?f=html", "/collections/ground/coverage",
        "/collections/ground/coverage?f=GTiff&bbox=105,20,106,22", "/tiles/WebMercatorQuad?f=tilejson",
        "/collections/plots/items?crs=http://www.opengis.net/def/crs/EPSG/0/5897", "/code-lists/use", "/metrics",
    ):  # fmt: skip
        assert town.ask(path).status == 200, path
    assert watched.notes.read_text() == ""


def test_the_watch_sees_a_call(watched: Watched, canary: Canary) -> None:
    """Else the tests above would prove nothing."""
    assert watched.town.ask(f"/outward?port={canary.port}").status == 200
    assert "socket.connect" in watched.notes.read_text()
    assert canary.calls == 1
    watched.notes.write_text("")
    canary.calls = 0


# --- secrets ------------------------------------------------------------------------------------------------------

WRONG = "wrong-key-that-somebody-mistyped-0123456789"
PATHS = ("/", "/collections", "/collections/plots/items?limit=1", "/collections/plots/items?filter=number%3E1&limit=1",
         "/collections/plots/items/nope", "/nope", "/agency", "/collections/plots/items?limit=x", "/metrics",
         "/collections/plots/tiles/WebMercatorQuad/0/0/0", "/health", "/openapi")  # fmt: skip


def test_a_key_stands_in_no_log_no_problem_and_no_metric(watched: Watched) -> None:
    town = watched.town
    with engine.connect(town.database) as connection:
        key = keys.make_key(connection, AGENCY)
    answers: list[Answer] = []
    for shown in (key, WRONG):
        basic = base64.b64encode(f"{AGENCY}:{shown}".encode()).decode()
        for path in PATHS:
            for headers in ({"Authorization": f"Bearer {shown}"}, {"Authorization": f"Basic {basic}"},
                            {"X_API_Key": shown}, {"Authorization": f"Digest {shown}"}):  # fmt: skip
                answers.append(town.ask(path, **headers))
                answers.append(town.ask(path, Accept="text/html", **headers))
            # What came in the address may stand in a page's links to itself, and nowhere else.
            asked = town.ask(f"{path}{'&' if '?' in path else '?'}key={shown}")
            if asked.status >= 400:
                answers.append(asked)
    assert {answer.status for answer in answers} >= {200, 401}
    answers.append(town.ask("/metrics"))
    texts = {"log": watched.log.read_bytes(), "database": statements(town)}
    assert b'"event": "wrong key"' in texts["log"]
    for number, answer in enumerate(answers):
        texts[f"answer {number}"] = answer.body + str(answer.headers).encode()
    secrets = [key, WRONG, base64.b64encode(f"{AGENCY}:{key}".encode()).decode(),
               base64.b64encode(f"{AGENCY}:{WRONG}".encode()).decode()]  # fmt: skip
    found = [(place, secret) for place, text in texts.items() for secret in secrets if secret.encode() in text]
    assert found == []


def statements(town: Town) -> bytes:
    """What the database was last told by each connection."""
    with psycopg.connect(town.database, autocommit=True) as connection:
        rows = connection.execute("SELECT query FROM pg_stat_activity WHERE datname = current_database()").fetchall()
    return "\n".join(row[0] for row in rows).encode()


@pytest.mark.parametrize("header", ["X_Request_Id", "User_Agent", "Authorization", "X_Forwarded_For"])
def test_nobody_writes_a_line_of_the_log(watched: Watched, header: str) -> None:
    """A line ends where the service ends it: what a client sends stands within JSON, or not at all."""
    before = watched.log.read_bytes().count(b"\n")
    forged = '"}%0d%0a{"event":"forged","level":"info"}'
    statuses = [
        watched.town.ask(f"/collections/{forged}").status,
        watched.town.ask(f"/nope%0a%0d%1b%5b31m{forged}").status,
        watched.town.ask("/nope", **{header: '"}\\n{"event": "forged"}\t\x7f\x85'}).status,
    ]
    assert set(statuses) <= {400, 401, 404}
    lines = watched.log.read_bytes().split(b"\n")
    assert len(lines) - 1 - before <= 4
    assert not any(line.startswith(b'{"event":"forged"') or line.startswith(b'{"event": "forged"') for line in lines)
    assert b"\x1b" not in b"".join(lines)
