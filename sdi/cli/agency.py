"""`sdi agency`: the keys by which an agency is known to the service."""

from __future__ import annotations

from typing import Annotated

import typer

from sdi.cli import show
from sdi.cli.app import Json, app, desk
from sdi.cli.database import migrated
from sdi.errors import UsageError, nearest
from sdi.store import agency as keys_
from sdi.store import engine

agency = typer.Typer(help="Khóa của các cơ quan · The agencies' keys to the service.", no_args_is_help=True)
app.add_typer(agency, name="agency")

Id = Annotated[str, typer.Argument(metavar="AGENCY", help="Mã cơ quan (steward.id của hợp đồng) · Its id.")]


@agency.command("key")
def key(
    context: typer.Context, name: Id,
    note: Annotated[str | None, typer.Option(help="Cho ai, để làm gì · For whom, what for.")] = None,
) -> None:  # fmt: skip
    """Cấp một khóa mới; chỉ hiện một lần · Make a key; it is shown this once."""
    at = desk(context)
    stewards = {layer.steward.id for layer in at.registry}
    if name not in stewards:
        raise UsageError(f"No layer has the steward '{name}'.{nearest(name, stewards)}", hint="See 'sdi layers list'.")
    migrated(at).close()
    with engine.connect(engine.database_url(at.settings), engine.OWNER) as owner:
        made = keys_.make_key(owner, name, note)
    show.say(
        f"Tên · user: {name}. Mật khẩu là khóa dưới đây, không xem lại được · The password is this key, kept nowhere:"
    )
    show.out.print(made, markup=False)


@agency.command("keys")
def keys(context: typer.Context, json: Json = False) -> None:
    """Các khóa đã cấp · Every key that was ever made, without what opens anything."""
    at = desk(context)
    migrated(at).close()
    with engine.connect(engine.database_url(at.settings), engine.OWNER) as owner:
        found = keys_.keys(owner)
    if json:
        show.machine([each.__dict__ for each in found])
        return
    rows = [
        (each.key_id, each.agency, f"{each.created_at:%Y-%m-%d %H:%M}",
         f"{each.revoked_at:%Y-%m-%d %H:%M}" if each.revoked_at else "", each.note)
        for each in found
    ]  # fmt: skip
    show.table(["key", "agency", "made UTC", "revoked UTC", "note"], rows, right=["key"])


@agency.command("revoke")
def revoke(
    context: typer.Context, name: Id,
    key: Annotated[int | None, typer.Option("--key", help="Số của khóa; bỏ trống là tất cả · Which; else all.")] = None,
) -> None:  # fmt: skip
    """Thu hồi khóa, có hiệu lực ngay · End an agency's keys, at once."""
    at = desk(context)
    with engine.connect(engine.database_url(at.settings), engine.OWNER) as owner:
        count = keys_.revoke(owner, name, key)
    show.say(f"✓ {name}: {count}")
