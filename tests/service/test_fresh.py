"""What a client holds is not sent again: ETag, Last-Modified, 304, and who may keep what."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import format_datetime, parsedate_to_datetime

import pyarrow as pa
import pytest
from fastapi import FastAPI

from sdi.contract.registry import read_registry
from sdi.store import engine, ledger, migrate
from tests.service.conftest import TOWN, Answer, Town, deliver, plots, served

PLOTS = "/collections/plots/items"
DOCUMENTS = (
    "/", "/?f=html", "/conformance", "/openapi", "/collections", "/collections/plots", "/collections/plots?f=html",
    "/collections/plots/schema", "/collections/plots/queryables", "/collections/plots/sortables", "/code-lists/use",
    PLOTS, f"{PLOTS}?f=html", f"{PLOTS}?f=csv", f"{PLOTS}?f=jsonld", f"{PLOTS}/00004.1.1",
    f"{PLOTS}/00004.1.1?f=html", f"{PLOTS}/00004.1.1?f=jsonld", f"{PLOTS}?filter=number%3C5&sortby=-use",
)  # fmt: skip


@dataclass
class Changing:
    """A town of its own, whose plots are delivered again."""

    town: Town
    app: FastAPI

    def deliver(self, **changed: pa.Array) -> None:
        table, shapes = plots()
        for name, column in changed.items():
            table = table.set_column(table.column_names.index(name), name, column)
        deliver(self.town.database, self.town.registry, self.town.registry["plots"], table, shapes, [5897] * 40)

    def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """An answer by a service that has seen the last delivery."""
        with engine.connect(self.town.database) as connection:
            version = ledger.version(connection)
        while self.app.state.service.publications.latest.version != version:
            self.town.ask("/conformance")
        return self.town.ask(path, method, **headers)


@pytest.fixture(scope="module")
def changing(new_database: Callable[[], str]) -> Iterator[Changing]:
    registry = read_registry(TOWN)
    database = new_database()
    with engine.connect(database) as connection:
        migrate.apply(connection, registry)
    apps: list[FastAPI] = []
    with served(database, registry, also=apps.append) as town:
        found = Changing(town, apps[0])
        found.deliver()
        yield found


@pytest.mark.parametrize("path", DOCUMENTS)
def test_who_holds_a_document_is_told_that_it_still_stands(town: Town, path: str) -> None:
    first = town.ask(path)
    tag = first.headers["ETag"]
    assert first.status == 200
    assert tag.startswith('"')
    for held in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        for method in ("GET", "HEAD"):
            again = town.ask(path, method, If_None_Match=held)
            assert (again.status, again.body) == (304, b""), held
            assert again.headers["ETag"] == tag
            assert again.headers["Cache-Control"] == first.headers["Cache-Control"]
            assert again.headers.get_all("Vary") == first.headers.get_all("Vary")
    assert town.ask(path, If_None_Match='"other"').status == 200


TILE = "/collections/plots/tiles/WebMercatorQuad/16/28851/52037"


@pytest.mark.parametrize("path", [*DOCUMENTS, TILE, "/static/sdi.css"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("coding", ["identity", "gzip", "zstd, gzip"])
def test_who_wants_one_answer_alone_gets_no_other(town: Town, path: str, method: str, coding: str) -> None:
    """RFC 9110, 13.1.1: the comparison is strong, and goes before what is said of what the client has."""

    def ask(**conditions: str) -> Answer:
        return town.ask(path, method, Accept_Encoding=coding, **conditions)

    first = ask()
    tag = first.headers["ETag"]
    for wanted in (tag, f'"other", {tag}', "*"):
        answer = ask(If_Match=wanted)
        assert (answer.status, answer.headers["ETag"], answer.body) == (200, tag, first.body), wanted
        assert ask(If_Match=wanted, If_None_Match=tag).status == 304
        assert ask(If_Match=wanted, If_Unmodified_Since="Sat, 01 Jan 2000 00:00:00 GMT").status == 200
    for wanted in ('"other"', f"W/{tag}", '"other", "another"', ""):
        answer = ask(If_Match=wanted)
        assert answer.status == 412, wanted
        assert "ETag" not in answer.headers
        assert answer.headers["Cache-Control"] == "no-store"
        assert ask(If_Match=wanted, If_None_Match=tag).status == 412
    assert ask().body == first.body


def test_a_tag_of_another_coding_is_another_answer(town: Town) -> None:
    packed = town.ask(PLOTS, Accept_Encoding="gzip").headers["ETag"]
    assert packed.endswith('-gzip"')
    assert town.ask(PLOTS, Accept_Encoding="gzip", If_Match=packed).status == 200
    assert town.ask(PLOTS, If_Match=packed).status == 412


def test_a_condition_that_is_not_met_is_said_in_both_languages(town: Town) -> None:
    problem = town.ask(f"{PLOTS}?lang=en", If_Match='"other"')
    assert problem.headers["Content-Type"] == "application/problem+json"
    assert (problem.json["status"], problem.json["title"]) == (412, "Precondition failed")
    assert "điều kiện" in town.ask(f"{PLOTS}?lang=vi", If_Match='"other"').text.lower()


@pytest.mark.parametrize("path", DOCUMENTS)
def test_equal_tags_are_equal_bytes(town: Town, path: str) -> None:
    first, second = town.ask(path), town.ask(path)
    assert first.headers["ETag"] == second.headers["ETag"]
    assert first.body == second.body
    assert town.ask(path, "HEAD").headers["ETag"] == first.headers["ETag"]


def test_each_format_language_crs_and_question_has_its_own_tag(town: Town) -> None:
    questions = ("", "?f=html", "?f=csv", "?f=jsonld", "?lang=en", "?limit=3", "?offset=1", "?sortby=-number",
                 "?crs=http://www.opengis.net/def/crs/EPSG/0/5897", "?bbox=100,20,110,22", "?use=ODT",
                 "?as-of=2090-01-01", "?properties=use", "?skipGeometry=true")  # fmt: skip
    tags = {town.ask(f"{PLOTS}{question}").headers["ETag"] for question in questions}
    assert len(tags) == len(questions)
    spoken = {town.ask(PLOTS, Accept_Language=language).headers["ETag"] for language in ("vi", "en")}
    assert len(spoken) == 2


def test_the_same_file_again_changes_no_tag_and_a_changed_one_does(changing: Changing) -> None:
    held = {path: changing.ask(path).headers["ETag"] for path in (PLOTS, f"{PLOTS}/00004.1.1", f"{PLOTS}?use=ODT")}
    changing.deliver()
    for path, tag in held.items():
        assert changing.ask(path, If_None_Match=tag).status == 304, path
    changing.deliver(height=pa.array([99.5] * 40, pa.float64()))
    for path, tag in held.items():
        answer = changing.ask(path, If_None_Match=tag)
        assert answer.status == 200, path
        assert answer.headers["ETag"] != tag
        assert b"99.5" in answer.body


def test_what_was_changed_since_is_told_by_its_date_too(changing: Changing) -> None:
    changing.deliver(height=pa.array([1.5] * 40, pa.float64()))
    while "Last-Modified" not in (answer := changing.ask(PLOTS)).headers:
        time.sleep(0.05)
    modified = answer.headers["Last-Modified"]
    assert changing.ask(PLOTS, If_Modified_Since=modified).status == 304
    assert changing.ask(PLOTS, If_Modified_Since=modified, If_None_Match='"other"').status == 200
    assert changing.ask(PLOTS, If_Modified_Since="Sat, 01 Jan 2000 00:00:00 GMT").status == 200
    assert changing.ask(PLOTS, If_Modified_Since="yesterday").status == 200
    assert parsedate_to_datetime(modified) <= parsedate_to_datetime(answer.headers["Date"])
    for method in ("GET", "HEAD"):
        assert changing.ask(PLOTS, method, If_Unmodified_Since=modified).status == 200
        assert changing.ask(PLOTS, method, If_Unmodified_Since="yesterday").status == 200
        assert changing.ask(PLOTS, method, If_Unmodified_Since="Sat, 01 Jan 2000 00:00:00 GMT").status == 412
    changing.deliver(height=pa.array([2.5] * 40, pa.float64()))
    assert changing.ask(PLOTS, If_Unmodified_Since=modified).status == 412
    assert changing.ask(PLOTS, If_Unmodified_Since=modified, If_Match=answer.headers["ETag"]).status == 412
    assert changing.ask(PLOTS, If_Unmodified_Since=modified, If_Match="*").status == 200
    assert changing.ask(PLOTS, If_Modified_Since=modified).status == 200


def test_no_last_modified_stands_for_two_loads_of_one_second(changing: Changing) -> None:
    """A date has whole seconds: who was answered in the second of a load must be answered anew after it."""
    for height in (3.5, 4.5, 5.5):
        changing.deliver(height=pa.array([height] * 40, pa.float64()))
        answer = changing.ask(PLOTS)
        since = answer.headers.get("Last-Modified", format_datetime(parsedate_to_datetime(answer.headers["Date"])))
        changing.deliver(height=pa.array([height + 0.25] * 40, pa.float64()))
        assert changing.ask(PLOTS, If_Modified_Since=since).status == 200


def test_what_everybody_sees_may_be_kept_and_faults_are_not(town: Town) -> None:
    assert town.ask(PLOTS).headers["Cache-Control"].startswith("public")
    assert "must-revalidate" in town.ask("/collections").headers["Cache-Control"]
    for path in ("/nowhere", f"{PLOTS}?bbox=1", "/health", "/metrics", f"{PLOTS}/none"):
        answer = town.ask(path)
        assert answer.headers["Cache-Control"] == "no-store", path
        assert "ETag" not in answer.headers


def test_a_condition_on_what_is_not_there_is_not_met(town: Town) -> None:
    for path in ("/collections/none/items", f"{PLOTS}/none", f"{PLOTS}?limit=x"):
        assert town.ask(path, If_None_Match="*").status >= 400, path
        assert town.ask(path, If_Match="*").status in (400, 404), "what is wrong without the condition is told (13.2.1)"
