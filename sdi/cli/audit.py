"""`sdi audit`: who read and who wrote, and whether the trail of it is whole."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from sdi.cli import show
from sdi.cli.app import Desk, Json, app, desk
from sdi.contract.query import instant
from sdi.report.words import number
from sdi.store import engine
from sdi.store.audit import chain, proof, search, spool

audit = typer.Typer(help="Nhật ký truy cập · The audit trail.", no_args_is_help=True)
app.add_typer(audit, name="audit")


def _owner(at: Desk) -> engine.Connection:
    return engine.connect(engine.database_url(at.settings, start=False), engine.OWNER, application="sdi-audit")


@audit.command("verify")
def verify(
    context: typer.Context,
    anchor: Annotated[
        list[str] | None, typer.Option(metavar="SEQ:HASH", help="Mốc đã giữ ở nơi khác · An anchor kept elsewhere.")
    ] = None,
    anchors: Annotated[
        Path | None,
        typer.Option(metavar="FILE", exists=True, help="Tệp mốc, mỗi dòng một mốc · A file of anchors, one a line."),
    ] = None,
    json: Json = False,
) -> None:
    """Kiểm chuỗi băm; mã thoát 1 nếu có dòng bị sửa, xóa, chèn, đổi chỗ · Verify the chain; exit code 1 if it fails."""
    given = [*(anchor or []), *(anchors.read_text(encoding="utf-8").splitlines() if anchors else [])]
    kept = [chain.Anchor.parse(text) for text in given if text.strip()]
    at = desk(context)
    with _owner(at) as connection:
        found = proof.verify(connection, kept)
    if json:
        show.machine({
            "holds": found.holds, "entries": found.entries, "removed": found.removed, "head": str(found.head),
            "anchors": len(kept), "faults": [fault.__dict__ for fault in found.faults], "more": found.more,
        })  # fmt: skip
    else:
        for fault in found.faults:
            show.out.print(f"✗ {fault.seq}: {fault.kind}: {fault.what}", markup=False)
        if found.more:
            show.out.print(f"✗ +{found.more}", markup=False)
        mark = "✓" if found.holds else "✗"
        entries, removed = (number(count, at.language) for count in (found.entries, found.removed))
        show.out.print(f"{mark} {entries} + {removed} removed · head {found.head}", markup=False)
        if not kept:
            show.say("Chưa so với mốc nào giữ ở nơi khác · Not held against an anchor that is kept elsewhere.")
    if not found.holds:
        sys.exit(1)


@audit.command("anchor")
def anchor(context: typer.Context) -> None:
    """In mốc cuối chuỗi để giữ ở nơi khác · Print the head of the chain, to be kept where no one here can change it."""
    with _owner(desk(context)) as connection:
        show.out.print(str(chain.head(connection)), markup=False)


@audit.command("search")
def search_(
    context: typer.Context,
    agency: Annotated[str | None, typer.Option(help="Mã cơ quan · Who read or wrote.")] = None,
    action: Annotated[str | None, typer.Option(
        help="Việc gì: item, export, grant, agency_key, request, refused … · What was done.")] = None,
    layer: Annotated[list[str] | None, typer.Option(help="Mã lớp · Of this layer.")] = None,
    feature: Annotated[str | None, typer.Option(help="Mã đối tượng, như thửa đất · Of this feature, a parcel.")] = None,
    from_: Annotated[str | None, typer.Option("--from", metavar="DATE", help="Từ, UTC · From then on, UTC.")] = None,
    to: Annotated[str | None, typer.Option("--to", metavar="DATE", help="Đến trước, UTC · Before then, UTC.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=search.MOST, help="Nhiều nhất · At most.")] = 100,
    json: Json = False,
) -> None:  # fmt: skip
    """Tìm trong nhật ký, mới nhất trước · Search the trail, the newest first."""
    wanted = search.Wanted(agency, action, layer, feature, _moment(from_), _moment(to), limit=limit)
    with _owner(desk(context)) as connection:
        found = search.find(connection, wanted)
        about = {"agency": agency, "layers": layer or [], "asked": [feature] if feature else [], "sought": action}
        chain.write(connection, "search", {"found": len(found), "from": from_, "to": to, **about})
    if json:
        show.machine([entry.to_json() for entry in found])
        return
    show.table(["seq", "at", "agency", "member", "action", "layers", "count", "status"], [_row(each) for each in found],
               desk(context).language, right=["seq", "count", "status"])  # fmt: skip


def _row(entry: search.Entry) -> list[Any]:
    body = entry.body
    counts = [told["count"] for told in (body, *body.get("reads", ())) if "count" in told]
    action = f"{body['action']} {body['operation']}" if "operation" in body else body["action"]
    return [entry.seq, body["at"][:19], body.get("agency"), body.get("member") or body.get("login"), action,
            ", ".join(body.get("layers", ())), sum(counts) if counts else None, body.get("status")]  # fmt: skip


@audit.command("retain")
def retain(
    context: typer.Context,
    before: Annotated[
        str, typer.Option(metavar="DATE", help="Bỏ các tháng trọn trước ngày này · Whole months before.")
    ],
    reason: Annotated[str, typer.Option(help="Căn cứ · Why, as the rule of retention says.")],
) -> None:
    """Bỏ các tháng đã hết hạn lưu, giữ lại băm · Remove whole months whose time is over; their hashes stay."""
    moment = _moment(before)
    assert moment is not None
    at = desk(context)
    with _owner(at) as connection:
        show.say(f"✓ {number(chain.retain(connection, moment, reason), at.language)}")


@audit.command("status")
def status(context: typer.Context, json: Json = False) -> None:
    """Đầu chuỗi, và những gì chưa vào cơ sở dữ liệu · The head, and what is not in the database yet."""
    at = desk(context)
    folder = spool.folder_of(at.settings.data, engine.database_url(at.settings, start=False))
    with _owner(at) as connection:
        head = chain.head(connection)
    waiting = spool.held(folder)
    if json:
        show.machine({"head": str(head), "folder": str(folder), "files": waiting})
        return
    show.out.print(f"head {head}", markup=False)
    for name, size in waiting.items():
        show.out.print(f"{folder / name}: {number(size, at.language)}", markup=False)


@audit.command("collect")
def collect(context: typer.Context) -> None:
    """Đưa vào chuỗi các tệp mà tiến trình đã mất để lại · Bring in the files that dead processes have left."""
    at = desk(context)
    url = engine.database_url(at.settings, start=False)
    added = 0
    with engine.connect(url, engine.RECORDER, application="sdi-audit") as connection:
        for found in spool.left(spool.folder_of(at.settings.data, url)):
            added += chain.collect(connection, found)
    show.say(f"✓ {number(added, at.language)}")


def _moment(text: str | None) -> datetime | None:
    return None if text is None else instant(text)[0].astimezone(UTC)
