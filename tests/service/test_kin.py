"""Parents and children of a served feature: links that answer, ended ones as they were last, withheld ones never."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pytest
import shapely

from sdi.access import Grant
from sdi.contract.registry import read_registry
from sdi.store import engine, migrate
from sdi.store.sharing import agencies, grants, keys
from tests.service.conftest import CORNER, SIZE, TOWN, Town, deliver, plots, served

SPLIT, WEST_HALF, EAST_HALF, DEFENCE, SHIFTED = "00004.1.1", "00004.1.1a", "00004.1.1b", "00004.1.7", "00004.9.7"
"""00004.1.7 is defence land, which the public does not see; 00004.9.7 takes its place and is none."""
WHOLE, OPEN_PART, DEFENCE_PART = "00004.3.1", "00004.3.1a", "00004.3.1b"


@pytest.fixture(scope="module")
def related(new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    folder = tmp_path_factory.mktemp("contracts")
    for path in TOWN.rglob("*.*"):
        target = folder / path.relative_to(TOWN)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    contract = folder / "plots.yaml"
    contract.write_text(contract.read_text(encoding="utf-8") + "\ngenealogy: {share: 5}\n", encoding="utf-8")
    registry, database = read_registry(folder), new_database()
    with engine.connect(database) as connection:
        migrate.apply(connection, registry)
    table, shapes = plots()
    deliver(database, registry, registry["plots"], table, shapes, [5897] * len(shapes))
    for rows, places in again(*divided(table, shapes)):
        deliver(database, registry, registry["plots"], rows, places, [5897] * len(places))
    with served(database, registry) as town:
        yield town


@pytest.fixture(scope="module")
def closed(related: Town, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """The same, but the plots are for agencies, as their grants say."""
    folder = tmp_path_factory.mktemp("closed")
    shutil.copytree(related.registry.folder, folder, dirs_exist_ok=True)
    contract = folder / "plots.yaml"
    told = contract.read_text(encoding="utf-8")
    contract.write_text(told.replace("  level: open\n", "  level: agency\n"), encoding="utf-8")
    with served(related.database, read_registry(folder)) as town:
        yield town


def again(table: pa.Table, shapes: list[Any]) -> Iterator[tuple[pa.Table, list[Any]]]:
    """The same; with another hidden note of a plot; with this plot in two parts, one of them defence land."""
    yield table, shapes
    rows = table.to_pylist()
    number = next(number for number, row in enumerate(rows) if row["id"] == WHOLE)
    rows[number] |= {"hidden_note": "mật hơn"}
    yield pa.Table.from_pylist(rows, table.schema), shapes
    whole = rows.pop(number)
    west, south, east, north = shapes[number].bounds
    middle = (west + east) / 2
    rows += [whole | {"id": OPEN_PART, "key": OPEN_PART, "use": "ODT"},
             whole | {"id": DEFENCE_PART, "key": DEFENCE_PART, "use": "CQP"}]  # fmt: skip
    parts = [shapely.box(west, south, middle, north), shapely.box(middle, south, east, north)]
    left = [shape for each, shape in enumerate(shapes) if each != number]
    yield pa.Table.from_pylist(rows, table.schema), left + [shapely.MultiPolygon([part]) for part in parts]


def divided(table: pa.Table, shapes: list[Any]) -> tuple[pa.Table, list[Any]]:
    """The first plot in two halves, and one in the place of the defence land."""
    rows = {row["id"]: row for row in table.to_pylist()}
    ground = dict(zip(rows, shapes, strict=True))
    whole, (x, y) = rows.pop(SPLIT), CORNER
    ground.pop(SPLIT)
    for name, west in ((WEST_HALF, x), (EAST_HALF, x + SIZE / 2)):
        rows[name] = whole | {"id": name, "key": name}
        ground[name] = shapely.MultiPolygon([shapely.box(west, y, west + SIZE / 2, y + SIZE)])
    rows[SHIFTED] = rows.pop(DEFENCE) | {"id": SHIFTED, "key": SHIFTED, "use": "ODT"}
    ground[SHIFTED] = ground.pop(DEFENCE)
    return pa.Table.from_pylist(list(rows.values()), table.schema), list(ground.values())


def answer(town: Town, href: str) -> Any:
    parts = urlsplit(href)
    return town.get(f"{parts.path}?{parts.query + '&' if parts.query else ''}f=json")


def test_a_half_names_its_parent_whose_last_state_answers(related: Town) -> None:
    item = related.get(f"/collections/plots/items/{WEST_HALF}?f=json")
    assert item["children"] == []
    [parent] = item["parents"]
    assert (parent["id"], parent["kind"], parent["toldBy"]) == (SPLIT, "split", "geometry")
    assert (parent["shareOfParent"], parent["shareOfChild"]) == (pytest.approx(50), pytest.approx(100))
    assert related.ask(f"/collections/plots/items/{SPLIT}?f=json").status == 404
    was = answer(related, parent["href"])
    assert (was["id"], was["asOf"]) == (SPLIT, parent["asOf"])


def test_the_ended_parent_names_its_children_and_did_not_before_it_was_divided(related: Town) -> None:
    [parent] = related.get(f"/collections/plots/items/{WEST_HALF}?f=json")["parents"]
    assert answer(related, parent["href"])["children"] == []  # as of a day on which it was whole
    later = f"/collections/plots/items/{EAST_HALF}?f=json&as-of=2999-01-01"
    assert [each["id"] for each in related.get(later)["parents"]] == [SPLIT]


def test_a_withheld_parent_is_not_named(related: Town) -> None:
    with engine.connect(related.database) as connection:
        known = connection.execute("SELECT parent FROM sdi.genealogy WHERE child = %s", [SHIFTED]).fetchall()
    assert known == [(DEFENCE,)]
    assert related.get(f"/collections/plots/items/{SHIFTED}?f=json")["parents"] == []
    assert DEFENCE not in related.ask(f"/collections/plots/items/{SHIFTED}?f=html").text


def test_the_dossier_and_the_pages_name_them(related: Town) -> None:
    document = related.get(f"/lots/{WEST_HALF}/dossier?f=json")
    assert [each["id"] for each in document["parents"]] == [SPLIT]
    for path in (f"/collections/plots/items/{WEST_HALF}", f"/lots/{WEST_HALF}/dossier"):
        page = related.ask(f"{path}?f=html&lang=vi").text
        assert "Hình thành từ" in page
        assert f"{SPLIT}?as-of=" in page


def test_a_collection_whose_contract_has_no_genealogy_says_nothing_of_it(town: Town) -> None:
    item = town.get(f"/collections/plots/items/{SPLIT}?f=json")
    assert not {"parents", "children"} & item.keys()


def test_a_hidden_sibling_is_not_told_by_the_kind(related: Town) -> None:
    [parent] = related.get(f"/collections/plots/items/{OPEN_PART}?f=json")["parents"]
    assert parent["id"] == WHOLE
    assert "kind" not in parent
    assert related.ask(f"/collections/plots/items/{OPEN_PART}?f=html").status == 200
    everything = given("sees_all", classes=frozenset({"open", "agency", "restricted"}))
    key = keyed(related, everything)
    [told] = related.get(f"/collections/plots/items/{OPEN_PART}?f=json", X_API_Key=key)["parents"]
    assert told["kind"] == "split"


def test_the_last_state_of_a_parent_is_not_dated_by_a_load_of_what_is_hidden(related: Town) -> None:
    """A hidden note was its last change: it is asked for as of just before it ended."""
    with engine.connect(related.database) as connection:
        row = connection.execute(
            "SELECT l.finished_at FROM sdi.genealogy g JOIN sdi.load l ON l.load_id = g.origin WHERE g.child = %s",
            [OPEN_PART],
        ).fetchone()
    assert row is not None
    [parent] = related.get(f"/collections/plots/items/{OPEN_PART}?f=json")["parents"]
    assert datetime.fromisoformat(parent["asOf"]) == row[0] - timedelta(microseconds=1)
    assert answer(related, parent["href"])["id"] == WHOLE


def test_shares_of_ground_are_told_where_both_places_are_told_exactly(closed: Town) -> None:
    grid = {"precision": "generalised", "metres": 500.0}
    exact_west = f"key IN ('{SPLIT}', '{WEST_HALF}')"
    key = keyed(closed, given("exact_in_the_west", rows=exact_west), given("exact_in_the_west", **grid))
    west, east = (closed.get(f"/collections/plots/items/{name}?f=json", X_API_Key=key)["parents"][0]
                  for name in (WEST_HALF, EAST_HALF))  # fmt: skip
    assert (west["id"], west["kind"], west["shareOfParent"]) == (SPLIT, "split", pytest.approx(50))
    assert (east["id"], east["kind"]) == (SPLIT, "split")
    assert not {"sharedArea", "shareOfParent", "shareOfChild"} & east.keys()
    for precision in ("none", "centroid"):
        nowhere = keyed(closed, given(f"told_{precision}", precision=precision))
        [parent] = closed.get(f"/collections/plots/items/{WEST_HALF}?f=json", X_API_Key=nowhere)["parents"]
        assert not {"sharedArea", "shareOfParent", "shareOfChild"} & parent.keys()


def given(agency: str, **more: Any) -> Grant:
    return Grant(0, agency, "plots", legal_basis="NĐ 194/2025/NĐ-CP", purpose="test", **more)


def keyed(town: Town, *of_one: Grant) -> str:
    with engine.connect(town.database, engine.OWNER) as owner:
        agencies.add(owner, of_one[0].agency, "ward", "Phường thử", "Test ward")
        for grant in of_one:
            grants.give(owner, town.registry["plots"], grant)
        return keys.make_key(owner, of_one[0].agency)
