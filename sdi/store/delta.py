"""Rows that should be, against rows that are: only the difference is written.

A row's hash is over its content, attribute by attribute by name and without the empty ones, so that neither the order
of the columns nor a column that a later contract adds makes an old row look changed. What is replaced moves to the
layer's past. The boxes of the old and new shapes of what changed are left in the temporary table `sdi_changed`, from
which derived layers find what they have to make anew; it ends with the transaction. A table that was empty before is
entered there as one row without id, and row by row only when somebody asks (`each_changed`).
"""

from __future__ import annotations

from collections.abc import Mapping

from psycopg import sql

from sdi.contract.layer import Attribute, Layer
from sdi.store import ledger, tables
from sdi.store.engine import Connection
from sdi.store.ledger import Counts

STAGED = sql.Identifier("sdi_staged")
"""The temporary table of the rows that should be."""
CHANGED = sql.Identifier("sdi_changed")
"""Temporary: layer, id, box (EPSG:4326; NULL without geometry), load_id; a row for each old and each new shape.

Without id: the whole layer. A coverage has no features, and the box is its own; of features it is NULL, and stands for
all rows that the layer has (`each_changed`).
"""
NEXT = sql.Identifier("sdi_next")
"""Temporary: id, row_hash (and what else the caller needs) of every row that should be."""

UNHASHED = sql.SQL("''::bytea")
"""The row_hash of a derived row that was made with all the others of its layer: few of them are ever compared, and then
it can be made of the row itself."""

_NOWHERE = sql.SQL("NULL")
_MOST = 0.3
"""Share of a layer's rows from which on reading them all costs less than looking each up."""

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


def first_of(connection: Connection, layer: Layer, load_id: int) -> tuple[sql.Composed, sql.Composed]:
    """Head and tail of a statement that fills an empty table from a query of the layer's content, put between them."""
    names, made = tables.content(layer), values(layer)
    has_past = exists(connection, tables.past(layer))
    head = sql.SQL("INSERT INTO {} ({}, row_hash, load_id) SELECT {}, {}, {} FROM (").format(
        tables.now(layer),
        sql.SQL(", ").join(map(sql.Identifier, names)),
        sql.SQL(", ").join(made[name] for name in names),
        row_hash(layer, made) if has_past else UNHASHED,
        sql.Literal(load_id),
    )
    return head, sql.SQL("{} AS s").format(sql.SQL(")"))


def is_empty(connection: Connection, layer: Layer) -> bool:
    return not exists(connection, tables.now(layer))


def exists(connection: Connection, table: sql.Composable) -> bool:
    """Whether a table has a row."""
    row = connection.execute(sql.SQL("SELECT EXISTS (SELECT FROM {})").format(table)).fetchone()
    return bool(row and row[0])


def write_first(connection: Connection, layer: Layer, load_id: int, values: Values) -> Counts:
    """Fill an empty table from STAGED; nothing to compare."""
    inserted = insert(connection, layer, load_id, values)
    note_all(connection, layer, load_id)
    return Counts(inserted=inserted)


def write(connection: Connection, layer: Layer, load_id: int, values: Values, *, gone: sql.Composable | None) -> Counts:
    """Bring a layer to STAGED: insert what is new, replace what differs, end what is absent.

    gone: as `compare` takes it.
    """
    counts = compare(connection, layer, make_next(connection, layer, values), gone=gone)
    if counts.written:
        apply(connection, layer, load_id, values)
    connection.execute(sql.SQL("DROP TABLE {}, sdi_delta").format(NEXT))
    return counts


def make_next(connection: Connection, layer: Layer, values: Values) -> int:
    """Make NEXT of STAGED; return its count of rows."""
    return connection.execute(
        sql.SQL("CREATE TEMPORARY TABLE {} ON COMMIT DROP AS SELECT {} AS id, {} AS row_hash FROM {} s").format(
            NEXT, values["id"], _hash_of(layer, values), STAGED
        )
    ).rowcount


def compare(
    connection: Connection, layer: Layer, delivered: int, *, gone: sql.Composable | None,
    place: sql.Composable = _NOWHERE,
) -> Counts:  # fmt: skip
    """Hold NEXT against a layer; leave the difference in the temporary table `sdi_delta` (id, was, stays, place).

    delivered: the rows that NEXT has. gone: SQL condition over alias `o`, the layer's rows, that says which of those
    absent from NEXT have ended; None: none. Everything it does not cover stays. place: a column of NEXT.
    """
    if gone is not None and delivered >= _MOST * ledger.count(connection, layer):
        _compare_all(connection, layer, gone, place)
    else:
        _compare_some(connection, layer, gone, place)
    connection.execute("CREATE UNIQUE INDEX ON sdi_delta (id); ANALYZE sdi_delta")
    return _counts(connection, delivered)


def _compare_all(connection: Connection, layer: Layer, gone: sql.Composable, place: sql.Composable) -> None:
    """By reading both once: no index of either is needed."""
    connection.execute("SET LOCAL work_mem = '128MB'")
    connection.execute(
        sql.SQL(
            "CREATE TEMPORARY TABLE sdi_delta ON COMMIT DROP AS SELECT coalesce(n.id, o.id) AS id,"
            " o.id IS NOT NULL AS was, n.id IS NOT NULL AS stays, {} AS place FROM {} n FULL JOIN {} o ON o.id = n.id"
            " WHERE {} IS DISTINCT FROM n.row_hash AND (n.id IS NOT NULL OR ({}))"
        ).format(place, NEXT, tables.now(layer), _standing_hash(layer), gone)
    )


def _compare_some(connection: Connection, layer: Layer, gone: sql.Composable | None, place: sql.Composable) -> None:
    """By looking up in the layer what NEXT has."""
    index_next(connection)
    connection.execute(
        sql.SQL(
            "CREATE TEMPORARY TABLE sdi_delta ON COMMIT DROP AS"
            " SELECT n.id, o.id IS NOT NULL AS was, true AS stays, {} AS place FROM {} n LEFT JOIN {} o ON o.id = n.id"
            " WHERE {} IS DISTINCT FROM n.row_hash"
        ).format(place, NEXT, tables.now(layer), _standing_hash(layer))
    )
    if gone is not None:
        connection.execute(
            sql.SQL(
                "INSERT INTO sdi_delta SELECT o.id, true, false FROM {} o"
                " WHERE ({}) AND NOT EXISTS (SELECT FROM {} n WHERE n.id = o.id)"
            ).format(tables.now(layer), gone, NEXT)
        )


def index_next(connection: Connection) -> None:
    """Let rows of NEXT be found by id."""
    connection.execute(sql.SQL("CREATE UNIQUE INDEX IF NOT EXISTS sdi_next_id ON {0} (id); ANALYZE {0}").format(NEXT))


def apply(connection: Connection, layer: Layer, load_id: int, values: Values | None) -> None:
    """Write what `compare` found; of STAGED only the rows that are new or differ are read.

    values: None where nothing is staged, for there are only ends.
    """
    _note(connection, layer, load_id, sql.SQL("JOIN sdi_delta d ON d.id = o.id AND d.was"))
    _retire(connection, layer, load_id)
    if values is not None:
        chosen = sql.SQL("JOIN sdi_delta d ON d.id = {} AND d.stays").format(values["id"])
        insert(connection, layer, load_id, values, chosen)
        _note(connection, layer, load_id, sql.SQL("JOIN sdi_delta d ON d.id = o.id AND d.stays"))


def note_all(connection: Connection, layer: Layer, load_id: int) -> None:
    """Enter a table that was empty into `sdi_changed`, in one row."""
    connection.execute("INSERT INTO sdi_changed VALUES (%s, NULL, NULL, %s)", [layer.id, load_id])


def is_noted_whole(connection: Connection, layer: Layer) -> bool:
    """Whether all that a layer has is new."""
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM sdi_changed WHERE layer = %s AND id IS NULL AND box IS NULL)", [layer.id]
    ).fetchone()
    return bool(row and row[0])


def each_changed(connection: Connection, layer: Layer) -> None:
    """Replace a layer's entry of `note_all` by one for each of its rows."""
    noted = connection.execute(
        "DELETE FROM sdi_changed WHERE layer = %s AND id IS NULL AND box IS NULL RETURNING load_id", [layer.id]
    ).fetchone()
    if noted is not None:
        _note(connection, layer, noted[0], sql.SQL(""))


def row_hash(layer: Layer, values: Values) -> sql.Composable:
    """SQL of a row's hash: 16 bytes of SHA-256 over `name=value` of what is not NULL, and the shape in its own grid."""
    texts: list[sql.Composable] = [
        sql.SQL("{} || {}").format(sql.Literal(f"{attribute.name}="), text_of(attribute, values[attribute.name]))
        for attribute in sorted(layer.stored, key=lambda attribute: attribute.name)
    ]  # fmt: skip
    if layer.kind == "derived":
        texts.append(sql.SQL("'subject_id=' || {}").format(values["subject_id"]))
    # concat_ws() is the faster of the two and takes 100 arguments.
    joined = "concat_ws(chr(31), {})" if len(texts) < 99 else "array_to_string(ARRAY[{}]::text[], chr(31))"
    return sql.SQL(
        f"substr(sha256(convert_to({joined}, 'UTF8') || coalesce(ST_AsEWKB({{}}, 'NDR'), ''::bytea)), 1, 16)"
    ).format(sql.SQL(", ").join(texts or [sql.SQL("NULL")]), values["geom"])


def _hash_of(layer: Layer, values: Values) -> sql.Composable:
    """The hash that is staged already, else its making."""
    return values["row_hash"] if "row_hash" in values else row_hash(layer, values)


def text_of(attribute: Attribute, value: sql.Composable) -> sql.Composable:
    """SQL of the text that a value is in the content hash."""
    if attribute.type in ("text", "code"):
        return value
    if attribute.type == "decimal":
        return sql.SQL("trim_scale({})::text").format(value)  # 1.50 and 1.5 are one number
    return sql.SQL("({})::text").format(value)


def _standing_hash(layer: Layer) -> sql.Composable:
    """SQL of the hash of the layer's row, alias `o`."""
    standing = sql.SQL("o.row_hash")
    if layer.kind != "derived":
        return standing
    made = row_hash(layer, {name: sql.Identifier("o", name) for name in tables.content(layer)})
    return sql.SQL("CASE WHEN o.row_hash = {} AND o.id IS NOT NULL THEN {} ELSE o.row_hash END").format(UNHASHED, made)


def _counts(connection: Connection, delivered: int) -> Counts:
    row = connection.execute(
        "SELECT count(*) FILTER (WHERE stays AND NOT was), count(*) FILTER (WHERE stays AND was),"
        " count(*) FILTER (WHERE was AND NOT stays) FROM sdi_delta"
    ).fetchone()
    assert row is not None
    inserted, updated, deleted = row
    return Counts(inserted, updated, deleted, unchanged=delivered - inserted - updated)


def insert(
    connection: Connection,
    layer: Layer,
    load_id: int,
    values: Values,
    which: sql.Composable | None = None,
) -> int:
    """Insert the rows of STAGED, or those that `which` joins to it; return the count."""
    names = [name for name in tables.columns(layer) if name in values and name != "row_hash"]
    statement = sql.SQL("INSERT INTO {} ({}, row_hash, load_id) SELECT {}, {}, {} FROM {} s {}").format(
        tables.now(layer),
        sql.SQL(", ").join(map(sql.Identifier, names)),
        sql.SQL(", ").join(values[name] for name in names),
        _hash_of(layer, values),
        sql.Literal(load_id),
        STAGED,
        which or sql.SQL(""),
    )
    return connection.execute(statement).rowcount


def _retire(connection: Connection, layer: Layer, load_id: int) -> None:
    """Move what is replaced or ended to the layer's past."""
    columns: dict[str, sql.Composable] = {name: sql.Identifier("o", name) for name in tables.columns(layer)}
    columns["row_hash"] = _standing_hash(layer)
    connection.execute(
        sql.SQL(
            "WITH gone AS (DELETE FROM {} o USING sdi_delta d WHERE d.id = o.id AND d.was RETURNING o.*)"
            " INSERT INTO {} ({}, load_to) SELECT {}, {} FROM gone o"
        ).format(
            tables.now(layer), tables.past(layer), sql.SQL(", ").join(map(sql.Identifier, columns)),
            sql.SQL(", ").join(columns.values()), sql.Literal(load_id),
        )
    )  # fmt: skip


def _note(connection: Connection, layer: Layer, load_id: int, which: sql.Composable) -> None:
    """Enter the boxes of rows into `sdi_changed`. A box, so that a column of one type takes any shape."""
    connection.execute(
        sql.SQL(
            "INSERT INTO sdi_changed SELECT {}, o.id, ST_MakeEnvelope(ST_XMin(o.geom_wgs84), ST_YMin(o.geom_wgs84),"
            " ST_XMax(o.geom_wgs84), ST_YMax(o.geom_wgs84), 4326), {} FROM {} o {}"
        ).format(sql.Literal(layer.id), sql.Literal(load_id), tables.now(layer), which)
    )
