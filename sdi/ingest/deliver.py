"""A delivery from file to features: the whole flow of reading, conforming and checking on one page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Self

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from sdi.contract.delivery import Delivery, Request
from sdi.contract.layer import Geometry, Layer
from sdi.contract.registry import Registry
from sdi.contract.report import Finding, Report
from sdi.errors import SourceError, UsageError
from sdi.ingest import coordinates, encoding, geometry, place
from sdi.ingest.cast import to_text
from sdi.ingest.checks import between, form, law
from sdi.ingest.checks.neighbourhood import InMemory
from sdi.ingest.conform import Conformed, conform, identify
from sdi.ingest.findings import Findings, Mask
from sdi.ingest.geometry import Shapes
from sdi.ingest.source import WKB, Facts, Limits, Progress, read


class Received:
    """A delivery that was held against its contract; its rows are read as often as wanted until it is closed."""

    def __init__(self, delivery: Delivery, report: Report, features: pa.Table, quarantined: pa.Table) -> None:
        self.delivery = delivery
        self.report = report
        self._features = features
        self._quarantined = quarantined

    def features(self) -> pa.RecordBatchReader:
        """id, the stored attributes, geom (EWKB in its grid), geom_wgs84 (EWKB 4326), source_row (from 1)."""
        return self._features.to_reader()

    def quarantined(self) -> pa.RecordBatchReader:
        """source_row, id or null, findings (JSON list), attributes (JSON, as delivered), geom, geom_wgs84."""
        return self._quarantined.to_reader()

    def close(self) -> None:
        """Give back what it holds on disk."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass
class _Shaped:
    """Geometry on its way: `before` in the grid as delivered, `master` as the contract wants it, `wgs84` of that."""

    before: Shapes
    master: Shapes
    wgs84: Shapes
    dropped: Mask


def receive(
    request: Request,
    layer: Layer,
    registry: Registry,
    *,
    grid: int,
    extent: place.Box | None = None,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> Received:
    """Read a file and hold it against its contract. Nothing is written.

    grid: EPSG code in which features of a WGS 84 file are kept. extent: where the deployment expects its data, west,
    south, east, north in degrees; None: the grid's area of use. Raises UsageError, SourceError; bad data is reported.
    """
    if layer.kind != "features" or layer.geometry is None:
        raise UsageError(f"Layer '{layer.id}' is of kind '{layer.kind}'; it takes no features.")
    source = read(request, limits, progress)
    count = source.table.num_rows
    if not count:  # a full load of nothing would end every feature there is
        raise SourceError(f"{source.facts.file_name} holds no feature.", hint="Compare the export with its source.")
    findings = Findings(layer, count)
    _judge_file(source.facts, findings)
    decoded = encoding.decode(source, request.encoding, findings)
    table, raw, hint = _raw_geometry(decoded.table, source.facts, layer.geometry, findings)
    raw = geometry.finite(geometry.swap(raw) if request.swapped else raw, findings)
    bounds = geometry.bounds_of(raw)
    where = place.decide(source.facts, request, grid, extent, bounds, hint)
    shaped = _shape(raw, where, layer.geometry, findings)
    places = np.where(np.isnan(middles := geometry.middles(shaped.wgs84)), _places_of(shaped, where), middles)
    believed = bounds is None or place.check_extent(places, where, extent, bounds, findings)
    made = conform(table.drop_columns([WKB]) if WKB in table.column_names else table, layer, request, findings)
    form.check_attributes(layer, made, registry, request.day or date.today(), findings)
    ids = identify(layer, made.columns, shaped.before, findings)
    if believed:  # what is measured in a wrong grid says nothing
        law.check_area(layer, made, shaped.master, findings)
        law.check_place_of_id(layer, made, shaped.wgs84, findings)
        usable = ~shapely.is_missing(shaped.master) & ~findings.quarantined
        between.check_between(InMemory(layer, shaped.master, usable, made.columns, ids), where, findings)
    found = findings.finish(ids, lambda rows: places[rows])
    delivery = _delivery(source.facts, request, where, count, decoded.encoding)
    return _received(delivery, layer, made, shaped, where, ids, findings, found)


def _delivery(facts: Facts, request: Request, where: place.Placement, count: int, encoding: str) -> Delivery:
    return Delivery(
        file_name=facts.file_name, sha256=facts.sha256, size=facts.size, driver=facts.driver, layer_in_file=facts.layer,
        feature_count=count, encoding=encoding, crs_declared=where.declared, crs_used=f"EPSG:{where.used}",
        grid=where.grid, operation=where.operation, steward=request.steward,
    )  # fmt: skip


def _judge_file(facts: Facts, findings: Findings) -> None:
    if facts.truncated is not None:
        findings.add("file.truncated", value=facts.truncated[0], limit=facts.truncated[1])
    if facts.curves:
        findings.add("geometry.linearised", value=facts.curves)


def _raw_geometry(
    table: pa.Table, facts: Facts, contract: Geometry, findings: Findings
) -> tuple[pa.Table, Shapes, int | None]:
    """The file's geometry, of a WKB column or of coordinate columns; the EPSG code that column names tell."""
    if WKB in table.column_names and facts.driver in coordinates.TABLES:
        table = table.drop_columns(coordinates.wkt_columns(table))
    if WKB in table.column_names or facts.driver not in coordinates.TABLES:
        column = table[WKB] if WKB in table.column_names else None
        return table, geometry.parse(column, table.num_rows, findings, contract.required), None
    points = coordinates.find(table, facts.file_name, contract.required)
    column = pa.chunked_array([pa.array(shapely.to_wkb(points.shapes), pa.large_binary())])
    shapes = geometry.parse(column, table.num_rows, findings, contract.required)
    return (table.drop_columns(list(points.columns)) if points.columns else table), shapes, points.epsg


def _shape(raw: Shapes, where: place.Placement, contract: Geometry, findings: Findings) -> _Shaped:
    """Bring geometry to the grid, to its type and to validity; derive WGS 84."""
    before, lonlat = geometry.place(raw, where)
    master, dropped = geometry.conform(before, contract, findings)
    known, _ = geometry.conform(lonlat, contract, Findings(findings.layer, len(raw)))
    changed = geometry.repair(master, contract, findings)
    known[changed] = None
    return _Shaped(before, master, geometry.to_wgs84(master, known, where), dropped)


def _places_of(shaped: _Shaped, where: place.Placement) -> NDArray[np.float64]:
    """Longitude and latitude of what has no geometry that is kept but had one."""
    rows = np.flatnonzero(shapely.is_missing(shaped.wgs84) & ~shapely.is_missing(shaped.before))
    found = np.full((len(shaped.before), 2), np.nan)
    if len(rows):
        found[rows] = where.to_wgs84(geometry.middles(shaped.before[rows]))
    return found


# --- the two tables -----------------------------------------------------------------------------------------------


def _received(
    delivery: Delivery,
    layer: Layer,
    made: Conformed,
    shaped: _Shaped,
    where: place.Placement,
    ids: Sequence[str | None],
    findings: Findings,
    found: list[Finding],
) -> Received:
    quarantined = findings.quarantined & ~shaped.dropped
    kept = ~quarantined & ~shaped.dropped
    report = Report(
        layer=layer.id, contract_version=layer.version, read=delivery.feature_count, kept=int(kept.sum()),
        quarantined=int(quarantined.sum()), dropped=int(shaped.dropped.sum()), findings=found,
    )  # fmt: skip
    if report.read != report.kept + report.quarantined + report.dropped:
        raise AssertionError("a feature is neither kept nor quarantined nor dropped")
    features = _features(made, shaped, where, ids, np.flatnonzero(kept))
    return Received(
        delivery, report, features, _quarantined(made, shaped, where, ids, np.flatnonzero(quarantined), found)
    )


def _features(
    made: Conformed, shaped: _Shaped, where: place.Placement, ids: Sequence[str | None], rows: NDArray[np.intp]
) -> pa.Table:
    chosen = pa.array(rows)
    columns = {"id": pa.array([ids[row] for row in rows], pa.string())}
    columns |= {name: column.take(chosen) for name, column in made.columns.items()}
    columns["geom"] = geometry.ewkb(shaped.master[rows], where.grid)
    columns["geom_wgs84"] = geometry.ewkb(shaped.wgs84[rows], 4326)
    columns["source_row"] = pa.array(rows + 1, pa.int32())
    return pa.table(columns)


def _quarantined(
    made: Conformed, shaped: _Shaped, where: place.Placement, ids: Sequence[str | None], rows: NDArray[np.intp],
    found: list[Finding],
) -> pa.Table:  # fmt: skip
    chosen = pa.array(rows)
    texts = {name: to_text(column.take(chosen)).to_pylist() for name, column in made.raw.items()}
    by_row: dict[int, list[dict[str, Any]]] = {int(row) + 1: [] for row in rows}
    for finding in found:
        if finding.row in by_row:
            by_row[finding.row].append(finding.to_json())
    shapes = shaped.before[rows]
    attributes = [{name: values[position] for name, values in texts.items()} for position in range(len(rows))]
    return pa.table({
        "source_row": pa.array(rows + 1, pa.int32()),
        "id": pa.array([ids[row] for row in rows], pa.string()),
        "findings": pa.array([_json(by_row[int(row) + 1]) for row in rows], pa.string()),
        "attributes": pa.array([_json(values) for values in attributes], pa.string()),
        "geom": geometry.ewkb(shapes, where.grid),
        "geom_wgs84": geometry.ewkb(shapely.transform(shapes, where.to_wgs84), 4326),
    })  # fmt: skip


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
