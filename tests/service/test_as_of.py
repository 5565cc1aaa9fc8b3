"""A layer as it was known at an instant: items, item, counts, links and pages, and what stays withheld."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg
import pyarrow as pa
import pytest
import shapely

from sdi.contract.registry import read_registry
from sdi.store import engine, ledger, migrate
from tests.service.conftest import CORNER, SIZE, TOWN, Town, deliver, plots, served, works

MOVED, DEFENCE, ENDED, RENAMED, NEW, FREED = (
    "00004.1.1", "00004.1.2", "00004.1.3", "00004.1.5", "00004.9.9", "00004.1.7",
)  # fmt: skip
"""00004.1.7 was defence land before and is none now."""


@dataclass
class Past:
    """A served town with two states, and the instants of their loads."""

    town: Town
    first: str
    second: str

    def ids(self, query: str = "", collection: str = "plots") -> set[str]:
        found = self.town.get(f"/collections/{collection}/items?f=json&limit=30{query}")
        more = self.town.get(f"/collections/{collection}/items?f=json&limit=30&offset=30{query}")
        ids = [feature["id"] for each in (found, more) for feature in each["features"]]
        assert len(ids) == len(set(ids)) == found["numberMatched"]
        return set(ids)


@pytest.fixture(scope="module")
def past(new_database: Callable[[], str]) -> Iterator[Past]:
    registry = read_registry(TOWN)
    database = new_database()
    with engine.connect(database) as connection:
        migrate.apply(connection, registry)
    table, shapes = works()
    deliver(database, registry, registry["works"], table, shapes, [5897] * 4 + [3405])
    table, shapes = plots()
    deliver(database, registry, registry["plots"], table, shapes, [5897] * len(shapes))
    deliver(database, registry, registry["plots"], *changed(table, shapes), [5897] * len(shapes))
    table, shapes = works()
    deliver(database, registry, registry["works"], table.slice(1), shapes[1:], [5897] * 3 + [3405])
    with engine.connect(database) as connection:
        second, first = [entry.finished_at for entry in ledger.history(connection, "plots")]
    assert first is not None
    assert second is not None
    with served(database, registry) as town:
        yield Past(town, *(moment.isoformat().replace("+00:00", "Z") for moment in (first, second)))


def changed(table: pa.Table, shapes: list[Any]) -> tuple[pa.Table, list[Any]]:
    """The plots a year later."""
    rows, shapes = table.to_pylist(), list(shapes)
    at = {row["id"]: index for index, row in enumerate(rows)}
    shapes[at[MOVED]] = shapely.affinity.translate(shapes[at[MOVED]], 0, 500)
    rows[at[DEFENCE]]["use"] = "CQP"
    rows[at[RENAMED]] |= {"number": 77, "valid_from": datetime(2026, 1, 1, tzinfo=UTC).date()}
    rows[at[FREED]]["use"] = "ODT"
    rows[at[ENDED]] |= {"id": NEW, "key": NEW}
    return pa.Table.from_pylist(rows, table.schema), shapes


def test_a_state_of_the_past_comes_back(past: Past) -> None:
    before, after = past.ids(f"&as-of={past.first}"), past.ids(f"&as-of={past.second}")
    assert ENDED in before
    assert NEW not in before
    assert NEW in after
    assert ENDED not in after
    was = past.town.get(f"/collections/plots/items/{RENAMED}?f=json&as-of={past.first}")
    now = past.town.get(f"/collections/plots/items/{RENAMED}?f=json")
    assert (was["properties"]["number"], now["properties"]["number"]) == (5, 77)
    assert was["asOf"] == past.first
    assert "asOf" not in now


def test_the_state_of_now_is_what_is_answered_without_an_instant(past: Past) -> None:
    now = past.town.get("/collections/plots/items?f=json&limit=30")
    then = past.town.get(f"/collections/plots/items?f=json&limit=30&as-of={past.second}")
    later = past.town.get("/collections/plots/items?f=json&limit=30&as-of=2999-01-01")
    assert now["features"] == then["features"] == later["features"]
    assert now["numberMatched"] == then["numberMatched"] == later["numberMatched"]


def test_a_place_and_a_filter_are_those_of_the_state(past: Past) -> None:
    far = f"{shapely.box(*box_of(past, MOVED, past.second)).bounds}".strip("()").replace(" ", "")
    assert MOVED in past.ids(f"&bbox={far}&as-of={past.second}")
    assert MOVED not in past.ids(f"&bbox={far}&as-of={past.first}")
    assert past.ids(f"&number=77&as-of={past.first}") == set()
    assert past.ids(f"&number=77&as-of={past.second}") == {RENAMED}
    assert past.ids(f"&filter=number%3D77&as-of={past.first}") == set()
    assert past.ids(f"&sortby=-number&number=5&as-of={past.first}") == {RENAMED}


def box_of(past: Past, feature: str, instant: str) -> tuple[float, float, float, float]:
    found = past.town.get(f"/collections/plots/items/{feature}?f=json&as-of={instant}")
    return shapely.geometry.shape(found["geometry"]).bounds


def test_valid_time_and_record_time_are_asked_apart(past: Past) -> None:
    """Plot 5 holds since 2024 by the first delivery, since 2026 by the second."""
    assert RENAMED in past.ids(f"&datetime=2025-06-30&as-of={past.first}")
    assert RENAMED not in past.ids(f"&datetime=2025-06-30&as-of={past.second}")


def test_what_is_withheld_now_is_withheld_in_all_its_past(past: Past) -> None:
    """It was housing land when the first delivery came, and everybody saw it; now it is defence land."""
    for query in (f"&as-of={past.first}", f"&as-of={past.second}", ""):
        assert DEFENCE not in past.ids(query)
    for query in (f"?as-of={past.first}", "?f=json"):
        assert past.town.ask(f"/collections/plots/items/{DEFENCE}{query}").status == 404
    assert past.town.get(f"/collections/plots/items?f=json&id={DEFENCE}&as-of={past.first}")["numberMatched"] == 0


def test_what_was_withheld_then_stays_withheld_as_of_then(past: Past) -> None:
    assert FREED in past.ids(f"&as-of={past.second}")
    assert FREED not in past.ids(f"&as-of={past.first}")


def test_what_ended_while_it_was_withheld_stays_withheld(past: Past, new_database: Callable[[], str]) -> None:
    registry, database = read_registry(TOWN), new_database()
    with engine.connect(database) as connection:
        migrate.apply(connection, registry)
    table, shapes = plots()
    deliver(database, registry, registry["plots"], table, shapes, [5897] * len(shapes))
    second, shapes = changed(table, shapes)
    deliver(database, registry, registry["plots"], second, shapes, [5897] * len(shapes))
    rows = [index for index, name in enumerate(second["id"].to_pylist()) if name not in (DEFENCE, MOVED)]
    kept = [shapes[index] for index in rows]
    deliver(database, registry, registry["plots"], second.take(rows), kept, [5897] * len(kept))
    with engine.connect(database) as connection:
        first = ledger.history(connection, "plots")[-1].finished_at
    assert first is not None
    with served(database, registry) as town:
        ids = Past(town, "", "").ids(f"&as-of={first.isoformat().replace('+00:00', 'Z')}")
    assert MOVED in ids
    assert DEFENCE not in ids


def test_restricted_columns_of_the_past_are_closed_to_the_service(past: Past) -> None:
    with psycopg.connect(past.town.database, autocommit=True) as connection:
        connection.execute("SET ROLE sdi_reader")
        for column in ("row_hash", "source_row"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"SELECT {column} FROM testtown.plots__past".encode())
        assert connection.execute("SELECT id, hidden_note, load_to FROM testtown.plots__past").fetchone()
    shown = past.town.get(f"/collections/plots/items?f=json&as-of={past.first}")["features"][0]["properties"]
    assert "hidden_note" not in shown
    for name in ("hidden_note", "load_to", "load_id"):
        assert past.town.ask(f"/collections/plots/items?{name}=x&as-of={past.first}").status == 400


def test_before_the_first_load_there_was_nothing(past: Past) -> None:
    early = (datetime.fromisoformat(past.first) - timedelta(microseconds=1)).isoformat().replace("+00:00", "Z")
    for instant in ("2001-01-01", early):
        found = past.town.get(f"/collections/plots/items?f=json&as-of={instant}")
        assert (found["numberMatched"], found["features"]) == (0, [])
        answer = past.town.ask(f"/collections/plots/items/{RENAMED}?f=json&as-of={instant}")
        assert answer.status == 404
        assert instant[:10] in answer.json["detail"]


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "2026-01-01/2026-02-01", "", "12", "2026-02-30T00:00:00Z"])
def test_what_is_no_instant_is_refused(past: Past, text: str) -> None:
    for path in ("/collections/plots/items", f"/collections/plots/items/{RENAMED}"):
        assert past.town.ask(f"{path}?as-of={text}").status == 400


def test_an_instant_without_a_collection_of_features_is_refused(past: Past) -> None:
    assert past.town.ask(f"/collections/plots?as-of={past.first}").status == 400


def test_a_date_is_the_end_of_its_day_in_viet_nam(past: Past) -> None:
    moment = datetime.fromisoformat(past.first) + timedelta(hours=7)
    day_before = (moment - timedelta(days=1)).date()
    assert past.ids(f"&as-of={day_before}") == set()
    assert past.ids(f"&as-of={moment.date()}")
    found = past.town.get("/collections/plots/items?f=json&as-of=2026-01-31")
    assert found["asOf"] == "2026-01-31T16:59:59.999999Z"


def test_pages_stay_in_the_past(past: Past) -> None:
    """Following `next` to its end gives every feature of that state once."""
    path = f"/collections/plots/items?f=json&limit=7&as-of={past.first}"
    seen: list[str] = []
    while path:
        page = past.town.get(path)
        seen += [feature["id"] for feature in page["features"]]
        links = {link["rel"]: link["href"] for link in page["links"]}
        for rel in ("self", "alternate"):
            assert parse_qs(urlsplit(links[rel]).query)["as-of"] == [past.first]
        path = links["next"].removeprefix(past.town.url) if "next" in links else ""
    assert len(seen) == len(set(seen)) == page["numberMatched"]
    assert set(seen) > {ENDED, RENAMED}


def test_the_derived_layer_is_of_the_same_instant(past: Past) -> None:
    """The base and what is made of it have one instant: no moment shows one without the other."""
    before = past.town.get(f"/collections/plot_card/items/{ENDED}?f=json&as-of={past.first}")
    assert before["properties"]["map_area"] == SIZE * SIZE
    assert past.town.ask(f"/collections/plot_card/items/{ENDED}?f=json&as-of={past.second}").status == 404
    assert past.town.ask(f"/collections/plot_card/items/{NEW}?f=json&as-of={past.second}").status == 200
    now = past.town.get(f"/collections/plot_card/items/{RENAMED}?f=json")
    assert now["properties"] == before["properties"] | {"work_count": 0, "works": []}
    # A works delivery later changed cards; the cards of before are those of before.
    first = past.town.get(f"/collections/plot_card/items/{MOVED}?f=json&as-of={past.first}")
    assert [work["id"] for work in first["properties"]["works"]] == ["01/GPXD"]
    assert past.town.get(f"/collections/plot_card/items/{MOVED}?f=json")["properties"]["works"] == []


def test_other_formats_and_grids_are_of_the_same_state(past: Past) -> None:
    answer = past.town.ask(f"/collections/plots/items?f=csv&limit=5&as-of={past.first}")
    rows = list(csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff"))))
    assert {row["id"]: row["number"] for row in rows}[RENAMED] == "5"
    crs = "http://www.opengis.net/def/crs/EPSG/0/5897"
    found = past.town.get(f"/collections/plots/items/{MOVED}?f=json&crs={crs}&as-of={past.first}")
    assert shapely.geometry.shape(found["geometry"]).bounds[:2] == pytest.approx(CORNER, abs=1e-3)
    linked = past.town.get(f"/collections/plots/items/{RENAMED}?f=jsonld&as-of={past.first}")
    assert linked["number"] == 5


def test_pages_for_people_say_as_of_when(past: Past) -> None:
    for path in ("/collections/plots/items", f"/collections/plots/items/{RENAMED}"):
        page = past.town.ask(f"{path}?f=html&lang=vi&as-of=2999-01-31").text
        assert "Theo sổ dữ liệu lúc 23:59 31/01/2999" in page
        assert "Xem hiện trạng" in page
        assert 'name="as-of"' in past.town.ask(f"{path}?f=html&lang=en").text
    page = past.town.ask(f"/collections/plots/items?f=html&as-of={past.first}").text
    assert f'/items/{RENAMED}?as-of={past.first}"' in page


def test_the_api_document_offers_record_time(past: Past) -> None:
    document = past.town.get("/openapi?f=json")
    assert "Record time" in document["components"]["parameters"]["as-of"]["description"]
    for path in ("/collections/plots/items", "/collections/plots/items/{featureId}"):
        names = [each.get("$ref", "") for each in document["paths"][path]["get"]["parameters"]]
        assert "#/components/parameters/as-of" in names
