"""A delivery's features against the other layers, before they are written: findings, and who goes to quarantine.

All features are asked, unchanged ones too, for the other layer may have changed since. What checks ask for is sent
once, as the temporary table `sdi_asked`: the inner point of each feature, the attributes that checks name, and the
shapes only where a check needs them. Nothing else is written, so `sdi check` asks the same questions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray
from psycopg import sql

from sdi.contract.layer import Check, Layer
from sdi.contract.naming import Naming
from sdi.contract.registry import Registry
from sdi.contract.report import Finding
from sdi.contract.rules import RULES
from sdi.store import cql, engine, sending, tables
from sdi.store.between_places import PLACED, Met, Units
from sdi.store.between_rules import ASKED, RULED, SHAPED, Asking
from sdi.store.engine import Connection

type Reader = Callable[[], pa.RecordBatchReader]
"""Features, to be read as often as wanted: id, the stored attributes, geom, geom_wgs84 (EWKB), source_row, and row_hash
where their hashes are known."""
Waivers = Mapping[tuple[str, str], str]
"""(rule, feature id) -> the reason why a steward lets it pass."""

_SHAPES = ("geom", "geom_wgs84")


def examine(
    connection: Connection,
    layer: Layer,
    registry: Registry,
    features: Reader,
    *,
    day: date,
    waivers: Waivers | None = None,
    naming: Naming | None = None,
) -> list[Finding]:
    """Hold features against the other layers, by every such check of the contract and by each attribute that refers to
    another layer's features. In the caller's transaction; a temporary table is all that is written.

    day: on which other layers' features must be in force. naming: how they call the attributes.
    Returns findings in the order of the source's rows.
    """
    checks = _checks(layer)
    absent = {name for name in {_other(layer, each) for each in checks} if _is_empty(connection, layer, registry[name])}
    compared = [check for check in checks if _other(layer, check) not in absent]
    naming = naming or Naming(layer)
    told = [_absent(name, naming) for name in sorted(absent)]
    if not compared:
        return told
    asked = [Asking(layer, registry, check, day) for check in compared]
    units = [Units.fetch(connection, asking) for asking in asked if asking.check.rule in PLACED]
    _ask(connection, layer, compared, features, units)
    found: list[Finding] = []
    for each in units:
        found += (_finding(each.asking, met, waivers or {}, naming) for met in each.met)
    for asking in asked:
        if asking.check.rule in RULED:
            found += (_finding(asking, met, waivers or {}, naming) for met in _run(connection, asking))
    connection.execute(sql.SQL("DROP TABLE {}").format(ASKED))
    return told + sorted(found, key=lambda finding: finding.row or 0)


def preview(
    connection: Connection,
    layer: Layer,
    registry: Registry,
    features: Reader,
    *,
    day: date,
    waivers: Waivers | None = None,
    naming: Naming | None = None,
) -> list[Finding]:
    """What `examine` finds of features that are only checked. `connection`: in autocommit mode."""
    with engine.translated(), connection.transaction(force_rollback=True):
        return examine(connection, layer, registry, features, day=day, waivers=waivers, naming=naming)


def set_aside(features: Reader, findings: Iterable[Finding], held: frozenset[int]) -> tuple[Reader, pa.Table]:
    """The features without those of the source rows `held`, and these as they go to `sdi.quarantine`, with whatever was
    found of them."""
    told: dict[int, list[dict[str, Any]]] = {row: [] for row in held}
    for finding in findings:
        if finding.row in told:
            told[finding.row].append(finding.to_json())
    rows = pa.array(sorted(held), pa.int32())

    def kept() -> pa.RecordBatchReader:
        reader = features()
        parts = (batch.filter(pc.invert(pc.is_in(batch["source_row"], rows))) for batch in reader)
        return pa.RecordBatchReader.from_batches(reader.schema, parts)

    reader = features()
    taken = pa.Table.from_batches(
        (batch.filter(pc.is_in(batch["source_row"], rows)) for batch in reader), schema=reader.schema
    )
    names = [name for name in taken.column_names if name not in ("id", "source_row", "row_hash", *_SHAPES)]
    values = [
        {name: None if value is None else str(value) for name, value in row.items()}
        for row in taken.select(names).to_pylist()
    ]
    made = {
        "source_row": taken["source_row"],
        "id": taken["id"],
        "findings": pa.array([_json(told[row]) for row in taken["source_row"].to_pylist()], pa.string()),
        "attributes": pa.array([_json(row) for row in values], pa.string()),
        **{name: taken[name] for name in _SHAPES},
    }
    return kept, pa.table(made)


def quarantined(findings: Iterable[Finding]) -> frozenset[int]:
    """The source rows that findings send to quarantine."""
    return frozenset(each.row for each in findings if each.action == "quarantine" and each.row is not None)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


# --- what is asked --------------------------------------------------------------------------------------------------


def _checks(layer: Layer) -> list[Check]:
    """The contract's checks against other layers, and one for each attribute that refers to another's features."""
    named = [
        check for check in layer.checks if check.rule in RULED.keys() | PLACED and check.rule != "reference.missing"
    ]
    tuned = {check.parameters.get("attribute"): check for check in layer.checks if check.rule == "reference.missing"}
    for attribute in layer.stored:
        if attribute.refers_to is not None:
            entry = tuned.get(attribute.name) or tuned.get(None) or Check(rule="reference.missing")
            named.append(entry.model_copy(update={"parameters": {"attribute": attribute.name}}))
    return named


def others(layer: Layer) -> set[str]:
    """The layers that a layer's features are held against."""
    return {_other(layer, check) for check in _checks(layer)}


def _other(layer: Layer, check: Check) -> str:
    if check.rule == "reference.missing":
        return str(layer[check.parameters["attribute"]].refers_to)
    return str(check.parameters["layer"])


def _is_empty(connection: Connection, layer: Layer, other: Layer) -> bool:
    """Whether there is nothing to compare with; a layer that refers to itself has its own delivery."""
    if other.id == layer.id:
        return False
    row = connection.execute(sql.SQL("SELECT NOT EXISTS (SELECT FROM {})").format(tables.now(other))).fetchone()
    return bool(row and row[0])


def _ask(
    connection: Connection, layer: Layer, checks: Sequence[Check], features: Reader, units: Sequence[Units]
) -> None:
    """Send what the checks ask for, and look on the way in which units it lies. Only a check by place needs an inner
    point; else the box's middle shows where."""
    come = sending.schema(layer, features().schema)
    names = {"id", "source_row", *(name for check in checks for name in _named(layer, check))}
    if any(check.rule in SHAPED for check in checks):
        names |= {*_SHAPES}
    sent = [field for field in come if field.name in names]
    placed = any(check.rule != "reference.missing" for check in checks)
    fields = pa.schema([*sent, pa.field("point", pa.binary())])

    def batches() -> Iterator[pa.RecordBatch]:
        for rows in sending.fitted(features(), come):
            points = _points(rows["geom_wgs84"], inner=placed)
            for each in units:
                each.look(rows, np.column_stack([shapely.get_x(points), shapely.get_y(points)]))
            ewkb = pa.array(shapely.to_wkb(shapely.set_srid(points, 4326), include_srid=True), pa.binary())
            yield pa.RecordBatch.from_arrays([*(rows[field.name] for field in sent), ewkb], schema=fields)

    columns = sql.SQL("{}, point geometry").format(sending.columns(layer, pa.schema(sent)))
    connection.execute(sql.SQL("CREATE TEMPORARY TABLE {} ({}) ON COMMIT DROP").format(ASKED, columns))
    lists = [name for name in names if name in layer.by_name and layer[name].type == "list"]
    sending.copy_arrow(connection, ASKED, fields, batches(), lists)
    connection.execute(sql.SQL("ANALYZE {}").format(ASKED))


def _named(layer: Layer, check: Check) -> Iterator[str]:
    """The layer's own attributes that a check reads."""
    if "attribute" in check.parameters:
        yield check.parameters["attribute"]
    yield from check.parameters.get("key", {})
    if "where" in check.parameters:
        names = [attribute.name for attribute in layer.stored]
        yield from _properties(cql.parse_filter(check.parameters["where"], "cql2-text", layer, names))


def _properties(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict):
        if "property" in tree:
            yield tree["property"]
        tree = list(tree.values())
    if isinstance(tree, list):
        for part in tree:
            yield from _properties(part)


def _points(column: pa.Array, *, inner: bool) -> NDArray[Any]:
    """A point for each shape; None where it has no place."""
    shapes: NDArray[Any] = shapely.from_wkb(column.to_numpy(zero_copy_only=False))
    points: NDArray[Any] = shapely.point_on_surface(shapes) if inner else shapely.centroid(shapely.envelope(shapes))
    points[shapely.is_empty(points)] = None
    return points


# --- what is found --------------------------------------------------------------------------------------------------


def _run(connection: Connection, asking: Asking) -> Iterator[Met]:
    statement = RULED[asking.check.rule](asking)
    for row, feature, attribute, value, limit, other, lon, lat in connection.execute(statement.sql, statement.params):
        yield Met(None, row, feature, attribute, value, limit, other, None if lon is None else (lon, lat))


def _finding(asking: Asking, met: Met, waivers: Waivers, naming: Naming) -> Finding:
    rule = met.rule or asking.check.rule
    severity, action = _weight(rule, asking.check if met.rule is None else _entry(asking.layer, rule))
    waived = waivers.get((rule, met.id))
    return Finding(
        rule=rule, severity=severity, action=action if waived is None else "waived", feature=met.id,
        row=met.source_row, attribute=met.attribute, value=met.value, limit=met.limit, other=met.other,
        place=met.place, waived=waived, naming=naming,
    )  # fmt: skip


def _absent(name: str, naming: Naming) -> Finding:
    severity, action = _weight("layer.absent")
    return Finding("layer.absent", severity, action, other=name, naming=naming)


def _entry(layer: Layer, rule: str) -> Check | None:
    return next((check for check in layer.checks if check.rule == rule), None)


def _weight(rule: str, check: Check | None = None) -> tuple[str, str]:
    """Severity and action: what the contract says, else what the rule does."""
    known = RULES[rule]
    return (check and check.severity) or known.severity, (check and check.action) or known.action
