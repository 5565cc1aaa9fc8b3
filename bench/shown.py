"""The figures of bench/serve.py as Markdown tables.

    python shown.py FILE…

puts what `--json` kept of several runs over the same parcels into one table: cases in the order of the files, and of
what was measured twice the later.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

_CEILING, _OURS, _ANEW = "bare", "sdi", "sdi anew"


@dataclass
class Results:
    """All figures of a run. memory: MiB by server. differences: by `case, server`, what is not as the bare route has
    it. once: seconds of a first answer. rows: `serve.Row`."""

    parcels: int
    workers: int
    served: int
    absent: list[str]
    memory: dict[str, float] = field(default_factory=dict)
    differences: dict[str, str] = field(default_factory=dict)
    once: dict[str, float] = field(default_factory=dict)
    alone: dict[str, float] = field(default_factory=dict)
    """Requests/s of pgbench by `case, clients`."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    more: list[tuple[str, list[str], list[list[str]]]] = field(default_factory=list)
    """Further tables: title, headings, rows."""
    told: list[str] = field(default_factory=list)
    """Of each run when, on what, and by which command."""


def merged(runs: Sequence[Results]) -> Results:
    """Several runs as one. Raises ValueError where they are not of the same parcels and workers."""
    about = {(each.parcels, each.workers, each.served) for each in runs}
    if len(about) != 1:
        raise ValueError(f"not of the same parcels and workers: {about}")
    rows = {(row["case"], row["contender"], row["clients"]): row for each in runs for row in each.rows}
    return Results(
        *about.pop(), [name for name in runs[0].absent if all(name in each.absent for each in runs)],
        {name: max(each.memory.get(name, 0.0) for each in runs) for name in dict.fromkeys(
            name for each in runs for name in each.memory)},
        {what: wrong for each in runs for what, wrong in each.differences.items()},
        {what: once for each in runs for what, once in each.once.items()},
        {what: rate for each in runs for what, rate in each.alone.items()}, list(rows.values()),
        list({title: (title, headings, lines) for each in runs for title, headings, lines in each.more}.values()),
        [told for each in runs for told in each.told],
    )  # fmt: skip


def heading(served: int, workers: int) -> str:
    """What stands above a run's tables."""
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    told = f"`{' '.join([Path(sys.argv[0]).name, *sys.argv[1:]])}`"
    return f"{date.today()}, {served:,} parcels, {workers} workers each, {_machine()}, load {load} at the end; {told}"


def tables(results: Results) -> str:
    """Requests/s by number of clients, what lies behind them, memory, and what is not equal."""
    parts = [f"{told}\n" for told in results.told]
    for clients in sorted({row["clients"] for row in results.rows}):
        rows = [row for row in results.rows if row["clients"] == clients]
        parts += [f"**Requests/s, {clients} client{'s' if clients > 1 else ''}**\n", *_rates(rows, results)]
    parts += ["**Behind them**: milliseconds; CPU of the server's processes and of PostgreSQL for each request\n"]
    parts += _details(results.rows)
    for title, headings, lines in results.more:
        parts += [f"**{title}**\n", *table(headings, lines)]
    parts += ["**Anonymous memory** of each server's processes at its peak, MiB\n"]
    held = {name: peak for name, peak in results.memory.items() if peak}
    parts += table(list(held), [[f"{peak:,.0f}" for peak in held.values()]])
    parts += [f"- {what}: {wrong}" for what, wrong in results.differences.items()]
    parts += [f"- not measured, not on this machine or left out: {', '.join(results.absent)}"] if results.absent else []
    return "\n".join(parts) + "\n"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(headings)} |"
    yield f"| --- |{' ---: |' * (len(headings) - 1)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def _rates(rows: Sequence[dict[str, Any]], results: Results) -> Iterator[str]:
    names = list(dict.fromkeys(row["contender"] for row in rows))
    by_case: dict[str, dict[str, float]] = {}
    for row in rows:
        by_case.setdefault(row["case"], {})[row["contender"]] = row["rate"]
    lines = []
    for case, rates in by_case.items():
        others = [rate for name, rate in rates.items() if not name.startswith((_CEILING, _OURS))]
        ours, ceiling = rates.get(_OURS), rates.get(_CEILING)
        against = [f"{rates[name] / ceiling:.2f}" if rates.get(name) and ceiling else "–" for name in (_OURS, _ANEW)]
        best = f"{ours / max(others):.1f}" if ours and others else "–"
        clients = rows[0]["clients"]
        lines.append(
            [
                case,
                _number(results.alone.get(f"{case}, {clients}")),
                *(_number(rates.get(name)) for name in names),
                *against,
                best,
            ]
        )
    return table(["", "pgbench", *names, "sdi / bare", "sdi anew / bare", "sdi / best other"], lines)


def _details(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    headings = ["", "server", "clients", "p50", "p95", "p99", "first byte", "KiB", "CPU", "CPU, SQL", "client's share",
                "errors"]  # fmt: skip
    lines = [
        [row["case"], row["contender"], str(row["clients"]), *(_number(row[name]) for name in (
            "p50", "p95", "p99", "first", "kib", "server", "postgres")), f"{row['own']:.0%}", str(row["errors"])]
        for row in rows
    ]  # fmt: skip
    return table(headings, lines)


def _number(value: float | None) -> str:
    """Two or three digits: more are chance."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{os.cpu_count()} cores ({model})"


if __name__ == "__main__":
    print(tables(merged([Results(**json.loads(Path(name).read_text(encoding="utf-8"))) for name in sys.argv[1:]])))
