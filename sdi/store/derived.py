"""Layers made from layers, kept in step with each load: only the subjects that a change touches are made anew.

A derived layer's SQL is one SELECT over the temporary table `subject`, which has the columns of the layer that the
subjects are of, and those of its features that are to be made anew. Which subjects a change touches, its contract says:
the changed ones themselves; those whose box meets the box of an old or new shape of an input (`place`, widened by
`reach`); those whose attribute equals an old or new value of an input (`key`). Derived layers are made in order, each
leaving its own changes to the next. All of it happens in the load's transaction.
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
from sdi.store import bulk, delta, engine, ledger, loader, tables
from sdi.store.delta import NEXT, STAGED
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
                assert layer.derived is not None
                _make_subject(connection, registry[layer.derived.subject], sql.SQL("WHERE false"))
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
    mark = fingerprint(layer, registry)
    built = _built(connection, layer)
    whole = rebuild or built != mark or _is_upheaval(connection, layer.derived, registry)
    _gather(connection, layer, registry, whole)
    made = None
    if whole or not _is_idle(connection, layer):
        if delta.is_empty(connection, layer):
            made = _make_first(connection, layer, registry, cause, whole)
        else:
            made = _make_anew(connection, layer, registry, cause, whole)
        if built != mark:
            connection.execute("UPDATE sdi.contract SET built_sha256 = %s WHERE layer = %s", [mark, layer.id])
    connection.execute(f"DROP {'VIEW' if whole else 'TABLE'} subject; DROP TABLE sdi_gone")
    if made is None:
        return None
    load_id, counts = made
    ledger.finish(connection, load_id, counts)
    loader.analyse(connection, layer, counts.written)
    ledger.renew(connection, layer, load_id, changed=counts.written > 0)
    return Load.of(load_id, layer, counts, seconds=perf_counter() - begun)


Made = tuple[int, Counts]
"""Under which load, and what was written. None stands for no difference: that leaves no entry in the ledger."""


def _make_first(
    connection: Connection, layer: Layer, registry: Registry, cause: int | None, whole: bool
) -> Made | None:
    """Fill an empty layer straight from its SQL."""
    assert layer.derived is not None
    made = None
    with connection.transaction():
        load_id = ledger.start(connection, layer, None, cause=cause)
        head, tail = delta.first_of(connection, layer, load_id)
        expected = ledger.count(connection, registry[layer.derived.subject]) if whole else 0
        with bulk.filling(connection, layer, expected):
            inserted = _run(connection, head, layer, registry, tail)
        if inserted:
            delta.note_all(connection, layer, load_id)
        if not inserted and not _becomes_known(connection, layer, registry):
            raise psycopg.Rollback
        made = load_id, Counts(inserted=inserted)
    return made


def _make_anew(connection: Connection, layer: Layer, registry: Registry, cause: int | None, whole: bool) -> Made | None:
    """Bring a layer to what its SQL gives for the subjects."""
    _run(connection, sql.SQL("CREATE TEMPORARY TABLE {} ON COMMIT DROP AS ").format(STAGED), layer, registry)
    made_anew = "o.subject_id IN (SELECT id FROM subject UNION ALL SELECT id FROM sdi_gone)"
    values = delta.values(layer)
    delivered = delta.make_next(connection, layer, values)
    counts = delta.compare(connection, layer, delivered, gone=sql.SQL("true" if whole else made_anew))
    made = None
    if counts.written:
        load_id = ledger.start(connection, layer, None, cause=cause)
        delta.apply(connection, layer, load_id, values)
        made = load_id, counts
    connection.execute(sql.SQL("DROP TABLE {}, {}, sdi_delta").format(STAGED, NEXT))
    return made


def _becomes_known(connection: Connection, layer: Layer, registry: Registry) -> bool:
    """Whether an empty result is to be published: for the first time, and its subjects are there."""
    assert layer.derived is not None
    row = connection.execute("SELECT 1 FROM sdi.publication WHERE layer = %s", [layer.id]).fetchone()
    return row is None and not delta.is_empty(connection, registry[layer.derived.subject])


# --- which subjects -----------------------------------------------------------------------------------------------


def _built(connection: Connection, layer: Layer) -> str | None:
    row = connection.execute("SELECT built_sha256 FROM sdi.contract WHERE layer = %s", [layer.id]).fetchone()
    return row[0] if row else None


def _is_upheaval(connection: Connection, made: Derived, registry: Registry) -> bool:
    """Whether so much changed that making all anew is less work than searching for what it touches."""
    layers = _read(made, registry)
    row = connection.execute(
        "SELECT count(DISTINCT (layer, id)) FROM sdi_changed WHERE layer = ANY (%s) AND id IS NOT NULL",
        [[layer.id for layer in layers]],
    ).fetchone()
    changes = (row[0] if row else 0) + sum(
        ledger.count(connection, layer) for layer in layers if delta.is_noted_whole(connection, layer)
    )
    return changes >= _SEARCHED and 2 * changes >= ledger.count(connection, registry[made.subject])


def _read(made: Derived, registry: Registry) -> list[Layer]:
    """The subject and the inputs that are features."""
    names = dict.fromkeys([made.subject, *(source.layer for source in made.inputs)])
    return [registry[name] for name in names if registry[name].coverage is None]


def _make_subject(connection: Connection, subject: Layer, which: sql.Composable, *, kind: str = "TABLE") -> None:
    """Make `subject` of the features of a layer, alias `s`, that the end of a query chooses."""
    names = sql.SQL(", ").join(sql.Identifier("s", name) for name in tables.content(subject))
    head = "CREATE TEMPORARY TABLE subject ON COMMIT DROP AS" if kind == "TABLE" else "CREATE TEMPORARY VIEW subject AS"
    connection.execute(sql.SQL(head + " SELECT {} FROM {} s {}").format(names, tables.now(subject), which))
    connection.execute("CREATE TEMPORARY TABLE sdi_gone (id text PRIMARY KEY) ON COMMIT DROP")


def _is_idle(connection: Connection, layer: Layer) -> bool:
    row = connection.execute(
        sql.SQL(
            "SELECT NOT EXISTS (SELECT FROM subject)"
            " AND NOT EXISTS (SELECT FROM sdi_gone g JOIN {} o ON o.subject_id = g.id)"
        ).format(tables.now(layer))
    ).fetchone()
    return bool(row and row[0])


def _gather(connection: Connection, layer: Layer, registry: Registry, whole: bool) -> None:
    """Make `subject` of what is to be made anew, and `sdi_gone` of the subjects that are no more."""
    assert layer.derived is not None
    subject = registry[layer.derived.subject]
    if whole:
        connection.execute("SET LOCAL work_mem = '128MB'")
        _make_subject(connection, subject, sql.SQL(""), kind="VIEW")
        return
    for read in _read(layer.derived, registry):
        delta.each_changed(connection, read)
    connection.execute(
        sql.SQL("CREATE TEMPORARY TABLE sdi_touched ON COMMIT DROP AS {}; ANALYZE sdi_touched").format(
            sql.SQL(" UNION ").join(_touched(layer.derived, registry))
        )
    )
    _make_subject(connection, subject, sql.SQL("JOIN sdi_touched t ON t.id = s.id"))
    connection.execute(
        sql.SQL(
            "DROP TABLE sdi_touched; ALTER TABLE subject ADD PRIMARY KEY (id);"
            " CREATE INDEX ON subject USING gist (geom_wgs84); ANALYZE subject;"
            " INSERT INTO sdi_gone SELECT DISTINCT c.id FROM sdi_changed c WHERE c.layer = {} AND c.id IS NOT NULL"
            " AND NOT EXISTS (SELECT FROM {} s WHERE s.id = c.id)"
        ).format(sql.Literal(subject.id), tables.now(subject))
    )


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
    return sql.SQL("SELECT s.id FROM {} c JOIN {} s ON s.geom_wgs84 && {} WHERE true {}").format(
        _changes(source, layer), tables.now(subject), box, lacking
    )


def _by_key(source: Input, subject: Layer, layer: Layer) -> Iterator[sql.Composable]:
    """By the values an input has now, and by those it had, which stand in its past, ended by the present load."""
    same = sql.SQL(" AND ").join(_matches(layer, mine, subject, theirs) for mine, theirs in source.key.items())
    query = "SELECT s.id FROM {} c JOIN {} i ON i.id = c.id{} JOIN {} s ON {}"
    for table, version in ((tables.now(layer), ""), (tables.past(layer), " AND i.load_to = c.load_id")):
        yield sql.SQL(query).format(_changes(source, layer), table, sql.SQL(version), tables.now(subject), same)


def _changes(source: Input, layer: Layer) -> sql.Composable:
    """The entries of `sdi_changed` that concern a derived layer: not those of features whose shape and whose attributes
    that its SQL reads are what they were."""
    entries = sql.SQL("SELECT c.* FROM sdi_changed c WHERE c.layer = {}").format(sql.Literal(layer.id))
    if source.reads is not None and layer.coverage is None:
        same: list[sql.Composable] = [sql.SQL("ST_AsEWKB(n.geom) IS NOT DISTINCT FROM ST_AsEWKB(p.geom)")]
        for name in source.reads:
            same.append(sql.SQL("n.{0} IS NOT DISTINCT FROM p.{0}").format(sql.Identifier(name)))
        entries += sql.SQL(
            " AND NOT EXISTS (SELECT FROM {} n JOIN {} p ON p.id = n.id AND p.load_to = c.load_id"
            " WHERE n.id = c.id AND {})"
        ).format(tables.now(layer), tables.past(layer), sql.SQL(" AND ").join(same))
    return sql.SQL("({})").format(entries)


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


def _run(
    connection: Connection, head: sql.Composable, layer: Layer, registry: Registry, tail: sql.Composable | None = None
) -> int:
    """Run a layer's SQL between words of ours and return the count of rows. Raises ContractError naming file and line
    when the SQL is wrong."""
    statement = (head + _select(layer, registry) + (tail or sql.SQL(""))).as_string(connection)
    try:
        return connection.execute(statement.encode()).rowcount
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
