"""`sdi genealogy`, `sdi reform`: what features came from and became, and how they follow an administrative reform."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

import typer

from sdi.cli import show
from sdi.cli.app import Json, LayerId, app, desk
from sdi.cli.deliveries import Steward, login
from sdi.errors import UsageError
from sdi.report.words import number


@app.command("genealogy")
def genealogy(
    context: typer.Context,
    layer: LayerId,
    feature: Annotated[str, typer.Argument(metavar="ID", help="Mã đối tượng · Feature id.", show_default=False)],
    json: Json = False,
) -> None:
    """Nguồn gốc và biến động của một đối tượng · What a feature came from, and what became of it."""
    from sdi import pipeline
    from sdi.store import genealogy as kin

    at = desk(context)
    found = at.registry[layer]
    with pipeline.reading(at.settings, needed=True) as connection:
        assert connection is not None
        ancestors, descendants = kin.relatives(connection, found, feature)
    if json:
        show.machine({
            "layer": found.id, "id": feature,
            "ancestors": [each.relation.to_json() | {"generation": each.generation} for each in ancestors],
            "descendants": [each.relation.to_json() | {"generation": each.generation} for each in descendants],
        })  # fmt: skip
        return
    words = WORDS[at.language]
    for title, side, here, there in (
        (words["parents"], ancestors, "child", "parent"),
        (words["children"], descendants, "parent", "child"),
    ):
        show.out.print(f"{feature} · {title}:{'' if side else ' ' + words['none']}", markup=False)
        for line in _tree(side, feature, here, there, at.language):
            show.out.print(line, markup=False)


def tell_parents(ancestors: list[Any], descendants: list[Any], language: str) -> None:
    """Parents and children of the first generation, in two lines, below the versions of a feature."""
    words = WORDS[language]
    for title, side, there in ((words["parents"], ancestors, "parent"), (words["children"], descendants, "child")):
        near = [
            f"{getattr(each.relation, there)} ({words[each.relation.kind]})" for each in side if each.generation == 1
        ]
        if near:
            show.out.print(f"{title}: {', '.join(near)}", markup=False)


def _tree(side: list[Any], feature: str, here: str, there: str, language: str) -> list[str]:
    """Lines of a tree; a feature that comes again is named, and its branch not drawn again."""
    words = WORDS[language]
    below: dict[str, list[Any]] = {}
    for each in side:
        below.setdefault(getattr(each.relation, here), []).append(each.relation)
    lines: list[str] = []
    drawn: set[str] = set()

    def draw(name: str, depth: int) -> None:
        if name in drawn:
            return
        drawn.add(name)
        for relation in below.get(name, []):
            measured = "" if relation.shared_m2 is None else (
                f", {number(relation.shared_m2, language, 1)} m²"
                f" ({relation.share_of_parent:.0f} % → {relation.share_of_child:.0f} %)"
            )  # fmt: skip
            told = f"{words[relation.kind]}, {words['load']} {relation.origin}, {words[relation.told_by]}{measured}"
            lines.append(f"{'  ' * depth}└ {getattr(relation, there)}  {told}")
            draw(getattr(relation, there), depth + 1)

    draw(feature, 0)
    return lines


@app.command("reform")
def reform(
    context: typer.Context,
    layer: LayerId,
    on: Annotated[str, typer.Option(metavar="YYYY-MM-DD", help="Ngày hiệu lực · The first day of the new units.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Chỉ xem trước · Only tell what would be done.")] = False,
    steward: Steward = None,
    json: Json = False,
) -> None:
    """Cấp mã đơn vị hành chính mới theo vị trí · Give features the codes of the administrative units in force."""
    from sdi import pipeline
    from sdi.cli.database import migrated

    at = desk(context)
    try:
        day = date.fromisoformat(on)
    except ValueError:
        raise UsageError(f"'{on[:40]}' is not a day.", hint="Write 2025-07-01.") from None
    with migrated(at) as connection:
        if dry_run:
            done = pipeline.plan_reform(connection, at.registry, layer, day)
        else:
            done = pipeline.reform(connection, at.settings, at.registry, layer, day, steward=steward or login())
    if json:
        show.machine(done.to_json())
        return
    _tell(done, at.language)


def _tell(done: Any, language: str) -> None:
    words = WORDS[language]
    rows = [(old, new, words[how], number(count, language)) for (old, new, how), count in done.plan.moves.items()]
    if rows:
        show.table([words["old"], words["new"], "", words["count"]], rows, language, right=[words["count"]])
    if done.plan.unplaced_count:
        show.out.print(words["unplaced"].format(count=number(done.plan.unplaced_count, language)), markup=False)
        show.table(
            ["id", words["old"], ""], [(each.id, each.code, words[each.why]) for each in done.plan.unplaced], language
        )
    if done.load is None:
        show.out.print(words["planned"].format(count=number(done.plan.total, language)), markup=False)
        return
    wrote = ", ".join(f"{load.layer} {number(load.written, language)}" for load in done.made if load.written)
    told = words["done"].format(load=done.load.load_id, count=number(done.load.updated, language))
    show.out.print(f"✓ {told}" + (f" → {wrote}" if wrote else ""), markup=False)


WORDS = {
    "vi": {
        "parents": "Hình thành từ", "children": "Trở thành", "none": "không có", "load": "lần nạp",
        "split": "tách thửa", "merge": "hợp thửa", "redivision": "chia lại", "renumbering": "đánh số lại",
        "replacement": "thay thế", "delivery": "theo hồ sơ nộp", "geometry": "theo hình học",
        "both": "theo hồ sơ và hình học", "old": "mã cũ", "new": "mã mới", "count": "đối tượng",
        "alone": "đơn vị kế thừa duy nhất", "place": "theo vị trí", "nowhere": "ngoài các đơn vị kế thừa",
        "boundary": "trên ranh giới", "unknown": "không có đơn vị kế thừa",
        "unplaced": "{count} đối tượng giữ mã cũ:", "planned": "sẽ cấp mã mới cho {count} đối tượng (chưa ghi)",
        "done": "lần nạp {load}: {count} đối tượng thay đổi",
    },
    "en": {
        "parents": "Formed from", "children": "Became", "none": "nothing", "load": "load",
        "split": "split", "merge": "merged", "redivision": "divided anew", "renumbering": "renumbered",
        "replacement": "replaced", "delivery": "told by the delivery", "geometry": "shown by geometry",
        "both": "told and shown", "old": "old code", "new": "new code", "count": "features",
        "alone": "only successor", "place": "by place", "nowhere": "in none of the successors",
        "boundary": "on the boundary", "unknown": "no successor is known",
        "unplaced": "{count} features keep their old code:", "planned": "{count} features would get new codes",
        "done": "load {load}: {count} features changed",
    },
}  # fmt: skip
