"""`sdi agencies grant` and `list`: what agencies may do with layers, and what they see of which and why."""

from __future__ import annotations

import json as json_
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer

from sdi.access import ACTIONS, WRITING, Action, Agency, Grant, rule_of, sees
from sdi.cli import show
from sdi.cli.agencies import Id, agencies, asked, enter_steward, owner_of
from sdi.cli.app import Desk, Json, LayerId, desk
from sdi.contract.layer import Layer, Privacy
from sdi.errors import NotFound, UsageError, nearest
from sdi.report.words import number
from sdi.store.engine import Connection
from sdi.store.sharing import agencies as register
from sdi.store.sharing import grants
from sdi.store.sharing.agencies import Entry
from sdi.store.sharing.grants import Given
from sdi.store.sharing.register import read as read_now


@agencies.command("grant")
def grant(
    context: typer.Context, name: Id, layer: LayerId,
    classes: Annotated[list[str] | None, typer.Option(
        "--class", metavar="open|agency|restricted", help="Mức thuộc tính · Privacy class that it shows.")] = None,
    attribute: Annotated[list[str] | None, typer.Option(help="Chỉ thuộc tính này · Only this one of them.")] = None,
    rows: Annotated[str | None, typer.Option(metavar="CQL2", help="Chỉ đối tượng thỏa · Only such features.")] = None,
    commune: Annotated[list[str] | None, typer.Option(metavar="CODE", help="Chỉ trong xã · Only in it.")] = None,
    polygon: Annotated[Path | None, typer.Option(metavar="FILE", help="Chỉ trong vùng · Only there (GeoJSON).")] = None,
    precision: Annotated[Literal["exact", "generalised", "centroid", "none"], typer.Option(
        help="Độ chính xác vị trí · How exactly the place is told.")] = "exact",
    metres: Annotated[float, typer.Option(help="Bước lưới khi khái quát · Step of the grid, metres.")] = 0.0,
    action: Annotated[list[str] | None, typer.Option(
        metavar="|".join(ACTIONS), help="Được làm gì; mặc định read · What it may do; read unless said.")] = None,
    since: Annotated[datetime | None, typer.Option(
        "--from", metavar="DATE", formats=["%Y-%m-%d"], help="Ngày đầu · The first day.")] = None,
    until: Annotated[datetime | None, typer.Option(
        "--to", metavar="DATE", formats=["%Y-%m-%d"], help="Ngày hết quyền · The first day without it.")] = None,
    legal_basis: Annotated[str | None, typer.Option("--legal-basis", help="Căn cứ pháp lý · On which law.")] = None,
    purpose: Annotated[str | None, typer.Option(help="Mục đích · What for.")] = None,
) -> None:  # fmt: skip
    """Cho một cơ quan dùng một lớp · Let an agency use a layer; several grants add up."""
    at = desk(context)
    found = at.registry[layer]
    shown = frozenset(cast("list[Privacy]", classes or ["open"]))
    actions = frozenset(cast("list[Action]", action or ["read"]))
    if found.sharing.level != "open" or shown != {"open"} or actions & WRITING:
        legal_basis = legal_basis or asked("Căn cứ pháp lý · Legal basis", "--legal-basis")
        purpose = purpose or asked("Mục đích · Purpose", "--purpose")
    wanted = Grant(
        0, name, found.id, shown, tuple(attribute) if attribute else None, rows, tuple(commune) if commune else None,
        polygon=_geometry(polygon), precision=precision, metres=metres,
        actions=actions, valid_from=_day(since), valid_to=_day(until),
        legal_basis=legal_basis, purpose=purpose,
    )  # fmt: skip
    grants.grounded(found, wanted)
    with owner_of(at) as owner, owner.transaction():
        enter_steward(at, owner, name)
        number = grants.give(owner, found, wanted)
    show.say(f"✓ {number}: {name} ← {found.id}")


def _day(moment: datetime | None) -> date | None:
    return moment and moment.date()


def _geometry(path: Path | None) -> str | None:
    """The geometry of a GeoJSON file: itself, its feature's, or its only feature's. Raises UsageError."""
    if path is None:
        return None
    try:
        told = json_.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        hint = "Look at the path; the file has one polygon, in longitude and latitude."
        raise UsageError(f"{path.name} cannot be read as GeoJSON.", hint=hint) from None
    if isinstance(told, dict) and told.get("type") == "FeatureCollection":
        features = told.get("features") or []
        if len(features) != 1:
            raise UsageError(f"{path.name} has {len(features)} features, not one.")
        told = features[0]
    if isinstance(told, dict) and told.get("type") == "Feature":
        told = told.get("geometry")
    return json_.dumps(told)


@agencies.command("list")
def list_(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[AGENCY]", help="Cơ quan này thấy gì · What it sees.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Cả quyền đã thu hồi · Also what was revoked.")] = False,
    json: Json = False,
) -> None:
    """Các cơ quan và quyền; hoặc một cơ quan thấy gì, vì sao · Agencies and grants; or what one sees and why."""
    at = desk(context)
    with owner_of(at) as owner:
        entries = register.entries(owner)
        given = grants.given(owner, revoked=everything)
        view = None if name is None else _view(at, owner, entries, name)
    if json:
        shown = [_machine(each, given) for each in entries if name in (None, each.id)]
        show.machine(shown if view is None else {**shown[0], "layers": view})
        return
    shown_entries = [each for each in entries if name in (None, each.id)]
    _show_entries(shown_entries, at.language)
    _show_grants([each for each in given if name in (None, each.grant.agency)], at.language)
    if view is not None:
        rows = [(each["layer"], "✓" if each["seen"] else "–", f"{len(each['attributes'])}/{each['stored']}",
                 " ".join(each["actions"]), "; ".join(each["why"])) for each in view]  # fmt: skip
        show.out.print()
        show.table(["layer", "seen", "attributes", "actions", "why"], rows, at.language)


def _view(at: Desk, owner: Connection, entries: list[Entry], name: str) -> list[dict[str, Any]]:
    """What an agency sees today of each layer, and by what."""
    if name not in {each.id for each in entries}:
        raise NotFound(f"There is no agency '{name[:100]}'.{nearest(name, [each.id for each in entries])}")
    agency = read_now(owner, at.registry).agency(name)
    return [_seen(agency, layer) for layer in at.registry]


def _seen(agency: Agency, layer: Layer) -> dict[str, Any]:
    rule, seen = rule_of(agency, layer), sees(agency, layer)
    why = []
    if seen and rule_of(Agency(agency.id, agency.classes), layer).parts:
        why.append(f"hợp đồng · contract: {layer.sharing.level}")
    for each in agency.grants:
        if each.layer == layer.id:
            why.append(f"quyền · grant {each.grant_id}: {each.legal_basis or each.purpose or '–'}")
    return {
        "layer": layer.id, "seen": seen, "attributes": list(rule.attributes), "stored": len(layer.stored),
        "whole": seen and rule.whole, "actions": sorted(rule.actions), "why": why,
    }  # fmt: skip


def _machine(entry: Entry, given: Sequence[Given]) -> dict[str, Any]:
    return {**asdict(entry), "grants": [_told(each) for each in given if each.grant.agency == entry.id]}


def _told(given: Given) -> dict[str, Any]:
    told = asdict(given.grant)
    told |= {name: sorted(told[name]) for name in ("classes", "actions")}
    told["polygon"] = None if told["polygon"] is None else json_.loads(told["polygon"])
    return told | {name: value for name, value in asdict(given).items() if name != "grant"}


def _show_entries(entries: list[Entry], language: str) -> None:
    rows = [
        (each.id, each.kind, each.name(language), each.since, "✓" if each.administrator else None,
         f"{each.merged_into} ({each.merged_at:%Y-%m-%d}): {each.merged_why or ''}" if each.merged_at else None)
        for each in entries
    ]  # fmt: skip
    show.table(["agency", "kind", "name", "since", "administrator", "merged into"], rows, language)


def _show_grants(given: list[Given], language: str) -> None:
    if not given:
        return
    rows = []
    for each in given:
        one = each.grant
        dates = f"{one.valid_from or ''}..{one.valid_to or ''}" if one.valid_from or one.valid_to else None
        ended = f"{each.revoked_at:%Y-%m-%d}: {each.revoked_why}" if each.revoked_at else None
        rows.append((one.grant_id, one.agency, one.layer, _what(one, language), " ".join(sorted(one.actions)), dates,
                     one.legal_basis, one.purpose, ended))  # fmt: skip
    show.out.print()
    columns = ["grant", "agency", "layer", "what", "actions", "dates", "legal basis", "purpose", "revoked"]
    show.table(columns, rows, language, right=["grant"])


def _what(one: Grant, language: str) -> str:
    """Fields, rows, area and precision in one line."""
    parts = ["+".join(sorted(one.classes))]
    if one.attributes is not None:
        parts.append(",".join(one.attributes))
    if one.rows:
        parts.append(one.rows)
    if one.communes:
        parts.append(",".join(one.communes))
    if one.polygon:
        parts.append("polygon")
    if one.precision != "exact":
        parts.append(one.precision + (f" {number(one.metres, language)} m" if one.metres else ""))
    return " · ".join(parts)
