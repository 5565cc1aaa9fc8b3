"""`sdi requests`: agencies ask for layers; stewards grant, narrow or refuse, in time and with a reason."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, cast

import typer

from sdi.access import Action
from sdi.cli import show
from sdi.cli.agencies import Id, enter_steward, owner_of
from sdi.cli.app import Json, LayerId, app, desk
from sdi.contract.layer import Privacy
from sdi.store.sharing import requests as register
from sdi.store.sharing.requests import Request

requests = typer.Typer(help="Yêu cầu chia sẻ dữ liệu · Requests for layers.", no_args_is_help=True)
app.add_typer(requests, name="requests")

Number = Annotated[int, typer.Argument(metavar="REQUEST", help="Số của yêu cầu · Its number.")]
Classes = Annotated[list[str] | None, typer.Option(
    "--class", metavar="open|agency|restricted", help="Mức thuộc tính · Privacy class.")]  # fmt: skip
Communes = Annotated[list[str] | None, typer.Option("--commune", metavar="CODE", help="Chỉ trong xã · Only in it.")]
Actions = Annotated[list[str] | None, typer.Option("--action", help="Được làm gì · What it may do; read unless said.")]


@requests.command("ask")
def ask(
    context: typer.Context, agency: Id, layer: LayerId,
    purpose: Annotated[str, typer.Option(help="Mục đích · What for.")],
    legal_basis: Annotated[str, typer.Option("--legal-basis", help="Căn cứ pháp lý · On which law.")],
    classes: Classes = None, commune: Communes = None, action: Actions = None,
) -> None:  # fmt: skip
    """Ghi yêu cầu của một cơ quan · Enter what an agency asks for."""
    at = desk(context)
    with owner_of(at) as owner, owner.transaction():
        enter_steward(at, owner, agency)
        number = register.ask(
            owner, at.registry[layer], agency, cast("list[Privacy]", classes or ["agency"]), purpose, legal_basis,
            communes=tuple(commune) if commune else None, actions=cast("list[Action]", action or ["read"]),
        )  # fmt: skip
        asked = register.waiting(owner, number)
    show.say(f"✓ {number}: {agency} → {layer}. Hạn trả lời · to be answered by: {_local(asked.due)}")


@requests.command("list")
def list_(
    context: typer.Context,
    overdue: Annotated[bool, typer.Option("--overdue", help="Chỉ yêu cầu quá hạn · Only overdue ones.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Cả yêu cầu đã trả lời · Also answered ones.")] = False,
    json: Json = False,
) -> None:
    """Các yêu cầu chờ trả lời · What waits for an answer, the oldest first."""
    now = datetime.now(UTC)
    with owner_of(desk(context)) as owner:
        found = [each for each in register.requests(owner, answered=everything) if not overdue or each.overdue(now)]
    if json:
        show.machine([_told(each, now) for each in found])
        return
    rows = [
        (each.request_id, each.agency, each.layer, _what(each), " ".join(sorted(each.actions)), each.legal_basis,
         each.purpose, _local(each.due), "quá hạn · overdue" if each.overdue(now) else "", each.answer or "",
         each.why or "")
        for each in found
    ]  # fmt: skip
    headings = ["request", "agency", "layer", "what", "actions", "legal basis", "purpose", "due", "", "answer", "why"]
    show.table(headings, rows, desk(context).language, right=["request"])


@requests.command("grant")
def grant(
    context: typer.Context, number: Number, classes: Classes = None, commune: Communes = None, action: Actions = None,
    attribute: Annotated[list[str] | None, typer.Option(help="Chỉ thuộc tính này · Only this one.")] = None,
    rows: Annotated[str | None, typer.Option(metavar="CQL2", help="Chỉ đối tượng thỏa · Only such features.")] = None,
    precision: Annotated[Literal["exact", "generalised", "centroid", "none"], typer.Option(
        help="Độ chính xác vị trí · How exactly the place is told.")] = "exact",
    metres: Annotated[float, typer.Option(help="Bước lưới khi khái quát · Step of the grid, metres.")] = 0.0,
    until: Annotated[datetime | None, typer.Option(
        "--to", metavar="DATE", formats=["%Y-%m-%d"], help="Ngày hết quyền · The first day without it.")] = None,
    why: Annotated[str | None, typer.Option(help="Lý do nếu thu hẹp · The reason for less.")] = None,
) -> None:  # fmt: skip
    """Đồng ý, cả hoặc thu hẹp · Grant what was asked for, or less of it with a reason."""
    at = desk(context)
    with owner_of(at) as owner:
        asked = register.waiting(owner, number)
        given = replace(
            asked.wanted(), attributes=tuple(attribute) if attribute else None, rows=rows, precision=precision,
            metres=metres, valid_to=until and until.date(),
        )  # fmt: skip
        given = replace(given, classes=frozenset(cast("list[Privacy]", classes))) if classes else given
        given = replace(given, communes=tuple(commune)) if commune else given
        given = replace(given, actions=frozenset(cast("list[Action]", action))) if action else given
        made = register.grant(owner, at.registry[asked.layer], asked, given, why)
    show.say(f"✓ {number}: {asked.agency} ← {asked.layer}, quyền · grant {made}")


@requests.command("refuse")
def refuse(
    context: typer.Context, number: Number,
    why: Annotated[str, typer.Option(help="Căn cứ từ chối · The legal ground.")],
) -> None:  # fmt: skip
    """Từ chối bằng văn bản, nêu căn cứ · Refuse, with the legal ground."""
    with owner_of(desk(context)) as owner:
        register.refuse(owner, register.waiting(owner, number), why)
    show.say(f"✓ {number}: từ chối · refused")


@requests.command("holiday")
def holiday(
    context: typer.Context,
    day: Annotated[datetime, typer.Argument(metavar="DATE", formats=["%Y-%m-%d"], help="Ngày nghỉ · The day.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Tên ngày lễ · What it is.")],
) -> None:
    """Ghi một ngày nghỉ lễ · Enter a day that is no working day."""
    with owner_of(desk(context)) as owner:
        register.holiday(owner, day.date(), name)
    show.say(f"✓ {day.date()}")


def _what(request: Request) -> str:
    """Classes and communes, as the list of grants has them."""
    return " · ".join(filter(None, ("+".join(sorted(request.classes)), ",".join(request.communes or ()))))


def _told(request: Request, now: datetime) -> dict[str, Any]:
    sets = {name: sorted(getattr(request, name)) for name in ("classes", "actions")}
    return asdict(request) | sets | {"overdue": request.overdue(now)}


def _local(moment: datetime) -> str:
    """The last minute before it, in Viet Nam."""
    return f"{register.last_minute(moment):%Y-%m-%d %H:%M}"
