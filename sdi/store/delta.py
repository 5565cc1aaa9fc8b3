"""Rows that should be, against rows that are: only the difference is written.

A row's hash is over its content, attribute by attribute by name and without the empty ones, so that neither the order
of the columns nor a column that a later contract adds makes an old row look changed. What is replaced moves to the
layer's past. The boxes of the old and new shapes of what changed are left in the temporary table `sdi_changed`, from
which derived layers find what they have to make anew; it ends with the transaction.
"""

from __future__ import annotations

from collections.abc import Mapping

from psycopg import sql

from sdi.contract.layer import Attribute, Layer
from sdi.store import tables
from sdi.store.engine import Connection
from sdi.store.ledger import Counts

STAGED = sql.Identifier("sdi_staged")
"""The temporary table of the rows that should be."""
CHANGED = sql.Identifier("sdi_changed")
"""Temporary: layer, id, box (EPSG:4326; NULL without geometry), load_id; a row for each old and each new shape."""

Values = Mapping[str, sql.Composable]
"""Column -> its expression over alias `s` of STAGED, in the column's own type."""


def prepare(connection: Connection) -> None:
    """Fix how values become text within this transaction, and make `sdi_changed`."""
    connection.execute(
        "SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO, YMD'; SET LOCAL extra_float_digits = 1;"
        " SET LOCAL client_min_messages = warning;"
        " CREATE TEMPORARY TABLE IF NOT EXISTS sdi_changed"
        " (layer text NOT NULL, id text, box geometry(Polygon, 4326), load_id bigint) ON COMMIT DROP"
    )


def values(layer: Layer) -> Values:
    """The expressions for staged columns that have the names and types of the layer's."""
    return {name: sql.SQL("s.{}").format(sql.Identifier(name)) for name in tables.content(layer)}


def is_empty(connection: Connection, layer: Layer) -> bool:
    row = connection.execute(sql.SQL("SELECT NOT EXISTS (SELECT FROM {})").format(tables.now(layer))).fetchone()
    return bool(row and row[0])


def write_first(connection: Connection, layer: Layer, load_id: int, values: Values) -> Counts:
    """Fill an empty table from STAGED; nothing to compare."""
    inserted = _insert(connection, layer, load_id, values, sql.SQL(""))
    _note(connection, layer, load_id, sql.SQL(""))
    return Counts(inserted=inserted)


def write(connection: Connection, layer: Layer, load_id: int, values: Values, *, gone: sql.Composable | None) -> Counts:
    """Bring a layer to STAGED: insert what is new, replace what differs, end what is absent.

    gone: SQL condition over alias `o`, the layer's rows, that says which of those absent from STAGED have ended; None:
    none. Everything it does not cover stays.
    """
    connection.execute(
        sql.SQL(
            "CREATE TEMPORARY TABLE sdi_next ON COMMIT DROP AS SELECT {} AS id, {} AS row_hash FROM {} s;"
            " CREATE UNIQUE INDEX ON sdi_next (id); ANALYZE sdi_next;"
            " CREATE TEMPORARY TABLE sdi_delta ON COMMIT DROP AS"
            " SELECT n.id, o.id IS NOT NULL AS was, true AS stays FROM sdi_next n LEFT JOIN {} o USING (id)"
            " WHERE o.row_hash IS DISTINCT FROM n.row_hash"
        ).format(values["id"], row_hash(layer, values), STAGED, tables.now(layer))
    )
    if gone is not None:
        connection.execute(
            sql.SQL(
                "INSERT INTO sdi_delta SELECT o.id, true, false FROM {} o"
                " WHERE ({}) AND NOT EXISTS (SELECT FROM sdi_next n WHERE n.id = o.id)"
            ).format(tables.now(layer), gone)
        )
    connection.execute("CREATE UNIQUE INDEX ON sdi_delta (id); ANALYZE sdi_delta")
    counts = _counts(connection)
    if counts.written:
        _note(connection, layer, load_id, sql.SQL("JOIN sdi_delta d ON d.id = o.id AND d.was"))
        _retire(connection, layer, load_id)
        _insert(
            connection,
            layer,
            load_id,
            values,
            sql.SQL("JOIN sdi_delta d ON d.id = {} AND d.stays").format(values["id"]),
        )
        _note(connection, layer, load_id, sql.SQL("JOIN sdi_delta d ON d.id = o.id AND d.stays"))
    connection.execute("DROP TABLE sdi_next, sdi_delta")
    return counts


def row_hash(layer: Layer, values: Values) -> sql.Composable:
    """SQL of a row's hash: 16 bytes of SHA-256 over `name=value` of what is not NULL, and the shape in its own grid."""
    texts = [
        sql.SQL("{} || {}").format(sql.Literal(f"{attribute.name}="), _text(attribute, values[attribute.name]))
        for attribute in sorted(layer.stored, key=lambda attribute: attribute.name)
    ]  # fmt: skip
    if layer.kind == "derived":
        texts.append(sql.SQL("'subject_id=' || {}").format(values["subject_id"]))
    return sql.SQL(
        "substr(sha256(convert_to(array_to_string(ARRAY[{}]::text[], chr(31)), 'UTF8')"
        " || coalesce(ST_AsEWKB({}, 'NDR'), ''::bytea)), 1, 16)"
    ).format(sql.SQL(", ").join(texts), values["geom"])


def _text(attribute: Attribute, value: sql.Composable) -> sql.Composable:
    if attribute.type in ("text", "code"):
        return value
    if attribute.type == "decimal":
        return sql.SQL("trim_scale({})::text").format(value)  # 1.50 and 1.5 are one number
    return sql.SQL("({})::text").format(value)


def _counts(connection: Connection) -> Counts:
    row = connection.execute(
        "SELECT count(*) FILTER (WHERE stays AND NOT was), count(*) FILTER (WHERE stays AND was),"
        " count(*) FILTER (WHERE was AND NOT stays), (SELECT count(*) FROM sdi_next) FROM sdi_delta"
    ).fetchone()
    assert row is not None
    inserted, updated, deleted, delivered = row
    return Counts(inserted, updated, deleted, unchanged=delivered - inserted - updated)


def _insert(connection: Connection, layer: Layer, load_id: int, values: Values, which: sql.Composable) -> int:
    names = [name for name in tables.columns(layer) if name in values]
    statement = sql.SQL("INSERT INTO {} ({}, row_hash, load_id) SELECT {}, {}, {} FROM {} s {}").format(
        tables.now(layer),
        sql.SQL(", ").join(map(sql.Identifier, names)),
        sql.SQL(", ").join(values[name] for name in names),
        row_hash(layer, values),
        sql.Literal(load_id),
        STAGED,
        which,
    )
    return connection.execute(statement).rowcount


def _retire(connection: Connection, layer: Layer, load_id: int) -> None:
    """Move what is replaced or ended to the layer's past."""
    names = sql.SQL(", ").join(map(sql.Identifier, tables.columns(layer)))
    connection.execute(
        sql.SQL(
            "WITH gone AS (DELETE FROM {} o USING sdi_delta d WHERE d.id = o.id AND d.was RETURNING o.*)"
            " INSERT INTO {} ({}, load_to) SELECT {}, {} FROM gone"
        ).format(tables.now(layer), tables.past(layer), names, names, sql.Literal(load_id))
    )


def _note(connection: Connection, layer: Layer, load_id: int, which: sql.Composable) -> None:
    """Enter the boxes of rows into `sdi_changed`. A box, so that a column of one type takes any shape."""
    connection.execute(
        sql.SQL(
            "INSERT INTO sdi_changed SELECT {}, o.id, ST_MakeEnvelope(ST_XMin(o.geom_wgs84), ST_YMin(o.geom_wgs84),"
            " ST_XMax(o.geom_wgs84), ST_YMax(o.geom_wgs84), 4326), {} FROM {} o {}"
        ).format(sql.Literal(layer.id), sql.Literal(load_id), tables.now(layer), which)
    )
