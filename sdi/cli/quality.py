"""`sdi quarantine`, `waive`, `waivers`, `report`, `quality`: what became of bad features, and what a steward does."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from sdi.cli import show, target
from sdi.cli.app import Json, LayerId, app, desk
from sdi.cli.database import migrated
from sdi.cli.deliveries import Steward, login
from sdi.cli.headings import heading, our_words
from sdi.errors import UsageError
from sdi.national.clock import VIETNAM
from sdi.report.words import number
from sdi.store.waiver import Waiver

AnyLayer = Annotated[str | None, typer.Argument(metavar="[LAYER]", help="Mã lớp · Layer id.")]
Target = Annotated[
    Path | None,
    typer.Option("--to", callback=target.held, help="Ghi ra tệp · Write to .gpkg, .csv or .geojson."),
]
Rule = Annotated[str, typer.Argument(metavar="RULE", help="Quy tắc · The rule (sdi layers rules).")]
FeatureId = Annotated[str, typer.Argument(metavar="FEATURE", help="Mã đối tượng · The feature's id.")]
UNMET = {
    "vi": "  ! «{layer}» chưa từng có đối tượng «{feature}»; nếu gõ nhầm, hãy rút lại: {command} --revoke",
    "en": "  ! '{layer}' never had a feature '{feature}'; if that is a slip, take it back: {command} --revoke",
}
SHOWN = 50
"""Features that are listed in a terminal; a file has them all."""


@app.command("quarantine")
def quarantine_(
    context: typer.Context, layer: AnyLayer = None,
    load: Annotated[int | None, typer.Option(help="Của lần nạp này · Of this load, whatever became of them.")] = None,
    to: Target = None, json: Json = False,
) -> None:  # fmt: skip
    """Đối tượng bị cách ly, chờ sửa · Features that were not loaded and wait to be corrected."""
    from sdi.pipeline import quality, reading
    from sdi.store import quarantine
    from sdi.store.quality import delivery

    at = desk(context)
    found = at.registry[layer] if layer is not None else None
    if to is not None and found is None:
        raise UsageError("A file holds the features of one layer.", hint="sdi quarantine LAYER --to FILE")
    with reading(at.settings, needed=True) as connection:
        assert connection is not None
        if load is not None:
            delivery(connection, load, layer)
        if to is not None and found is not None:
            count = quality.write_quarantine(connection, found, to, load)
            show.say(f"✓ {number(count, at.language)} → {to}")
            return
        rows = list(quarantine.held(connection, layer, load_id=load, limit=None if json else SHOWN + 1))
    if json:
        shown = [{name: value for name, value in row.__dict__.items() if name != "geom"} for row in rows]
        show.machine(shown)
        return
    told = [(row.load_id, row.layer, row.source_row, row.id, row.state, row.en if at.language == "en" else row.vi)
            for row in rows[:SHOWN]]  # fmt: skip
    show.table(["load", "layer", "row", "feature", "state", "why"], told, at.language, right=["load", "row"])
    if len(rows) > SHOWN:
        show.say("… --to FILE.gpkg: tất cả · all of them")


@app.command("waive")
def waive(
    context: typer.Context, layer: LayerId, rule: Rule, feature: FeatureId,
    reason: Annotated[str, typer.Option(help="Lý do · Why it may pass.")] = "",
    until: Annotated[str | None, typer.Option(metavar="DATE", help="Ngày cuối còn hiệu lực · The last day.")] = None,
    steward: Steward = None,
    revoke: Annotated[bool, typer.Option("--revoke", help="Rút lại · Take a waiver back.")] = False,
) -> None:  # fmt: skip
    """Cho một đối tượng qua một quy tắc, có lý do · Let a feature pass a rule from its next load on."""
    from sdi.store import waiver

    at = desk(context)
    found = at.registry[layer]
    who = steward or login()
    with migrated(at) as connection:
        if revoke:
            waiver.revoke(connection, found, rule, feature, steward=who)
            show.say(f"✓ {layer} {feature}: {rule} ({who}). Đã rút lại · Taken back.")
            return
        given = waiver.give(connection, found, rule, feature, reason=reason, steward=who, until=_day(until))
        known = waiver.is_known(connection, found, feature)
    last = f" → {given.until:%d/%m/%Y}" if given.until else ""
    show.say(f"✓ {layer} {feature}: {rule}{last} ({who}). Có hiệu lực từ lần nạp tới · It holds from the next load on.")
    if not known:
        show.say(UNMET[at.language].format(layer=layer, feature=feature, command=f"sdi waive {layer} {rule} {feature}"))


@app.command("waivers")
def waivers(context: typer.Context, layer: AnyLayer = None, json: Json = False) -> None:
    """Sổ các phát hiện được cho qua · Every waiver that was ever given."""
    from sdi.pipeline import reading
    from sdi.store import waiver

    at = desk(context)
    if layer is not None:
        layer = at.registry[layer].id
    with reading(at.settings, needed=True) as connection:
        assert connection is not None
        found = waiver.every(connection, layer)
    if json:
        show.machine([each.__dict__ for each in found])
        return
    list_waivers(found, desk(context).language)


def list_waivers(found: Sequence[Waiver], language: str) -> None:
    """Waivers as a table, the newest first."""
    rows = [
        (each.layer, each.rule, each.feature, each.state, each.reason, each.steward,
         f"{each.given_at:%Y-%m-%d %H:%M}", each.until, each.revoked_by)
        for each in found
    ]  # fmt: skip
    names = ["layer", "rule", "feature", "state", "reason", "steward", "given UTC", "until", "revoked by"]
    show.table(names, rows, language)


@app.command("report")
def report(
    context: typer.Context,
    what: Annotated[
        str, typer.Argument(metavar="LOAD|LAYER", help="Lần nạp, hoặc lần gần nhất của lớp · Load or layer.")
    ],
    to: Annotated[
        Path | None,
        typer.Option("--to", callback=target.page, help="Trang HTML để xem và in · A page to read and print."),
    ] = None,
    findings: Annotated[
        Path | None,
        typer.Option(callback=target.findings, help="Mọi phát hiện ra GeoPackage · All findings for QGIS."),
    ] = None,
) -> None:
    """Biên bản của một lần nộp · What became of a delivery, and what to do next."""
    from sdi.pipeline import quality, reading

    at = desk(context)
    with reading(at.settings, needed=True) as connection:
        assert connection is not None
        account = quality.account_of(connection, at.settings, at.registry, what)
        if findings is not None and account.load_id is not None:
            count = quality.write_findings_of(connection, findings, account.load_id)
            show.say(f"✓ {number(count, at.language)} → {findings}")
    if to is not None:
        quality.write_report(to, account, at.language)
        show.say(f"✓ {heading('load', at.language)} {account.load_id} → {to}")
    if to is None and findings is None:
        title = escape(account.layer.title.in_language(at.language))
        status = our_words("status", at.language).get(account.status, account.status)
        what = f"{heading('load', at.language)} {account.load_id}"
        show.out.print(f"[bold]{title}[/bold] · {what} · {status} · {escape(account.steward)}")
        rows = [(each.rule, each.severity, each.action, number(each.count, at.language)) for each in account.rules]
        show.table(["rule", "severity", "action", "count"], rows, at.language, right=["count"])


@app.command("quality")
def quality_(context: typer.Context, layer: LayerId, json: Json = False) -> None:
    """Chất lượng của một lớp theo ISO 19157 · How good a layer is, by data quality element."""
    from sdi.contract.elements import element
    from sdi.pipeline import reading
    from sdi.store import quality

    at = desk(context)
    found = at.registry[layer]
    with reading(at.settings, needed=True) as connection:
        assert connection is not None
        measures = quality.measures(connection, found.id)
    if json:
        show.machine([
            each.__dict__ | {"title": known.title.model_dump(), "measure": known.measure.model_dump(),
                             "measure_id": known.measure_id}
            for each in measures for known in [element(each.element)]
        ])  # fmt: skip
        return
    rows = [
        (known.title.in_language(at.language), known.measure.in_language(at.language), known.measure_id or "",
         *(number(count, at.language) for count in (each.evaluated, each.faulty, each.waived)),
         f"{number(100 * each.rate, at.language, 4)}%")
        for each in measures for known in [element(each.element)]
    ]  # fmt: skip
    counts = ["evaluated", "faulty", "waived", "rate"]
    show.table(["element", "measure", "№", *counts], rows, at.language, right=["№", *counts])
    if measures:
        show.say(f"{heading('load', at.language)} {measures[0].load_id}, {measures[0].evaluated_at:%Y-%m-%d %H:%M} UTC")


def _day(text: str | None) -> date | None:
    """The last day of a waiver, in Việt Nam. Raises UsageError where there is none to come."""
    try:
        day = date.fromisoformat(text) if text else None
    except ValueError:
        raise UsageError(f"--until {text} is not a date.", hint="Write 2026-12-31.") from None
    if day is not None and day < datetime.now(VIETNAM).date():
        raise UsageError(f"--until {day} is past.", hint="Name a day to come, or leave it out: it holds until revoked.")
    return day
