"""`sdi agencies`: who layers are shared with, and by which keys they are known to the service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, time, timedelta
from typing import Annotated, Literal

import typer

from sdi.access import Kind
from sdi.cli import show
from sdi.cli.app import Desk, Json, app, desk
from sdi.cli.database import migrated
from sdi.errors import UsageError
from sdi.national.clock import VIETNAM
from sdi.store import engine
from sdi.store.engine import Connection
from sdi.store.sharing import agencies as register
from sdi.store.sharing import grants
from sdi.store.sharing import keys as keys_

agencies = typer.Typer(
    help="Các cơ quan dùng chung dữ liệu, khóa và quyền · Agencies, their keys and grants.", no_args_is_help=True
)
app.add_typer(agencies, name="agencies")

Id = Annotated[str, typer.Argument(metavar="AGENCY", help="Mã cơ quan · Its id (sdi agencies list).")]
Day = Annotated[datetime | None, typer.Option(metavar="DATE", formats=["%Y-%m-%d"], help="Ngày · YYYY-MM-DD.")]
Why = Annotated[str | None, typer.Option("--why", help="Lý do · The reason.")]
Number = Annotated[int | None, typer.Option("--key", help="Số của khóa · The key's number (sdi agencies keys).")]


@contextmanager
def owner_of(at: Desk) -> Iterator[Connection]:
    """A connection that may change the register, to a database that has it."""
    url = engine.database_url(at.settings)
    with engine.connect(url) as connection:
        there = register.exists(connection)
    if not there:
        migrated(at).close()
    with engine.connect(url, engine.OWNER) as connection:
        yield connection


@agencies.command("add")
def add(
    context: typer.Context, name: Id,
    kind: Annotated[Literal["department", "ward", "province", "utility"], typer.Option(
        help="Sở; xã, phường; tỉnh, thành phố; đơn vị hạ tầng · What it is.")],
    name_vi: Annotated[str, typer.Option("--name-vi", help="Tên tiếng Việt · Its name in Vietnamese.")],
    name_en: Annotated[str, typer.Option("--name-en", help="Tên tiếng Anh · Its name in English.")],
    since: Day = None,
    administrator: Annotated[bool, typer.Option(
        "--administrator", help="Khóa của cơ quan này mở trang quản trị · Its keys open /admin/agencies.")] = False,
) -> None:  # fmt: skip
    """Ghi thêm một cơ quan · Enter an agency."""
    with owner_of(desk(context)) as owner, owner.transaction():
        kind_: Kind = kind
        register.add(owner, name, kind_, name_vi, name_en, since and since.date())
        if administrator:
            register.set_administrator(owner, name, True)
    show.say(f"✓ {name}")


@agencies.command("administrator")
def administrator(
    context: typer.Context, name: Id,
    off: Annotated[bool, typer.Option("--off", help="Thôi quyền quản trị · Take it back.")] = False,
) -> None:  # fmt: skip
    """Cho khóa của cơ quan mở trang quản trị · Let its keys open the page /admin/agencies."""
    at = desk(context)
    with owner_of(at) as owner, owner.transaction():
        enter_steward(at, owner, name)
        register.set_administrator(owner, name, not off)
    show.say(f"✓ {name}")


@agencies.command("merge")
def merge(
    context: typer.Context, name: Id,
    into: Annotated[str, typer.Argument(metavar="INTO", help="Cơ quan kế thừa · Which succeeds it.")],
    why: Annotated[str, typer.Option(help="Căn cứ sáp nhập · The reason, e.g. the decision.", prompt=True)],
    on: Day = None,
) -> None:  # fmt: skip
    """Sáp nhập một cơ quan vào cơ quan khác · Its keys act for INTO and its grants are INTO's from that day on."""
    at = on and datetime.combine(on.date(), time(), VIETNAM)
    with owner_of(desk(context)) as owner:
        register.merge(owner, name, into, why, at=at)
    show.say(f"✓ {name} → {into}")


@agencies.command("unmerge")
def unmerge(
    context: typer.Context, name: Id,
    why: Annotated[str, typer.Option(help="Lý do · The reason.", prompt=True)],
) -> None:  # fmt: skip
    """Hủy việc sáp nhập, khóa và quyền lại là của cơ quan · Undo a merger: keys and grants are its own again."""
    with owner_of(desk(context)) as owner:
        register.unmerge(owner, name, why)
    show.say(f"✓ {name}")


@agencies.command("key")
def key(
    context: typer.Context, name: Id,
    holder: Annotated[str | None, typer.Option("--name", help="Người hoặc máy dùng khóa · Who acts with it.")] = None,
    note: Annotated[str | None, typer.Option(help="Để làm gì · What for.")] = None,
    days: Annotated[int, typer.Option(min=0, help="Hiệu lực, ngày; 0: vô hạn · Days it opens; 0: no end.")] = 365,
) -> None:  # fmt: skip
    """Cấp một khóa mới; chỉ hiện một lần · Make a key; it is shown this once."""
    at = desk(context)
    until = datetime.now(UTC) + timedelta(days=days) if days else None
    with owner_of(at) as owner, owner.transaction():
        enter_steward(at, owner, name)
        made = keys_.make_key(owner, name, note, name=holder, expires_at=until)
    _hand_over(name, made)


@agencies.command("rotate-key")
def rotate_key(
    context: typer.Context, name: Id, number: Number = None,
    overlap: Annotated[float, typer.Option(min=0, help="Khóa cũ còn dùng được, giờ · Hours the old one lasts.")] = 24.0,
) -> None:  # fmt: skip
    """Đổi khóa: khóa mới dùng ngay, khóa cũ hết hạn sau ít giờ · A new key; the old one ends some hours later."""
    with owner_of(desk(context)) as owner:
        made = keys_.rotate(owner, name, number, overlap=overlap)
    _hand_over(name, made)


def _hand_over(name: str, made: str) -> None:
    show.say(
        f"Tên · user: {name}. Mật khẩu là khóa dưới đây, không xem lại được · The password is this key, kept nowhere:"
    )
    show.out.print(made, markup=False)


@agencies.command("keys")
def keys(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[AGENCY]", help="Mã cơ quan · Its id.")] = None,
    json: Json = False,
) -> None:
    """Các khóa đã cấp · Every key that was ever made, without what opens anything."""
    with owner_of(desk(context)) as owner:
        found = keys_.keys(owner, name)
    if json:
        show.machine([each.__dict__ for each in found])
        return
    rows = [
        (each.key_id, each.agency, each.name, _moment(each.created_at), _moment(each.expires_at),
         _moment(each.revoked_at), each.note)
        for each in found
    ]  # fmt: skip
    show.table(["key", "agency", "name", "made UTC", "expires UTC", "revoked UTC", "note"], rows,
               desk(context).language, right=["key"])  # fmt: skip


@agencies.command("revoke")
def revoke(
    context: typer.Context, name: Id,
    number: Number = None,
    grant: Annotated[int | None, typer.Option("--grant", help="Số của quyền · The grant's number.")] = None,
    why: Why = None,
) -> None:  # fmt: skip
    """Thu hồi một khóa, một quyền, hoặc tất cả của cơ quan; có hiệu lực ngay · End a key, a grant, or all, at once."""
    at = desk(context)
    if number is not None and grant is not None:
        raise UsageError("Say --key or --grant.", hint="Without either all keys and grants of the agency end.")
    if number is not None:
        with owner_of(at) as owner:
            show.say(f"✓ {name}: {keys_.revoke(owner, name, number)}")
        return
    reason = why or asked("Lý do · Why", "--why")
    with owner_of(at) as owner, owner.transaction():
        if grant is not None:
            _of_agency(owner, name, grant)
            grants.revoke(owner, grant, reason)
            show.say(f"✓ {name}: {grant}")
            return
        ended = grants.revoke_all(owner, name, reason)
        standing = [each for each in keys_.keys(owner, name) if each.revoked_at is None]
        count = keys_.revoke(owner, name) if standing else 0
    show.say(f"✓ {name}: khóa · keys {count}, quyền · grants {ended}")


def _of_agency(connection: Connection, name: str, grant: int) -> None:
    if not any(each.grant.grant_id == grant for each in grants.given(connection, agency=name)):
        raise UsageError(f"'{name[:100]}' has no grant {grant} that stands.", hint="See 'sdi agencies list'.")


def asked(question: str, option: str) -> str:
    """What a person at the terminal answers. Raises UsageError where none sits there."""
    if not typer.get_text_stream("stdin").isatty():
        raise UsageError(f"{option} is missing.", hint="Say it; nobody can be asked here.")
    said: str = typer.prompt(question)
    return said


def enter_steward(at: Desk, owner: Connection, name: str) -> None:
    """An agency that contracts name as a steward needs no entering of its own: they have its name."""
    if name in {each.id for each in register.entries(owner)}:
        return
    for layer in at.registry:
        if layer.steward.id == name:
            register.add(owner, name, "department", layer.steward.name.vi, layer.steward.name.en)
            return


def _moment(moment: datetime | None) -> str | None:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}" if moment else None
