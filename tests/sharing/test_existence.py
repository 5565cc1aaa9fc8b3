"""A feature that is hidden and one that never was are looked for in the same way, told by statements and pages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg import sql

from sdi.access import PUBLIC, Agency, Grant
from sdi.contract.query import FeatureQuery
from sdi.service.rights import seen
from sdi.store import engine, features, wire
from tests.sharing.city import City


@contextmanager
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The statements that the service sends for features, as they are sent."""
    statements: list[str] = []
    for kind in (psycopg.AsyncRawCursor, psycopg.AsyncCursor):
        real = kind.execute

        async def execute(self: Any, query: Any, *values: Any, _real: Any = real, **more: Any) -> Any:
            statements.append(query.decode() if isinstance(query, bytes) else str(query))
            return await _real(self, query, *values, **more)

        monkeypatch.setattr(kind, "execute", execute)
    real_rows = wire.rows

    async def rows(connection: Any, text: bytes, *values: Any, **more: Any) -> Any:
        statements.append(text.decode())
        return await real_rows(connection, text, *values, **more)

    monkeypatch.setattr(wire, "rows", rows)
    yield statements
    monkeypatch.undo()


@pytest.mark.parametrize("format_", ["json", "html", "jsonfg", "jsonld"])
def test_the_service_asks_the_same_of_what_is_hidden_and_of_what_never_was(
    city: City, monkeypatch: pytest.MonkeyPatch, format_: str
) -> None:
    hidden = next(name for name, row in city.rows["plots"].items() if row["use"] == "CQP")
    asked = {}
    with sent(monkeypatch) as statements:
        for path in ("/collections/plots/items/{}", "/collections/cards/items/{}", "/lots/{}/dossier"):
            for name in (hidden, "P999"):
                statements.clear()
                if path.startswith("/lots") and format_ not in ("json", "html"):
                    continue
                answer = city.town.ask(f"{path.format(name)}?f={format_}")
                assert answer.status == 404
                asked[path, name] = [each for each in statements if "sharingtown" in each]
            assert asked.get((path, hidden)) == asked.get((path, "P999")), path
    assert all(len(each) == 1 for each in asked.values()), asked


@pytest.mark.parametrize(("layer", "more"), [("plots", 1), ("cards", 1), ("cards of an agency", 4)])
def test_the_store_reads_as_many_pages_for_both(city: City, layer: str, more: int) -> None:
    """Besides the page that the hidden row itself stands on and, where the subject decides, those that lead to it."""
    given = Grant(1, "a", "cards", frozenset({"open", "agency", "restricted"}))
    agency = Agency("a", grants=(given,)) if layer.endswith("agency") else PUBLIC
    of = city.town.registry[layer.split()[0]]
    hidden = next(name for name, row in city.rows["plots"].items() if row["use"] == "CQP")
    shown = seen(agency, of)
    plans = {}
    with engine.connect(city.town.database) as owner:
        # A row that was replaced while the city was built is a page more until somebody has cleared it away.
        owner.execute("VACUUM sharingtown.plots, sharingtown.cards")
    with engine.connect(city.town.database, engine.STEWARD) as reader:
        reader.execute("SET enable_seqscan = off")
        for name in ("P999", hidden, "P999", hidden):
            query = FeatureQuery(
                of.id, shown.attributes, ids=(name,), filters=shown.filters, sight=shown.sight, limit=1
            )
            statement = features.select_geojson(of, query)
            explain = sql.SQL("EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) ") + statement.sql
            ((found,),) = reader.execute(explain, statement.params).fetchall()
            plans[name] = (found if isinstance(found, list) else json.loads(found))[0]["Plan"]
    assert plans[hidden]["Actual Rows"] == plans["P999"]["Actual Rows"] == 0
    assert _shape(plans[hidden]) == _shape(plans["P999"])
    assert 0 <= _pages(plans[hidden]) - _pages(plans["P999"]) <= more


def _shape(plan: dict[str, Any]) -> Any:
    return plan["Node Type"], [_shape(each) for each in plan.get("Plans", ())]


def _pages(plan: dict[str, Any]) -> int:
    return int(plan["Shared Hit Blocks"]) + int(plan["Shared Read Blocks"])
