"""The indexes that queries need, held against those that the database has and may use."""

from __future__ import annotations

from sdi.contract.registry import Registry
from sdi.store import tables
from sdi.store.check import Found
from sdi.store.engine import Connection

CURE = "Run 'sdi db migrate'; an index that was broken while it was made: REINDEX INDEX."


def missing(connection: Connection, registry: Registry) -> list[str]:
    """`schema.index` of every index of the contracts' tables that is not there or cannot be used, primary keys too.

    A table that is not there at all has not been migrated: nothing is served from it. Any role may ask.
    """
    # By their names alone: as `definitions` it would take SQLAlchemy, which nothing else in a worker does.
    asked = [(layer, table, names) for layer in registry
             for table, names in tables.index_names(layer, registry).items()]  # fmt: skip
    wanted = {(layer.theme, table): names for layer, table, names in asked}
    needs_key = {(layer.theme, table) for layer, table, _ in asked if table != f"{layer.id}__past"}
    query = """
        SELECT n.nspname, t.relname, i.relname, x.indisprimary, x.indisvalid AND x.indisready
        FROM pg_class t JOIN pg_namespace n ON n.oid = t.relnamespace
        LEFT JOIN pg_index x ON x.indrelid = t.oid LEFT JOIN pg_class i ON i.oid = x.indexrelid
        WHERE t.relkind = 'r' AND n.nspname = ANY (%s)"""
    usable: dict[tuple[str, str], set[str]] = {}
    keyed: set[tuple[str, str]] = set()
    for schema, table, index, primary, works in connection.execute(query, [sorted({key[0] for key in wanted})]):
        found = usable.setdefault((schema, table), set())
        if index is not None and works:
            found.add(index)
            if primary:
                keyed.add((schema, table))
    absent = [f"{schema}.{name}" for (schema, table), names in wanted.items() if (schema, table) in usable
              for name in sorted(names - usable[schema, table])]  # fmt: skip
    return absent + [f"{schema}.{table} (primary key)" for schema, table in sorted(needs_key & usable.keys() - keyed)]


def examine(connection: Connection, registry: Registry) -> Found:
    """The same as one examination of `sdi doctor`."""
    absent = missing(connection, registry)
    if not absent:
        return Found("indexes", "ok", "all that the queries need")
    named = ", ".join(absent[:5]) + ("…" if len(absent) > 5 else "")
    return Found("indexes", "warning", f"{len(absent)} are missing or broken: {named}", CURE)
