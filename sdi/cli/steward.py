"""`sdi steward`: who alone collects a layer, or one of its areas."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from sdi.cli import show
from sdi.cli.app import Json, LayerId, app, desk
from sdi.cli.database import migrated
from sdi.store import engine, stewardship, writers
from sdi.store.writers import Writer

steward = typer.Typer(help="Đơn vị phụ trách lớp · Who alone may load a layer.", no_args_is_help=True)
app.add_typer(steward, name="steward")

Name = Annotated[str, typer.Argument(metavar="STEWARD", help="Đơn vị, như --steward khi nạp · As --steward says it.")]
GIVEN = {"vi": "đã giao từ trước", "en": "nothing to do"}
Areas = Annotated[
    list[str] | None,
    typer.Option("--area", metavar="CODE", help="Chỉ khu vực này (giá trị của load.scope) · Only this area."),
]


@steward.command("grant")
def grant(context: typer.Context, layer: LayerId, name: Name, area: Areas = None) -> None:
    """Giao một lớp, hoặc vài khu vực của nó · Give a layer, or some of its areas, to a steward alone."""
    at = desk(context)
    found = at.registry[layer]
    migrated(at).close()
    with engine.connect(engine.database_url(at.settings)) as owner:
        given = [stewardship.grant(owner, found, name, code) for code in _areas(area)]
    show.say(f"✓ {layer} → {name}" + ("" if any(given) else f": {GIVEN[at.language]}"))


@steward.command("revoke")
def revoke(context: typer.Context, layer: LayerId, name: Name, area: Areas = None) -> None:
    """Thu lại; không nêu khu vực là tất cả · Take it back; without --area all of it."""
    at = desk(context)
    found = at.registry[layer]
    with engine.connect(engine.database_url(at.settings)) as owner:
        count = sum(stewardship.revoke(owner, found, name, code) for code in _areas(area))
    show.say(f"✓ {layer} ← {name} ({count})")


@steward.command("list")
def list_(
    context: typer.Context,
    layer: Annotated[str | None, typer.Argument(metavar="[LAYER]", help="Mã lớp · Layer id.")] = None,
    revoked: Annotated[bool, typer.Option("--all", help="Cả đã thu lại · Also what was taken back.")] = False,
    json: Json = False,
) -> None:
    """Ai phụ trách lớp nào; lớp không có tên ở đây ai cũng nạp được · A layer not listed takes loads from anyone."""
    at = desk(context)
    asked = [at.registry[layer]] if layer is not None else list(at.registry)
    with engine.connect(engine.database_url(at.settings, start=False)) as connection:
        found = stewardship.grants(connection, asked[0].id if layer is not None else None, revoked=revoked)
        granted = [each for one in asked for each in writers.writers(connection, one) if each.grant is not None]
    if json:
        show.machine([*(each.__dict__ for each in found), *(_told(each) for each in granted)])
        return
    rows = [
        (each.layer, each.area or "*", each.steward, "load", f"{each.given_at:%Y-%m-%d}",
         f"{each.revoked_at:%Y-%m-%d}" if each.revoked_at else None, None)
        for each in found
    ]  # fmt: skip
    for told in map(_told, granted):
        part = " ".join(told["areas"] or ()) or ("*" if told["whole"] else "…")
        rows.append((told["layer"], part, told["steward"], " ".join(told["actions"]), f"{told['since']:%Y-%m-%d}",
                     told["until"] and f"{told['until']:%Y-%m-%d}", told["grant"]))  # fmt: skip
    show.table(
        ["layer", "area", "in charge", "may", "since", "until", "grant"], rows, desk(context).language, right=["grant"]
    )


def _told(writer: Writer) -> dict[str, Any]:
    """What an agency was granted (`sdi agencies grant … --action load`). `whole`: of the whole layer."""
    grant = writer.grant
    assert grant is not None
    return {
        "layer": grant.layer, "steward": writer.name, "actions": sorted(writer.deeds), "areas": writer.areas,
        "whole": (grant.communes, grant.rows, grant.polygon) == (None, None, None), "since": writer.since,
        "until": grant.valid_to, "grant": grant.grant_id,
    }  # fmt: skip


def _areas(given: list[str] | None) -> list[str | None]:
    """The areas given; none is the whole layer."""
    return [*given] if given else [None]
