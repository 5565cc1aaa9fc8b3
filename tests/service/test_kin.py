"""Parents and children of a served feature: links that answer, ended ones as they were last, withheld ones never."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pytest
import shapely

from sdi.contract.registry import read_registry
from sdi.store import engine, migrate
from tests.service.conftest import CORNER, SIZE, TOWN, Town, deliver, plots, served

SPLIT, WEST_HALF, EAST_HALF, DEFENCE, SHIFTED = "00004.1.1", "00004.1.1a", "00004.1.1b", "00004.1.7", "00004.9.7"
"""00004.1.7 is defence land, which the public does not see; 00004.9.7 takes its place and is none."""


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
    deliver(database, registry, registry["plots"], *divided(table, shapes), [5897] * (len(shapes) + 1))
    with served(database, registry) as town:
        yield town


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
