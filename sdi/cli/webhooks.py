"""`sdi webhooks`: addresses that are told when a layer has changed for an agency."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated

import typer

from sdi.access import sees
from sdi.cli import show
from sdi.cli.agencies import Id, owner_of
from sdi.cli.app import Desk, Json, LayerId, app, desk
from sdi.errors import NotFound, nearest
from sdi.store import engine
from sdi.store.engine import Connection
from sdi.store.feed import webhooks as register
from sdi.store.feed.page import Marks
from sdi.store.sharing.register import read

webhooks = typer.Typer(
    help="Báo cho cơ quan khi lớp dữ liệu thay đổi · Tell agencies that a layer has changed.", no_args_is_help=True
)
app.add_typer(webhooks, name="webhooks")

Number = Annotated[int, typer.Argument(metavar="NUMBER", help="Số của webhook · Its number (sdi webhooks list).")]
EVERY = 10.0
"""Seconds after which those are looked at whose next attempt has come, though nothing was loaded."""


@webhooks.command("add")
def add(
    context: typer.Context, agency: Id, layer: LayerId,
    url: Annotated[str, typer.Argument(metavar="URL", help="https://… của máy chủ được phép · of an allowed host.")],
) -> None:  # fmt: skip
    """Ghi một webhook; chỉ hiện khóa ký một lần · Enter a webhook; its signing secret is shown this once."""
    from sdi.service.feed import call
    from sdi.service.feed.offered import are_told

    at = desk(context)
    call.Allowed.of(at.settings.webhook_hosts, plain=at.settings.webhook_http).checked(url)
    found = at.registry.layers.get(layer)
    with owner_of(at) as owner:
        with _reading(at) as reader:
            asks = read(reader, at.registry).agency(agency)
        if found is None or not are_told(found) or not sees(asks, found):
            raise NotFound(
                f"There is no layer '{layer}' with changes for '{agency}'.{nearest(layer, at.registry.layers)}"
            )
        number, secret = register.add(owner, agency, layer, url)
    show.say(f"✓ {number}: {agency}, {layer}. Khóa ký, không xem lại được · the signing secret, not shown again:")
    show.out.print(call.secret_text(secret), markup=False)


@webhooks.command("list")
def list_(
    context: typer.Context,
    removed: Annotated[bool, typer.Option("--all", help="Cả webhook đã xóa · Removed ones too.")] = False,
    json: Json = False,
) -> None:
    """Các webhook và lần gọi gần nhất · The webhooks, and how their last calls went."""
    with owner_of(desk(context)) as owner:
        found = register.listed(owner, removed=removed)
    if json:
        show.machine([each.__dict__ for each in found])
        return
    rows = [
        (each.webhook_id, each.agency, each.layer, each.url, _day(each.told_at), each.attempts or "",
         _day(each.next_at), _day(each.gave_up_at), each.outcome or "")
        for each in found
    ]  # fmt: skip
    show.table(["nr", "agency", "layer", "url", "told UTC", "failed", "next UTC", "gave up UTC", "outcome"], rows,
               desk(context).language, right=["nr", "failed"])  # fmt: skip


@webhooks.command("remove")
def remove(context: typer.Context, number: Number) -> None:
    """Xóa một webhook · Call it no more."""
    with owner_of(desk(context)) as owner:
        register.remove(owner, number)
    show.say(f"✓ {number}")


@webhooks.command("resume")
def resume(context: typer.Context, number: Number) -> None:
    """Gọi lại webhook đã ngừng gọi · Call one again that was given up, or that waits for its next attempt."""
    with owner_of(desk(context)) as owner:
        register.resume(owner, number)
    show.say(f"✓ {number}")


@webhooks.command("deliver")
def deliver(context: typer.Context) -> None:
    """Gọi một lượt các webhook có tin mới · Look once at every webhook, and call those that have news."""
    at = desk(context)
    with owner_of(at) as owner, _reading(at) as reader:
        _once(at, owner, reader, Marks())


@webhooks.command("run")
def run(context: typer.Context) -> None:
    """Gọi các webhook mỗi khi có thay đổi, đến khi Ctrl-C · Call them whenever something changed, until Ctrl-C."""
    at = desk(context)
    with owner_of(at) as owner, _reading(at) as reader:
        marks = Marks()
        while True:
            _once(at, owner, reader, marks)
            register.wait(reader, EVERY)


def _once(at: Desk, owner: Connection, reader: Connection, marks: Marks) -> None:
    from sdi.service.feed import deliver as calls

    with engine.translated():
        for outcome in calls.deliver(owner, reader, at.registry, at.settings, marks):
            if outcome.told is not None:
                show.say(f"{'✓' if outcome.told else '✗'} {outcome.webhook_id}: {outcome.words}")


@contextmanager
def _reading(at: Desk) -> Iterator[Connection]:
    with engine.connect(engine.database_url(at.settings), engine.STEWARD, application="sdi-webhooks") as connection:
        yield connection


def _day(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if moment else ""
