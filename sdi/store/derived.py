"""Layers made from layers, kept in step with each load: only the subjects that a change touches are made anew.

A derived layer's SQL is one SELECT over the temporary table `subject(id, geom, geom_wgs84)`. Which subjects a change
touches, its contract says: the changed ones themselves; those whose box meets the box of an old or new shape of an
input (`place`, widened by `reach`); those whose attribute equals an old or new value of an input (`key`). Derived
layers are made in order, each leaving its own changes to the next. All of it happens in the load's transaction.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from time import perf_counter

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from sdi.contract.layer import Derived, Input, Layer
from sdi.contract.registry import Registry
from sdi.errors import ContractError, Fault
from sdi.store import delta, engine, ledger, tables
from sdi.store.delta import STAGED
from sdi.store.engine import Connection
from sdi.store.ledger import Counts
from sdi.store.loader import Load

_METRES_PER_DEGREE = 110_574.0
"""Of latitude at the equator, where a degree is shortest: dividing by it never falls short."""
_SEARCHED = 1_000
"""Changed features whose subjects are searched for in any case."""


def refresh(
    connection: Connection, registry: Registry, cause: int | None = None, *, rebuild: bool = False
) -> list[Load]:
    """Bring the derived layers to what `sdi_changed` says, in the caller's transaction; return what each one wrote.

    cause: the load that changed something. rebuild: make every subject of every derived layer anew; this happens to one
    layer by itself when it was never made, or its SQL, columns or code lists changed since. Raises ContractError naming
    file and line when a layer's SQL fails.
    """
    if connection.info.transaction_status != TransactionStatus.INTRANS:
        raise RuntimeError("refresh() runs inside the caller's transaction")
    with engine.translated():
        ledger.take_turn(connection)
        delta.prepare(connection)
        connection.execute("ANALYZE sdi_changed")
        loads = [_refresh(connection, layer, registry, cause, rebuild) for layer in registry.derived_in_order()]
    return [load for load in loads if load is not None]


def verify(connection: Connection, registry: Registry) -> None:
    """Have PostgreSQL plan every derived layer's SQL. Raises ContractError with all faults."""
    faults: list[Fault] = []
    for layer in registry.derived_in_order():
        try:
            with connection.transaction(force_rollback=True):
                _make_subject(connection)
                _run(connection, sql.SQL("EXPLAIN "), layer, registry)
        except ContractError as error:
            faults += error.faults
    if faults:
        raise ContractError(faults)


def fingerprint(layer: Layer, registry: Registry) -> str:
    """SHA-256 of what decides a derived layer's rows: SQL, inputs, columns, code lists it reads; not its titles."""
    assert layer.derived is not None
    text = registry.sql(layer)
    read = [codes for name, codes in sorted(registry.code_lists.items()) if f"'{name}'" in text]
    content = [text, layer.derived.model_dump(mode="json"), [(a.name, a.type) for a in layer.stored], read]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def _refresh(connection: Connection, layer: Layer, registry: Registry, cause: int | None, rebuild: bool) -> Load | None:
    begun = perf_counter()
    assert layer.derived is not None
    subject = registry[layer.derived.subject]
    mark = fingerprint(layer, registry)
    empty = delta.is_empty(connection, layer)
    whole = rebuild or _built(connection, layer) != mark or _is_upheaval(connection, layer.derived, subject)
    _make_subject(connection)
    _gather(connection, layer, registry, whole)
    if not whole and _is_idle(connection, layer):
        connection.execute("DROP TABLE subject, sdi_gone")
        return None
    load_id = ledger.start(connection, layer, None, cause=cause)
    connection.execute("CREATE INDEX ON subject USING gist (geom_wgs84); ANALYZE subject")
    _run(connection, sql.SQL("CREATE TEMPORARY TABLE {} ON COMMIT DROP AS ").format(STAGED), layer, registry)
    counts = _write(connection, layer, load_id, whole=whole, empty=empty)
    connection.execute("DROP TABLE subject, sdi_gone, sdi_staged")
    ledger.finish(connection, load_id, counts)
    connection.execute("UPDATE sdi.contract SET built_sha256 = %s WHERE layer = %s", [mark, layer.id])
    if counts.written > 0:
        connection.execute("SELECT sdi.analyse(%s::regclass)", [tables.now(layer).as_string(connection)])
    if counts.written > 0 or not delta.is_empty(connection, subject):
        ledger.renew(connection, layer, load_id, changed=counts.written > 0)
    return Load(
        load_id, layer.id, counts.inserted, counts.updated, counts.deleted, counts.unchanged, 0, 0,
        perf_counter() - begun,
    )  # fmt: skip


def _write(connection: Connection, layer: Layer, load_id: int, *, whole: bool, empty: bool) -> Counts:
    if empty:
        return delta.write_first(connection, layer, load_id, delta.values(layer))
    made_anew = "o.subject_id IN (SELECT id FROM subject UNION ALL SELECT id FROM sdi_gone)"
    gone = sql.SQL("true" if whole else made_anew)
    return delta.write(connection, layer, load_id, delta.values(layer), gone=gone)


# --- which subjects -----------------------------------------------------------------------------------------------


def _built(connection: Connection, layer: Layer) -> str | None:
    row = connection.execute("SELECT built_sha256 FROM sdi.contract WHERE layer = %s", [layer.id]).fetchone()
    return row[0] if row else None


def _is_upheaval(connection: Connection, made: Derived, subject: Layer) -> bool:
    """Whether so much changed that making all anew is less work than searching for what it touches."""
    layers = [subject.id, *(source.layer for source in made.inputs)]
    row = connection.execute(
        "SELECT count(DISTINCT (layer, id)) FROM sdi_changed WHERE layer = ANY (%s) AND id IS NOT NULL", [layers]
    ).fetchone()
    changes = row[0] if row else 0
    if changes < _SEARCHED:
        return False
    row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(tables.now(subject))).fetchone()
    return row is not None and 2 * changes >= row[0]


def _make_subject(connection: Connection) -> None:
    connection.execute(
        "CREATE TEMPORARY TABLE subject (id text PRIMARY KEY, geom geometry, geom_wgs84 geometry) ON COMMIT DROP;"
        " CREATE TEMPORARY TABLE sdi_gone (id text PRIMARY KEY) ON COMMIT DROP"
    )


def _is_idle(connection: Connection, layer: Layer) -> bool:
    row = connection.execute(
        sql.SQL(
            "SELECT NOT EXISTS (SELECT FROM subject)"
            " AND NOT EXISTS (SELECT FROM sdi_gone g JOIN {} o ON o.subject_id = g.id)"
        ).format(tables.now(layer))
    ).fetchone()
    return bool(row and row[0])


def _gather(connection: Connection, layer: Layer, registry: Registry, whole: bool) -> None:
    """Fill `subject` with what is to be made anew and `sdi_gone` with the subjects that are no more."""
    assert layer.derived is not None
    subject = registry[layer.derived.subject]
    fill = "INSERT INTO subject SELECT s.id, s.geom, s.geom_wgs84 FROM {} s"
    if whole:
        connection.execute(sql.SQL(fill).format(tables.now(subject)))
        return
    connection.execute(
        sql.SQL(
            "INSERT INTO sdi_gone SELECT DISTINCT c.id FROM sdi_changed c WHERE c.layer = {} AND c.id IS NOT NULL"
            " AND NOT EXISTS (SELECT FROM {} s WHERE s.id = c.id)"
        ).format(sql.Literal(subject.id), tables.now(subject))
    )
    touched = sql.SQL(" UNION ").join(_touched(layer.derived, registry))
    connection.execute(sql.SQL(fill + " WHERE s.id IN ({})").format(tables.now(subject), touched))


def _touched(made: Derived, registry: Registry) -> Iterator[sql.Composable]:
    """Queries of subject ids, one for each way a change reaches a subject."""
    subject = registry[made.subject]
    yield sql.SQL("SELECT c.id FROM sdi_changed c WHERE c.layer = {}").format(sql.Literal(subject.id))
    for source in made.inputs:
        layer = registry[source.layer]
        if _answers_by_feature(layer, subject):
            # Its statistics are rows of the subject: exactly those whose figures changed.
            yield sql.SQL("SELECT c.id FROM sdi_changed c WHERE c.layer = {}").format(sql.Literal(layer.id))
            continue
        if "place" in source.by:
            yield _by_place(source, subject, layer)
        if "key" in source.by:
            yield from _by_key(source, subject, layer)


def _answers_by_feature(layer: Layer, subject: Layer) -> bool:
    return layer.coverage is not None and any(s.layer == subject.id for s in layer.coverage.statistics)


def _by_place(source: Input, subject: Layer, layer: Layer) -> sql.Composable:
    """A box is widened in degrees, at the latitude where a metre is most of them. What is NULL meets nothing."""
    lacking = sql.SQL("AND c.id IS NOT NULL") if layer.coverage and layer.coverage.statistics else sql.SQL("")
    box: sql.Composable = sql.SQL("c.box")
    if source.reach > 0:
        up = sql.Literal(source.reach / _METRES_PER_DEGREE)
        latitude = sql.SQL("least(89, greatest(abs(ST_YMin(c.box)), abs(ST_YMax(c.box))) + {})").format(up)
        box = sql.SQL("ST_Expand(c.box, {0} / cos(radians({1})), {0})").format(up, latitude)
    return sql.SQL("SELECT s.id FROM sdi_changed c JOIN {} s ON s.geom_wgs84 && {} WHERE c.layer = {} {}").format(
        tables.now(subject), box, sql.Literal(layer.id), lacking
    )


def _by_key(source: Input, subject: Layer, layer: Layer) -> Iterator[sql.Composable]:
    """By the values an input has now, and by those it had, which stand in its past, ended by the present load."""
    same = sql.SQL(" AND ").join(_matches(layer, mine, subject, theirs) for mine, theirs in source.key.items())
    query = "SELECT s.id FROM sdi_changed c JOIN {} i ON i.id = c.id{} JOIN {} s ON {} WHERE c.layer = {}"
    for table, version in ((tables.now(layer), ""), (tables.past(layer), " AND i.load_to = c.load_id")):
        yield sql.SQL(query).format(table, sql.SQL(version), tables.now(subject), same, sql.Literal(layer.id))


def _matches(layer: Layer, mine: str, subject: Layer, theirs: str) -> sql.Composable:
    """A list matches by the field `id` of its items."""
    here, there = sql.Identifier("i", mine), sql.Identifier("s", theirs)
    if layer[mine].type == "list":
        return sql.SQL("{} = ANY (ARRAY(SELECT e ->> 'id' FROM jsonb_array_elements({}) e))").format(there, here)
    if subject[theirs].type == "list":
        return sql.SQL("{} @> jsonb_build_array(jsonb_build_object('id', {}))").format(there, here)
    if tables.same_type(layer[mine], subject[theirs]):
        return sql.SQL("{} = {}").format(there, here)
    return sql.SQL("{}::text = {}::text").format(there, here)


# --- making them --------------------------------------------------------------------------------------------------


def _select(layer: Layer, registry: Registry) -> sql.Composed:
    """The layer's SQL, its columns by name and brought to the contract's types; single shapes become multi."""
    assert layer.geometry is not None
    types = tables.types(layer)
    multi = layer.geometry.type.startswith("Multi")
    columns = []
    for name in tables.content(layer):
        promoted = "ST_Multi(made.{0})" if multi and name in ("geom", "geom_wgs84") else "made.{0}"
        columns.append(sql.SQL(promoted + "::{1} AS {0}").format(sql.Identifier(name), sql.SQL(types[name])))
    return sql.SQL("SELECT {} FROM (\n{}\n) AS made").format(
        sql.SQL(", ").join(columns), sql.SQL(_body(layer, registry))
    )


def _body(layer: Layer, registry: Registry) -> str:
    return registry.sql(layer).rstrip().removesuffix(";")


def _run(connection: Connection, before: sql.Composable, layer: Layer, registry: Registry) -> None:
    """Run a layer's SQL behind some words of ours. Raises ContractError naming file and line when the SQL is wrong."""
    statement = (before + _select(layer, registry)).as_string(connection)
    try:
        connection.execute(statement.encode())
    except psycopg.OperationalError:
        raise  # the connection, a timeout or the disk: not the layer's fault
    except psycopg.Error as error:
        raise ContractError([_fault(layer, statement, _body(layer, registry), error)]) from error


def _fault(layer: Layer, statement: str, body: str, error: psycopg.Error) -> Fault:
    """Where in the layer's file PostgreSQL stopped. Its words are repeated only where they name columns, not values."""
    assert layer.derived is not None
    begin = statement.index(body)
    position = int(error.diag.statement_position or 0) - 1
    line = 1 + statement[begin:position].count("\n") if begin <= position <= begin + len(body) else 1
    named = (error.sqlstate or "").startswith("42")
    said = error.diag.message_primary if named else f"SQLSTATE {error.sqlstate}"
    return Fault(layer.derived.sql, line, f"the SQL of '{layer.id}' cannot be run: {said}")
