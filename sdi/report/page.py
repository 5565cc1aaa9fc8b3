"""A report as one HTML file: no network, no script, the map inside, and sheets of A4 when it is printed."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from sdi.contract.elements import element
from sdi.contract.quality import COLOURS
from sdi.contract.rules import RULES
from sdi.national import vn2000
from sdi.report import drawing, words
from sdi.report.account import MOST_LISTED, Account, Listed

TEMPLATES = Path(__file__).with_name("templates")


def render(account: Account, language: str) -> str:
    """The page in one language, `vi` or `en`."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    placed = [index for index, each in enumerate(account.findings) if each.place is not None]
    crowded = account.places > drawing.NUMBERED or len(placed) > drawing.NUMBERED
    numbers = {} if crowded else {index: number for number, index in enumerate(placed, start=1)}
    picture, beyond = drawing.draw(account, numbers)
    return environment.get_template("report.html").render(
        account=account, layer=account.layer, language=language, t=words.TEXTS[language],
        actions=words.ACTIONS[language], severities=words.SEVERITIES[language], states=words.STATES[language],
        next_step=words.next_steps(language, loaded=account.status == "done"), colours=COLOURS,
        picture=picture, beyond=beyond, element=element,
        grid=vn2000.grid(account.grid), grids=vn2000.GRIDS, groups=_groups(account, numbers, language),
        n=lambda value: words.number(value, language), percent=lambda rate: words.percent(rate, language),
        moment=lambda value: words.moment(value, language), title=lambda rule: _title(rule, language),
    )  # fmt: skip


def _groups(account: Account, numbers: dict[int, int], language: str) -> list[dict[str, Any]]:
    """The findings by rule and action in the order of the table, each with its lines and how many are left out."""
    order = {(rule.rule, rule.action): position for position, rule in enumerate(account.rules)}
    counts = {(rule.rule, rule.action): rule.count for rule in account.rules}
    lines = sorted(range(len(account.findings)), key=lambda index: order[_key(account.findings[index])])
    groups = []
    for key, indexes in groupby(lines, key=lambda index: _key(account.findings[index])):
        shown = list(indexes)[:MOST_LISTED]
        rows = [_row(account, account.findings[index], numbers.get(index), language) for index in shown]
        rule = next(rule for rule in account.rules if (rule.rule, rule.action) == key)
        groups.append({"rule": rule, "title": _title(key[0], language), "rows": rows, "left": counts[key] - len(rows)})
    return groups


def _key(finding: Listed) -> tuple[str, str]:
    return finding.rule, finding.action


def _title(rule: str, language: str) -> str:
    """The data quality element that a rule speaks of."""
    known = RULES.get(rule)
    return element(known.element).title.in_language(language) if known else rule


def _row(account: Account, finding: Listed, number: int | None, language: str) -> dict[str, Any]:
    place = lonlat = None
    if finding.place is not None:
        east, north = (float(value) for value in drawing.places(account, [finding.place])[0])
        if east == east:
            place = f"{drawing.metres(east)}, {drawing.metres(north)}"
        lonlat = f"{finding.place[0]:.6f}, {finding.place[1]:.6f}"
    sentence = finding.en if language == "en" else finding.vi
    return {"number": number, "finding": finding, "sentence": sentence, "place": place, "lonlat": lonlat}
