"""`sdi history`, `diff`, `rollback`: what was loaded when and by whom, what changed, and how to take it back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sdi.cli import show, target
from sdi.cli.app import Json, LayerId, app, desk
from sdi.cli.deliveries import Steward, login
from sdi.cli.lineage import tell_parents
from sdi.cli.quality import list_waivers
from sdi.contract.layer import Layer
from sdi.report.words import number

State = Annotated[
    str, typer.Argument(help="Lần nạp, ngày, hoặc now · A load id, a date or instant, or 'now'.", show_default=False)
]
ToFile = Annotated[
    Path | None,
    typer.Option(
        "--to", metavar="FILE.gpkg", callback=target.changes, help="Ghi ra GeoPackage · Write before/after/changes."
    ),
]
First = Annotated[int, typer.Option(help="Số dòng · Rows.", min=0)]
_LONGEST = 40
"""Characters of a value in a table."""


@app.command("history")
def history(
    context: typer.Context,
    layer: Annotated[str | None, typer.Argument(metavar="[LAYER]", help="Mã lớp · Layer id.")] = None,
    feature: Annotated[str | None, typer.Argument(metavar="[ID]", help="Mã đối tượng · Feature id.")] = None,
    limit: First = 30,
    json: Json = False,
) -> None:
    """Sổ các lần nạp; các phiên bản của một đối tượng · The ledger of loads; the versions of one feature."""
    from sdi import pipeline
    from sdi.store import genealogy, ledger, waiver
    from sdi.store import history as past

    at = desk(context)
    found = at.registry[layer] if layer is not None else None
    with pipeline.reading(at.settings, needed=True) as connection:
        assert connection is not None
        if found is not None and feature is not None:
            states = past.versions(connection, found, feature)
            kin = genealogy.relatives(connection, found, feature) if found.genealogy else ([], [])
            waived = [each for each in waiver.every(connection, found.id) if each.feature == feature]
        else:
            entries = ledger.history(connection, found.id if found else None, limit)
            waived = waiver.every(connection, found.id if found else None)[:limit]
    if found is not None and feature is not None:
        _versions(found, states[-limit:] if limit else [], at.language, json)
        if not json:
            tell_parents(*kin, at.language)
            _waivers(waived, at.language)
    elif json:
        show.machine([entry.__dict__ for entry in entries])
    else:
        _ledger(entries, at.language)
        _waivers(waived, at.language)


def _waivers(given: list[Any], language: str) -> None:
    if given:
        show.out.print("\n[bold]Cho qua · Waivers[/bold]")
        list_waivers(given, language)


def _ledger(entries: list[Any], language: str) -> None:
    rows = [
        (entry.load_id, entry.layer, entry.status, entry.mode, f"{entry.started_at:%Y-%m-%d %H:%M}", entry.steward,
         _source(entry), entry.encoding, entry.crs_used, entry.operation, *_counts(entry))
        for entry in entries
        # A derived layer that was looked at and did not change is no news; --json has it.
        if entry.cause is None or any(_counts(entry)[1:4])
    ]  # fmt: skip
    counts = ["read", "+", "~", "-", "=", "held"]
    names = ["load", "layer", "status", "mode", "started UTC", "steward", "file", "text", "crs", "op"]
    show.table([*names, *counts], rows, language, right=["load", *counts])


def _source(entry: Any) -> str:
    """The file; of a rollback the load that came back, of a derived layer the load that changed it."""
    if entry.restores is not None:
        return f"⤺ {entry.restores or '∅'}"
    return str(entry.file_name or f"← {entry.cause}")


def _counts(entry: Any) -> tuple[int, ...]:
    return entry.read, entry.inserted, entry.updated, entry.deleted, entry.unchanged, entry.quarantined


def _versions(layer: Layer, states: list[Any], language: str, json: bool) -> None:
    if json:
        show.machine([state.to_json() for state in states])
        return
    words = WORDS[language]
    rows = [
        (state.load_id, _moment(state.known_from), _moment(state.known_to), state.valid_from, state.valid_to,
         state.steward, _source(state), _what(state, layer, language))
        for state in states
    ]  # fmt: skip
    names = ["known_from", "known_to", "valid_from", "valid_to", "steward", "file", "change"]
    show.table([words["load"], *(words[name] for name in names)], rows, language, right=[words["load"]])


def _what(state: Any, layer: Layer, language: str) -> str:
    words, said = WORDS[language], _changed(state.changed, layer, language)
    said += [words["reshaped"]] if state.reshaped else []
    said += [words["ended_by"].format(who=state.ended_by)] if state.ended_by else []
    return "; ".join(said)


@app.command("diff")
def diff(
    context: typer.Context, layer: LayerId, a: State, b: State, to: ToFile = None, limit: First = 20, json: Json = False
) -> None:
    """So sánh hai trạng thái của một lớp · What differs between two states of a layer."""
    from sdi import pipeline
    from sdi.store import difference
    from sdi.store import history as past

    at = desk(context)
    found = at.registry[layer]
    with pipeline.reading(at.settings, needed=True) as connection:
        assert connection is not None
        before, after = (past.resolve(connection, found, word) for word in (a, b))
        counted = difference.diff(connection, found, before, after)
        first = difference.changes(connection, found, before, after, limit)
        if to:
            pipeline.write_difference(connection, found, before, after, to)
    if json:
        show.machine(counted.__dict__ | {"changes": [change.to_json() for change in first]})
        return
    _told(found, counted, first, at.language)
    if to:
        show.say(f"✓ {number(counted.total, at.language)} → {to}")


def _told(layer: Layer, counted: Any, first: list[Any], language: str) -> None:
    words = WORDS[language]
    states = (f"{words['load']} {load}" if load else words["nothing_yet"] for load in (counted.before, counted.after))
    show.out.print(f"{counted.layer}  {' → '.join(states)}: {_counted(counted, language)}", markup=False)
    if counted.changed:
        told = [(_title(layer, name, language), count) for name, count in counted.attributes.items()]
        told += [(words["geometry"], counted.reshaped)] if counted.reshaped else []
        parts = [f"{what} × {number(count, language)}" for what, count in told]
        show.out.print(f"  {' · '.join(parts)}", markup=False)
    rows = [
        (change.id, words[change.kind], change.load_id, _pairs(change, layer, language),
         *(_metres(value, language) for value in (change.moved, change.area_before, change.area_after)))
        for change in first
    ]  # fmt: skip
    if rows:
        measured = [words[name] for name in ("moved", "area_before", "area_after")]
        show.table(
            ["id", "", words["load"], words["change"], *measured], rows, language, right=[words["load"], *measured]
        )
    if counted.total > len(rows):
        show.out.print(f"  … {number(counted.total - len(rows), language)} {words['more']}", markup=False)


def _pairs(change: Any, layer: Layer, language: str) -> str:
    return "; ".join(_changed(change.attributes, layer, language)) if change.kind == "changed" else ""


def _changed(attributes: dict[str, Any], layer: Layer, language: str) -> list[str]:
    """What attributes were and are, by their titles."""
    pairs = attributes.items()
    return [f"{_title(layer, name, language)}: {_short(old)} → {_short(new)}" for name, (old, new) in pairs]


def _title(layer: Layer, name: str, language: str) -> str:
    """An attribute's title; the name of what the contract does not have any more."""
    return layer.by_name[name].title.in_language(language) if name in layer.by_name else name


@app.command("rollback")
def rollback(
    context: typer.Context,
    layer: LayerId,
    to: Annotated[
        int,
        typer.Option(metavar="LOAD", help="Lần nạp cần quay về; 0: chưa có gì · The state to come back; 0: nothing."),
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Không hỏi lại · Do not ask.")] = False,
    steward: Steward = None,
    json: Json = False,
) -> None:
    """Đưa một lớp về trạng thái của một lần nạp cũ · Bring a layer back to a load's state, by a load of its own."""
    from sdi import pipeline
    from sdi.cli.database import migrated
    from sdi.store import difference, ledger, restore
    from sdi.store import history as past

    at = desk(context)
    found = at.registry[layer]
    words = WORDS[at.language]
    with migrated(at) as connection:
        restore.may_restore(connection, found, to)
        now = past.resolve(connection, found, "now")
        counted = difference.diff(connection, found, now, to)
        if not yes:
            undone = [entry for entry in ledger.history(connection, found.id, 10_000)
                      if entry.load_id > to and entry.status == "done"]  # fmt: skip
            _announce(counted, undone, at.language)
            if not typer.confirm(words["sure"], err=True):
                raise typer.Exit(1)
        done = pipeline.rollback(connection, at.settings, at.registry, found.id, to, steward=steward or login())
    if json:
        show.machine(done.to_json())
        return
    wrote = ", ".join(f"{load.layer} {number(load.written, at.language)}" for load in done.made if load.written)
    counts = _counted(counted, at.language)
    way = "rolled_back" if to else "emptied"
    told = words[way].format(load=done.load.load_id, to=to, counts=counts)
    show.out.print(f"✓ {told}" + (f" → {wrote}" if wrote else ""), markup=False)
    show.say(words["undo"].format(command=f"sdi rollback {found.id} --to {now}"))


def _counted(counted: Any, language: str) -> str:
    words = WORDS[language]
    return ", ".join(
        f"{number(getattr(counted, name), language)} {words[name]}" for name in ("added", "changed", "ended")
    )


def _announce(counted: Any, undone: list[Any], language: str) -> None:
    """What a rollback would do, told beside the question."""
    words = WORDS[language]
    show.say(f"{counted.layer}: {_counted(counted, language)}")
    for entry in undone:
        written = f"+{entry.inserted} ~{entry.updated} -{entry.deleted}"
        show.say(f"  − {words['load']} {entry.load_id} · {entry.started_at:%Y-%m-%d %H:%M} · {entry.steward} ·"
                 f" {_source(entry)} · {written}")  # fmt: skip


def _moment(value: Any) -> str:
    return f"{value:%Y-%m-%d %H:%M:%S}" if value else ""


def _metres(value: float | None, language: str) -> str:
    return "" if value is None else number(value, language, 2)


def _short(value: Any) -> str:
    text = "–" if value is None or value == [] else _plain(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _plain(value: Any) -> str:
    """A value without the marks of JSON: the items of a list one after the other, each by its values."""
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    if isinstance(value, dict):
        return " ".join(str(each) for each in value.values() if each is not None)
    return str(value)


WORDS = {
    "vi": {
        "load": "lần nạp", "known_from": "biết từ (UTC)", "known_to": "đến", "valid_from": "hiệu lực từ",
        "valid_to": "đến hết", "steward": "người nộp", "file": "tệp", "change": "thay đổi",
        "reshaped": "hình học thay đổi", "ended_by": "kết thúc bởi {who}", "added": "thêm mới", "changed": "thay đổi",
        "ended": "kết thúc", "geometry": "hình học", "moved": "dịch (m)", "area_before": "m² trước",
        "area_after": "m² sau", "more": "đối tượng nữa (--limit, --to)", "nothing_yet": "chưa có gì",
        "sure": "Quay về trạng thái này?", "rolled_back": "lần nạp {load} đưa lớp về lần nạp {to}: {counts}",
        "emptied": "lần nạp {load} đưa lớp về lúc chưa có gì: {counts}", "undo": "Để hoàn tác: {command}",
    },
    "en": {
        "load": "load", "known_from": "known from (UTC)", "known_to": "to", "valid_from": "valid from",
        "valid_to": "until", "steward": "steward", "file": "file", "change": "change",
        "reshaped": "geometry changed", "ended_by": "ended by {who}", "added": "new", "changed": "changed",
        "ended": "ended", "geometry": "geometry", "moved": "moved (m)", "area_before": "m² before",
        "area_after": "m² after", "more": "more (--limit, --to)", "nothing_yet": "nothing yet",
        "sure": "Bring this state back?", "rolled_back": "load {load} brought back the state of load {to}: {counts}",
        "emptied": "load {load} brought back the nothing before the first load: {counts}",
        "undo": "To take it back: {command}",
    },
}  # fmt: skip
