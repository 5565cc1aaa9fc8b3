"""`sdi steward`: who alone collects a layer, or one of its areas."""

from __future__ import annotations

from typing import Annotated

import typer

from sdi.cli import show
from sdi.cli.app import Json, LayerId, app, desk
from sdi.cli.database import migrated
from sdi.store import engine, stewardship

steward = typer.Typer(help="Đơn vị phụ trách lớp · Who alone may load a layer.", no_args_is_help=True)
app.add_typer(steward, name="steward")

Name = Annotated[str, typer.Argument(metavar="STEWARD", help="Đơn vị, như --steward khi nạp · As --steward says it.")]
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
    show.say(f"✓ {layer} → {name}" if any(given) else f"✓ {layer} → {name}: nothing to do")


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
    name = at.registry[layer].id if layer is not None else None
    with engine.connect(engine.database_url(at.settings, start=False)) as connection:
        found = stewardship.grants(connection, name, revoked=revoked)
    if json:
        show.machine([each.__dict__ for each in found])
        return
    rows = [
        (each.layer, each.area or "*", each.steward, f"{each.given_at:%Y-%m-%d}",
         f"{each.revoked_at:%Y-%m-%d}" if each.revoked_at else None)
        for each in found
    ]  # fmt: skip
    show.table(["layer", "area", "steward", "since", "until"], rows)


def _areas(given: list[str] | None) -> list[str | None]:
    """The areas given; none is the whole layer."""
    return [*given] if given else [None]
