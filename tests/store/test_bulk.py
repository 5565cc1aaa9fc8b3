"""A large first load builds its indexes behind its rows, and nothing of that is seen afterwards."""

from __future__ import annotations

import psycopg
import pyarrow as pa
import pytest

from sdi.contract.report import Report
from sdi.errors import StoreError
from sdi.store import bulk, engine, loader, sending
from tests.store.town import Town, delivery, features, plot


@pytest.fixture(autouse=True)
def _few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "_WORTH", 30)


def indexes(town: Town) -> list[str]:
    query = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'town' ORDER BY indexname"
    keys = "SELECT conname || pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'p' ORDER BY 1"
    return [row[0] for row in town.rows(query) + town.rows(keys)]


def load(town: Town, rows: pa.Table) -> loader.Load:
    layer = town.registry["plots"]
    with engine.connect(town.url, engine.LOADER) as connection, connection.transaction():
        report = Report("plots", "1.0.0", rows.num_rows, rows.num_rows)
        return loader.load(connection, layer, town.registry, rows, None, delivery(layer), report)


def files(town: Town) -> dict[str, int]:
    """The file of the table and of each index: another one when it was made again."""
    query = "SELECT indexrelid::regclass::text, pg_relation_filenode(indexrelid) FROM pg_index"
    rows = town.rows(query + " WHERE indrelid = 'town.plots'::regclass")
    return {"plots": town.one("SELECT pg_relation_filenode('town.plots')"), **dict(rows)}


def test_a_large_first_load_leaves_the_same_indexes_and_table_made_anew(town: Town) -> None:
    before, old = indexes(town), files(town)
    assert load(town, features(town.registry["plots"], [plot(n) for n in range(40)])).inserted == 40
    assert indexes(town) == before
    assert all(old[name] != file for name, file in files(town).items())
    assert town.one("SELECT count(*) FROM sdi.unindexed") == 0


def test_whoever_reads_the_empty_table_is_not_waited_for(town: Town) -> None:
    old = files(town)
    with engine.connect(town.url, engine.READER) as other, other.transaction():
        assert other.execute("SELECT count(id) FROM town.plots").fetchone() == (0,)
        assert load(town, features(town.registry["plots"], [plot(n) for n in range(40)])).inserted == 40
    assert files(town) == old


def test_a_first_load_that_fails_leaves_the_table_and_its_indexes(town: Town) -> None:
    before, old = indexes(town), files(town)
    twice = [plot(n % 39) for n in range(40)]
    with pytest.raises(StoreError):
        load(town, features(town.registry["plots"], twice))
    assert (indexes(town), files(town)) == (before, old)
    assert town.ids("plots") == set()


def test_a_layer_that_is_served_keeps_its_indexes_during_a_load(town: Town) -> None:
    town.load("plots", [plot(n) for n in range(5)])
    town.connection.execute("DELETE FROM town.plots")
    old = files(town)
    assert load(town, features(town.registry["plots"], [plot(n) for n in range(40)])).inserted == 40
    assert files(town) == old


def test_no_transaction_commits_a_layer_without_its_indexes(town: Town) -> None:
    before = indexes(town)
    with (
        engine.connect(town.url, engine.LOADER) as connection,
        pytest.raises(psycopg.errors.IntegrityConstraintViolation),
        connection.transaction(),
    ):
        assert connection.execute("SELECT sdi.unindex('town.plots')").fetchone() == (True,)
    assert indexes(town) == before


def test_the_loader_may_take_indexes_only_off_empty_layers(town: Town) -> None:
    town.load("plots", [plot(1)])
    before = indexes(town)
    with engine.connect(town.url, engine.LOADER) as connection:
        assert connection.execute("SELECT sdi.unindex('town.plots')").fetchone() == (False,)
        for table in ("sdi.load", "sdi.finding", "town.plots__past"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("SELECT sdi.unindex(%s::text::regclass)", [table])
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("INSERT INTO sdi.unindexed VALUES ('town.plots', 1, 'SELECT 1')")
    assert indexes(town) == before


def test_only_indexes_that_stay_nearly_empty_stay_while_rows_come(town: Town) -> None:
    held = "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 'town.plots'::regclass"
    with town.connection.transaction(force_rollback=True):
        assert town.one("SELECT sdi.unindex('town.plots', '{use, area, nothing}')") is True
        assert sorted(name for (name,) in town.rows(held)) == [
            "town.plots__code__without__ix", "town.plots__use__known__ix",
        ]  # fmt: skip


@pytest.mark.parametrize("chunk", [3, 20, 40])
def test_what_only_later_features_have_comes_with_them(town: Town, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    """Their columns are not sent before, and an index that was left for empty holds them."""
    monkeypatch.setattr(sending, "CHUNK", chunk)
    rows = [plot(n, use="ODT" if n > 30 else None, remark="cuối" if n == 39 else None) for n in range(40)]
    assert load(town, features(town.registry["plots"], rows)).inserted == 40
    told = [(row[0], row[1]) for row in town.rows("SELECT use, remark FROM town.plots ORDER BY source_row")]
    assert told == [(row["use"], row["remark"]) for row in rows]
    with town.connection.transaction():
        town.connection.execute("SET LOCAL enable_seqscan = off")
        plan = town.one("EXPLAIN (ANALYZE, FORMAT JSON) SELECT id FROM town.plots WHERE use = 'ODT'")[0]["Plan"]
    assert "plots__use__known__ix" in str(plan)
    assert plan["Actual Rows"] == 9


def test_a_large_first_load_writes_pages_that_are_visible_to_everybody(town: Town) -> None:
    load(town, features(town.registry["plots"], [plot(n) for n in range(40)]))
    with town.connection.transaction():
        town.connection.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
        plan = town.one("EXPLAIN (ANALYZE, FORMAT JSON) SELECT id FROM town.plots WHERE id > ''")[0]["Plan"]
    assert (plan["Node Type"], plan["Actual Rows"], plan["Heap Fetches"]) == ("Index Only Scan", 40, 0)


def test_the_hash_that_comes_with_a_feature_is_the_one_that_is_stored_and_compared(town: Town) -> None:
    layer = town.registry["plots"]
    rows = features(layer, [plot(n) for n in range(40)])
    told = rows.append_column("row_hash", pa.array([bytes([n]) * 16 for n in range(40)], pa.binary(16)))
    assert load(town, told).inserted == 40
    assert town.rows("SELECT row_hash FROM town.plots ORDER BY source_row") == [(bytes([n]) * 16,) for n in range(40)]
    again = load(town, told)
    assert (again.written, again.unchanged) == (0, 40)
    assert load(town, rows).updated == 40
