"""The account of a delivery for its report, and the quarantine on its way to a file."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import sdi.report.page
from sdi.contract.delivery import Delivery
from sdi.contract.layer import Layer
from sdi.contract.registry import Registry
from sdi.contract.report import Finding, Stored
from sdi.errors import UsageError
from sdi.ingest import outline, write_quality
from sdi.ingest.deliver import Received
from sdi.ingest.entire import entire
from sdi.ingest.raster import ReceivedCoverage
from sdi.national import vn2000
from sdi.report.account import (
    MOST_LISTED,
    MOST_OUTLINES,
    MOST_PLACES,
    Account,
    Listed,
    Mark,
    Outline,
    Quality,
    RuleCount,
    Waived,
)
from sdi.settings import Settings
from sdi.store import findings as register
from sdi.store import quality, quarantine, waiver
from sdi.store.engine import Connection

_HELD = 1_000
"""Features in quarantine that are drawn."""
_ACTIONS = ("refuse", "quarantine", "warn", "repair", "waived")
_SEVERITIES = ("error", "warning", "info")


def account_of(connection: Connection, settings: Settings, registry: Registry, word: str) -> Account:
    """What became of a delivery: of the load with that id, or the last one of that layer. Raises NotFound."""
    entry = quality.load_of(connection, word, registry.layers)
    layer, load_id = registry[entry["layer"]], int(entry["load_id"])
    grid = _projected(entry["grid"], settings)
    findings = list(quality.findings(connection, load_id, MOST_LISTED))
    rules = quality.by_rule(connection, load_id)
    marks = quality.places(connection, load_id, MOST_PLACES)
    held = list(quarantine.held(connection, layer.id, load_id=load_id, limit=_HELD))
    return Account(
        layer=layer, status=entry["status"], moment=entry["started_at"], steward=entry["steward"],
        delivery=entry["delivery"] or {}, grid=grid, contract_version=entry["contract_version"], load_id=load_id,
        mode=entry["mode"],
        **{name: entry[name] for name in (
            "read", "quarantined", "dropped", "inserted", "updated", "deleted", "unchanged", "kept")},
        rules=[RuleCount(each.rule, each.severity, each.action, each.count) for each in rules],
        findings=[_listed(each) for each in findings],
        marks=[Mark(*each) for each in marks], places=quality.placed(connection, load_id),
        outlines=[
            *_outlines(_served(connection, layer, load_id, marks), grid, held=False),
            *_outlines([each.geom for each in held], grid, held=True),
        ],
        states=quarantine.states(connection, load_id),
        waivers=[_waived(each) for each in waiver.every(connection, layer.id)],
        quality=[Quality(each.element, each.evaluated, each.faulty, each.waived, each.rate)
                 for each in quality.measures(connection, layer.id, load_id)],
    )  # fmt: skip


def account_of_check(
    checked: Received | ReceivedCoverage, layer: Layer, settings: Settings, steward: str
) -> Account:  # fmt: skip
    """What would become of a delivery; nothing of it is in the store."""
    report, delivery = checked.report, checked.delivery
    grid = _projected(delivery.grid, settings)
    good: list[bytes | None] = []
    held: list[bytes | None] = []
    if isinstance(checked, Received):
        good = _shapes(checked.features(), MOST_OUTLINES)
        held = _shapes(checked.quarantined(), _HELD)
    counts: dict[tuple[str, str, str], int] = {}
    listed: list[Listed] = []
    for finding in report.findings:
        key = (finding.rule, finding.severity, finding.action)
        counts[key] = counts.get(key, 0) + 1
        if counts[key] <= MOST_LISTED:
            listed.append(_listed(finding.to_json()))
    placed = [finding for finding in report.findings if finding.place is not None]
    return Account(
        layer=layer, status="checked", moment=datetime.now(UTC), steward=steward, delivery=_facts(delivery), grid=grid,
        read=report.read, quarantined=report.quarantined, dropped=report.dropped,
        contract_version=report.contract_version, mode=delivery.mode or layer.load.mode,
        rules=_ordered(counts), findings=listed, marks=_marks(placed), places=len(placed),
        outlines=[*_outlines(good, grid, held=False), *_outlines(held, grid, held=True)],
    )  # fmt: skip


def write_report(path: Path, account: Account, language: str) -> None:
    """Write an account as one HTML page. Raises UsageError for another suffix, StoreError where the disk is full."""
    require_page(path)
    page = sdi.report.page.render(account, language)
    with entire(path) as part:
        part.write_text(page, encoding="utf-8")


def require_page(path: Path) -> None:
    """Raises UsageError where a file of this name is no page."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise UsageError(
            f"'{path.name}' is not named as a page.", hint="Write a .html; print it to PDF from a browser."
        )


def write_quarantine(connection: Connection, layer: Layer, path: Path, load_id: int | None = None) -> int:
    """Write the features of a layer that stand in quarantine, or all that a load put there. Returns the count."""
    rows = quarantine.table(connection, layer, load_id)
    write_quality.write_quarantine(path, layer, rows)
    return int(rows.num_rows)


def write_findings_of(connection: Connection, path: Path, load_id: int) -> int:
    """Write all findings of a load as points for QGIS. Returns the count."""
    found = [
        Stored(**{name: each[name] for name in Stored.__dataclass_fields__ if name in each})
        for each in register.read(connection, load_id)
    ]
    write_quality.write_findings(path, found)
    return len(found)


# --- parts --------------------------------------------------------------------------------------------------------


def _projected(grid: int | None, settings: Settings) -> int:
    """The grid in which places are told and drawn: metres, so not a geographic one."""
    return grid if grid in vn2000.GRIDS and not vn2000.grid(grid).geographic else settings.grid


def _facts(delivery: Delivery) -> dict[str, Any]:
    return delivery.to_json()


def _listed(told: dict[str, Any]) -> Listed:
    place = told["place"]
    return Listed(
        told["rule"], told["severity"], told["action"], told["vi"], told["en"], told["feature"], told["row"],
        told["value"], (float(place[0]), float(place[1])) if place else None, told.get("waived"),
    )  # fmt: skip


def _ordered(counts: dict[tuple[str, str, str], int]) -> list[RuleCount]:
    """The gravest first."""
    made = [RuleCount(*key, count) for key, count in counts.items()]
    return sorted(made, key=lambda each: (
        _ACTIONS.index(each.action), _SEVERITIES.index(each.severity), -each.count, each.rule,
    ))  # fmt: skip


def _marks(placed: list[Finding]) -> list[Mark]:
    """Where there are too many, every so manieth."""
    step = len(placed) // MOST_PLACES + 1
    return [Mark(*finding.place, finding.severity) for finding in placed[::step] if finding.place is not None]


def _waived(given: waiver.Waiver) -> Waived:
    until = given.until.strftime("%d/%m/%Y") if given.until else None
    return Waived(given.rule, given.feature, given.reason, given.steward, given.given_at, until, given.state)


def _served(
    connection: Connection, layer: Layer, load_id: int, marks: list[tuple[float, float, str]]
) -> list[bytes | None]:  # fmt: skip
    """The features around the findings; where there are none, those of the load."""
    if layer.geometry is None:
        return []
    box = None
    if marks:
        lons, lats = sorted(mark[0] for mark in marks), sorted(mark[1] for mark in marks)
        few = len(marks) // 50  # a few strays do not make the box a province
        west, east, south, north = lons[few], lons[-1 - few], lats[few], lats[-1 - few]
        wide, high = max(east - west, 1e-3), max(north - south, 1e-3)
        box = (west - wide, south - high, east + wide, north + high)
    return list(quality.outlines(connection, layer, load_id, box, MOST_OUTLINES))


def _shapes(batches: Any, most: int) -> list[bytes | None]:
    """The first so many master geometries of a stream of rows."""
    rows = (value for batch in batches for value in batch.column("geom").to_pylist())
    return list(islice(rows, most))


def _outlines(ewkb: Iterable[bytes | None], grid: int, *, held: bool) -> list[Outline]:
    return [Outline(rings, kind, held) for kind, rings in outline.outlines(list(ewkb), grid)]
