"""How results look in a terminal: tables, reports, progress; `--json` prints the same facts for machines."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from typing import Any, Literal

from rich import markup
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from sdi.cli.headings import heading, our_words
from sdi.contract.delivery import Delivery
from sdi.contract.layer import Attribute, Item
from sdi.contract.registry import Registry
from sdi.contract.report import Report, gravest_first
from sdi.errors import SdiError, translated
from sdi.report.words import ACTIONS, number

WIDE = 400
"""Columns of what goes into a file or a pipe: nothing is folded there."""
out = Console(soft_wrap=True, highlight=False, width=None if sys.stdout.isatty() else WIDE)
talk = Console(stderr=True, soft_wrap=True, highlight=False)

SHOWN_PER_RULE = 3
COLOURS = {"error": "red", "warning": "yellow", "info": "dim"}


OBEYED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories of what a terminal obeys (escape sequences, the direction of writing) or cannot write."""


def escape(text: str) -> str:
    """Text from a file as a terminal may have it: no markup, no control characters."""
    if not text.isprintable():
        text = "".join("·" if letter != "\n" and unicodedata.category(letter) in OBEYED else letter for letter in text)
    return markup.escape(text)


def say(text: str) -> None:
    """Tell the person at the terminal something that is not a result."""
    talk.print(escape(text))


def complain(error: SdiError, language: str) -> None:
    message, hint = error.in_language(language)
    talk.print(f"[red]✗[/red] {escape(message)}")
    if hint:
        talk.print(f"  → {escape(hint)}")


def misused(error: Any, language: str) -> None:
    """What typer says of a command that cannot be read; of one that only asks for its help, the help."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return
    context = getattr(error, "ctx", None)
    if context is not None:
        usage = context.get_usage()
        for word in ("Usage:", "[OPTIONS]", "COMMAND [ARGS]..."):
            usage = usage.replace(word, translated(word, language, "usage"), 1)
        say(usage)
    talk.print(f"[red]✗[/red] {escape(translated(error.format_message(), language, 'usage'))}")
    if context is not None:
        asked = f"Try '{context.command_path} {context.help_option_names[-1]}' for help."
        talk.print(f"  → {escape(translated(asked, language, 'usage'))}")


def machine(value: Any) -> None:
    """Print JSON, one document."""
    print(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], language: str, right: Sequence[str] = ()) -> None:
    """Columns by their English headings; those and the cells that are words of ours are shown in the language."""
    shown = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        side: Literal["right", "left"] = "right" if column in right else "left"
        shown.add_column(heading(column, language), justify=side, overflow="fold")
    said = [our_words(column, language) for column in columns]
    for row in rows:
        told = ("" if cell is None else str(cell) for cell in row)
        shown.add_row(*(escape(ours.get(cell, cell)) for cell, ours in zip(told, said, strict=True)))
    out.print(shown, soft_wrap=False)


def report(found: Report, language: str) -> None:
    """A report as a steward reads it: the counts, then each rule with what is done for it and its first features, the
    gravest first."""
    words = WORDS[language]
    told = {name: getattr(found, name) for name in ("read", "kept", "quarantined")}
    told |= {"dropped": found.dropped} if found.dropped else {}
    read = " · ".join(f"{words[name]} {number(count, language)}" for name, count in told.items())
    out.print(f"[bold]{escape(found.layer)}[/bold]  {read}")
    counts = found.by_rule()
    for rule, actions in gravest_first(found.findings.by_action()).items():
        findings, count = found.findings.of(rule, SHOWN_PER_RULE), counts[rule]
        colour, done = COLOURS[findings[0].severity], " / ".join(ACTIONS[language][action] for action in actions)
        out.print(f"  [{colour}]●[/{colour}] {done}: {escape(rule)} × {number(count, language)}")
        for finding in findings:
            who = finding.feature or (f"{words['row']} {finding.row}" if finding.row else "")
            out.print(f"      {escape(finding.sentence(language))}" + (f" [dim]({escape(who)})[/dim]" if who else ""))
        if count > SHOWN_PER_RULE:
            out.print(f"      [dim]… {number(count - SHOWN_PER_RULE, language)} {words['more']}[/dim]")
    if found.refused:
        out.print(f"[red]✗ {words['refused']}[/red]")


def delivery(read: Delivery, language: str) -> None:
    """How a file was read: what a steward must be able to contradict."""
    words = WORDS[language]
    declared = f" ({words['declared']} {read.crs_declared})" if read.crs_declared not in (None, read.crs_used) else ""
    kept = f" → EPSG:{read.grid}" if read.crs_used != f"EPSG:{read.grid}" else ""
    operation = f" · {words['operation']} EPSG:{read.operation}" if read.operation else ""
    source = f"{read.driver} · {escape(read.layer_in_file)} · sha256 {read.sha256[:12]}…"
    out.print(f"[bold]{escape(read.file_name)}[/bold]  {source}")
    out.print(f"  {words['encoding']} {read.encoding} · {read.crs_used}{escape(declared)}{kept}{operation}")
    if read.checked_since is not None:
        out.print(f"  {words['since'].format(read.checked_since)}")


def dossier(document: dict[str, Any], registry: Registry, language: str) -> None:
    """A dossier for the terminal: the facts, then each kind of related feature."""
    derived = registry[document["collection"]]
    subject = registry[document["subject"]["collection"]]
    out.print(f"[bold]{escape(document['title'])} · {escape(document['id'])}[/bold]")
    facts = [(subject[name], value) for name, value in document["subject"]["feature"]["properties"].items()]
    facts += [(derived[name], value) for name, value in document["properties"].items()]
    rows = {part.title.in_language(language): _words(part, value, registry, language) for part, value in facts}
    table(["", ""], [row for row in rows.items() if row[1]], language)
    for part in document["related"]:
        out.print(f"\n[bold]{escape(part['title'])}[/bold] ({len(part['items'])})")
        fields = {item.name: item for item in derived[part["attribute"]].items or []}
        for item in part["items"]:
            told = [_words(fields[name], value, registry, language) for name, value in item["relation"].items()]
            out.print(f"  {escape(item['id'])}  {escape(' · '.join(filter(None, told)))}")


def _words(part: Attribute | Item, value: Any, registry: Registry, language: str) -> str:
    """A value as a person reads it: codes by their labels, yes and no, units."""
    if value is None or value == []:
        return ""
    if isinstance(value, list):
        names = {item.name: item for item in (part.items if isinstance(part, Attribute) else None) or []}
        told = [[_words(names[name], each, registry, language) for name, each in item.items()] for item in value]
        return "; ".join(", ".join(filter(None, words)) for words in told)
    if isinstance(value, bool):
        return WORDS[language]["yes" if value else "no"]
    if part.code_list is not None:
        code = registry.code_lists[part.code_list].find(str(value), date.today())
        label = (code.label_en if language == "en" else code.label_vi) if code else None
        return f"{label} ({value})" if label else str(value)
    unit = f" {UNITS.get(part.unit, part.unit)}" if part.unit else ""
    counted = isinstance(value, (int, float)) and part.unit != "a"  # a year is read without a separator of thousands
    return f"{number(value, language) if counted else value}{unit}".rstrip()


def waiting() -> Callable[[object], None]:
    """Tells who is waited for, once for each."""
    told: set[str] = set()

    def tell(holder: object) -> None:
        if str(holder) not in told:
            told.add(str(holder))
            say(f"· chờ · waiting for {holder}")

    return tell


UNITS = {"m2": "m²", "1": ""}


@contextmanager
def progress(title: str, language: str) -> Iterator[Callable[[int, int | None], None]]:
    """A bar with rate and remaining time on a terminal, nothing otherwise."""
    if not talk.is_terminal:
        yield lambda done, total: None
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=talk, transient=True) as bar:
        task = bar.add_task(title, total=None, rate="")

        def step(done: int, total: int | None) -> None:
            speed = bar.tasks[0].speed
            bar.update(task, completed=done, total=total, rate=f"{number(speed, language, 0)}/s" if speed else "")

        yield step


WORDS = {
    "vi": {
        "read": "đã đọc", "kept": "giữ", "quarantined": "cách ly", "dropped": "bỏ qua", "row": "dòng",
        "yes": "Có", "no": "Không", "encoding": "bảng mã",
        "declared": "khai báo", "operation": "phép chuyển", "more": "mục nữa",
        "since": "Giữa các đối tượng: chỉ xét lại quanh chỗ thay đổi kể từ lần nạp {}; muốn xét hết, dùng --check-all.",
        "refused": "Từ chối: bộ dữ liệu không được nạp, lớp cũ vẫn được phục vụ.",
    },
    "en": {
        "read": "read", "kept": "kept", "quarantined": "quarantined", "dropped": "dropped", "row": "row",
        "yes": "yes", "no": "no", "encoding": "encoding",
        "declared": "declared", "operation": "operation", "more": "more",
        "since": "Between features: looked at again around what changed since load {}; --check-all looks at all.",
        "refused": "Refused: nothing was loaded, the old layer is still served.",
    },
}  # fmt: skip
