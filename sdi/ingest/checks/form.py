"""Form: the rules of each attribute's contract, codes against their lists at the date of the data, text and time."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sdi.contract.codelist import Code, CodeList
from sdi.contract.layer import Attribute, Check, Layer
from sdi.contract.registry import Registry
from sdi.ingest import lists
from sdi.ingest.cast import to_text
from sdi.ingest.conform import Conformed, parts_of_id
from sdi.ingest.encoding import by_value
from sdi.ingest.findings import Findings
from sdi.national.legacy import legacy_bytes
from sdi.national.text import fold

NUMERIC = ("integer", "decimal", "number")
CODE_RULES = ("code.unknown", "code.superseded", "code.review")


def check_attributes(layer: Layer, made: Conformed, registry: Registry, day: date, findings: Findings) -> None:
    """Hold every attribute against its contract; codes are brought to the list's own spelling in place."""
    for attribute in layer.stored:
        column = made.columns[attribute.name]
        if attribute.code_list is not None:
            days = _days(attribute, made, findings)
            column = _check_codes(attribute, column, registry.code_lists[attribute.code_list], days, day, findings)
            made.columns[attribute.name] = column
        if attribute.type == "list":
            _check_items(attribute, column, registry, day, findings)
        if attribute.required:
            _check_required(layer, attribute, column, made.raw.get(attribute.name), findings)
        _check_pattern(attribute, column, findings)
        _check_range(attribute, column, findings)
        if attribute.max_length is not None and pa.types.is_string(column.type):
            longer = pc.greater(pc.utf8_length(column), attribute.max_length)
            _mark(findings, "attribute.length", attribute, column, longer, attribute.max_length)
        if attribute.type == "text":
            check_text(attribute, column, findings)
    for check in layer.checks:
        if check.rule == "time.order":
            check_order(check, made, findings)
        elif check.rule == "time.future":
            check_future(layer, check, made, max(day, date.today()), findings)


def _rows(mask: pa.Array) -> NDArray[np.intp]:
    return np.flatnonzero(np.asarray(pc.fill_null(mask, False)))


def _mark(findings: Findings, rule: str, attribute: Attribute, column: pa.Array, mask: pa.Array, limit: object) -> None:
    rows = _rows(mask)
    if len(rows):
        findings.add(rule, rows, attribute=attribute.name, values=column.take(pa.array(rows)).to_pylist(), limit=limit)


def _check_required(
    layer: Layer, attribute: Attribute, column: pa.Array, raw: pa.Array | None, findings: Findings
) -> None:
    absent = pc.is_null(column)
    throughout = bool(len(column)) and raw is None and column.null_count == len(column)
    if attribute.template is not None and attribute.name in parts_of_id(layer):
        # Each row without it is told as one that has no id, by the columns which it lacks for that.
        if throughout and findings.action("attribute.required", attribute.name) != "warn":
            findings.throughout("identifier.missing", attribute.name, "refuse")
        return
    if throughout:
        findings.throughout("attribute.required", attribute.name, "refuse")
        return
    if raw is not None:
        absent = pc.and_(absent, pc.is_null(raw))  # a value that is not of the type is told as that
    findings.add("attribute.required", _rows(absent), attribute=attribute.name)


def _check_pattern(attribute: Attribute, column: pa.Array, findings: Findings) -> None:
    if attribute.pattern is None or not pa.types.is_string(column.type):
        return
    pattern = re.compile(attribute.pattern)
    different = pc.unique(column).drop_null()
    bad = [value for value in different.to_pylist() if pattern.search(value) is None]
    if bad:
        _mark(findings, "attribute.pattern", attribute, column, pc.is_in(column, pa.array(bad)), attribute.pattern)


def _check_range(attribute: Attribute, column: pa.Array, findings: Findings) -> None:
    low, high = attribute.minimum, attribute.maximum
    if attribute.type not in NUMERIC or (low is None and high is None):
        return
    values = column.cast(pa.float64())
    mask = pa.array(np.zeros(len(column), dtype=bool))
    if low is not None:
        mask = pc.or_kleene(mask, pc.less(values, low))
    if high is not None:
        mask = pc.or_kleene(mask, pc.greater(values, high))
    limit = f"≥ {low:g}" if high is None else f"≤ {high:g}" if low is None else f"{low:g} … {high:g}"
    _mark(findings, "attribute.range", attribute, values, mask, limit)


# --- text ---------------------------------------------------------------------------------------------------------

_CONTROL = r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd"
_TAIL = r"[\x80-\xbf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]"
"""What CP1252 makes of a byte in the middle of a UTF-8 letter."""
_BROKEN = re.compile(f"[{_CONTROL}]")
_TWICE = re.compile(f"[Â-Æ]{_TAIL}|á[º»]{_TAIL}|â€{_TAIL}")
"""A letter of UTF-8 that was read as CP1252 and written as UTF-8 again."""
_SUSPECT = re.sub(r"\\u([0-9a-f]{4})", r"\\x{\1}", f"{_BROKEN.pattern}|{_TWICE.pattern}")
"""Either, as RE2 writes it."""
_SUSPECT = f"[{_CONTROL}]|{_TWICE.pattern}".replace(r"\ufffd", "\ufffd")
"""Either of them, for Arrow's regular expressions."""
_SHOWN = {code: chr(0x2400 + code) for code in range(0x20)} | dict.fromkeys(range(0x7F, 0xA0), "\ufffd")


def check_text(attribute: Attribute, column: pa.Array, findings: Findings) -> None:
    """Find control characters, replacement characters, and letters that were encoded twice, which are left in a value
    after everything that could be converted was. `limit` lists them."""
    different = pc.unique(column).drop_null()
    suspect = different.filter(pc.match_substring_regex(different, _SUSPECT))
    garbled = {value: found for value in suspect.to_pylist() if (found := _garbled(value))}
    if garbled:
        rows = _rows(pc.is_in(column, pa.array(list(garbled), pa.string())))
        values = column.take(pa.array(rows)).to_pylist()
        findings.add("text.garbled", rows, attribute=attribute.name, values=[v.translate(_SHOWN) for v in values],
                     limits=[garbled[value] for value in values])  # fmt: skip


def _garbled(value: str) -> str:
    """The broken characters of a value. Capitals before a closing quote look like one letter of mojibake (`XÃ”`), so
    one alone counts only where the whole value can be read as UTF-8."""
    found = [f"U+{ord(character):04X}" for character in _BROKEN.findall(value)]
    twice = _TWICE.findall(value)
    if len(twice) > 1 or (twice and _is_utf8(value)):
        found += twice
    return " ".join(dict.fromkeys(found))


def _is_utf8(value: str) -> bool:
    raw = legacy_bytes(value)
    try:
        return raw is not None and bool(raw.decode("utf-8"))
    except UnicodeDecodeError:
        return False


# --- time ---------------------------------------------------------------------------------------------------------


def check_order(check: Check, made: Conformed, findings: Findings) -> None:
    """Find periods that end before or when they begin; the end is exclusive."""
    start, end = (made.columns[check.parameters[name]] for name in ("start", "end"))
    rows = _rows(pc.less_equal(end.cast(_INSTANT), start.cast(_INSTANT)))
    if len(rows):
        values, limits = (to_text(column.take(pa.array(rows))).to_pylist() for column in (end, start))
        findings.add("time.order", rows, attribute=check.parameters["end"], values=values, limits=limits,
                     other=check.parameters["start"], entry=check)  # fmt: skip


_INSTANT = pa.timestamp("us", "UTC")


def check_future(layer: Layer, check: Check, made: Conformed, day: date, findings: Findings) -> None:
    """Find what is dated after `day`; a year counts from its first day. tolerance: days."""
    name = check.parameters["attribute"]
    column, last = made.columns[name], day + timedelta(days=check.tolerance or 0)
    if layer[name].type == "integer":
        rows = _rows(pc.greater(column, last.year))
    else:
        rows = _rows(pc.greater(column.cast(_INSTANT), pa.scalar(last + timedelta(days=1), pa.date32()).cast(_INSTANT)))
    values = to_text(column.take(pa.array(rows))).to_pylist()
    findings.add("time.future", rows, attribute=name, values=values, limit=last.isoformat(), entry=check)


# --- codes --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """What a delivered code is: its spelling in the list, and the rule it breaks."""

    code: str
    rule: str | None = None
    limit: str | None = None


def judge(value: str, codes: CodeList, day: date) -> Verdict:
    """Hold one code against the list on the date of the data. A code that was in force then is right."""
    entry = codes.find(value, day) or _spelled_otherwise(value, codes, day)
    if entry is None:
        return Verdict(value, "code.unknown", codes.id)
    if entry.status in ("group", "overlay"):
        return Verdict(entry.code, "code.review", codes.id)
    if entry.holds_on(day) and (entry.status == "current" or entry.valid_to is not None):
        return Verdict(entry.code)
    if entry.successor is not None and entry.status != "review":
        return Verdict(entry.code, "code.superseded", entry.successor)
    return Verdict(entry.code, "code.review", codes.id)


def _spelled_otherwise(value: str, codes: CodeList, day: date) -> Code | None:
    """A code in other case, without its leading zeros, or given by its label; only where it can be just one."""
    values = codes.values()
    lengths = {len(code) for code in values}
    if value.isdigit() and len(lengths) == 1 and value.zfill(lengths.copy().pop()) in values:
        return codes.find(value.zfill(lengths.pop()), day)
    tests: list[Callable[[Code], bool]] = [
        lambda code: code.code.casefold() == value.casefold(),
        lambda code: fold(value) != "" and fold(value) in (fold(code.label_vi), fold(code.label_en)),
    ]
    for test in tests:
        found = {code.code for code in codes.codes if test(code)}
        if len(found) == 1:
            return codes.find(found.pop(), day)
    return None


def _days(attribute: Attribute, made: Conformed, findings: Findings) -> pa.Array | None:
    """The day on which each feature's code must be in force, where the contract says an attribute for it (`date`)."""
    entries = (findings.check(rule, attribute.name) for rule in CODE_RULES)
    name = next((entry.parameters["date"] for entry in entries if entry and "date" in entry.parameters), None)
    return None if name is None else made.columns[name].cast(pa.date32(), safe=False).cast(pa.string())


def _check_codes(
    attribute: Attribute, column: pa.Array, codes: CodeList, days: pa.Array | None, day: date, findings: Findings
) -> pa.Array:
    """Hold each code against the list on its own day, else on the delivery's."""
    keys = column
    if days is not None:
        keys = pc.binary_join_element_wise(pc.fill_null(days, day.isoformat()), column, "|")
    verdicts: dict[str, tuple[str, Verdict]] = {}
    for key in pc.unique(keys).drop_null().to_pylist():
        when, _, value = key.partition("|") if days is not None else (day.isoformat(), "", key)
        verdicts[key] = value, judge(value, codes, date.fromisoformat(when))
    _find_codes(attribute, keys, {key: [found] for key, found in verdicts.items()}, findings)
    if all(value == verdict.code for value, verdict in verdicts.values()):
        return column
    return by_value(keys, lambda texts: [None if text is None else verdicts[text][1].code for text in texts])


def _find_codes(
    attribute: Attribute, column: pa.Array, verdicts: dict[str, list[tuple[str, Verdict]]], findings: Findings
) -> None:
    """`verdicts`: a value of the column -> the codes in it, as delivered, with what they are."""
    for rule in CODE_RULES:
        bad = {value: [(code, v) for code, v in found if v.rule == rule] for value, found in verdicts.items()}
        bad = {value: found for value, found in bad.items() if found}
        if not bad:
            continue
        rows = _rows(pc.is_in(column, pa.array(list(bad), pa.string())))
        values = [bad[value] for value in column.take(pa.array(rows)).to_pylist()]
        shown = ["+".join(code for code, _ in found) for found in values]
        limits = ["+".join(dict.fromkeys(verdict.limit or "" for _, verdict in found)) for found in values]
        findings.add(rule, rows, attribute=attribute.name, values=shown, limits=limits)


def _check_items(attribute: Attribute, column: pa.Array, registry: Registry, day: date, findings: Findings) -> None:
    """Hold the codes of each item of a list against their lists."""
    different = pc.unique(column).drop_null().to_pylist()
    for item in attribute.items or []:
        if item.code_list is None:
            continue
        codes = registry.code_lists[item.code_list]
        known: dict[str, Verdict] = {}
        verdicts = {}
        for text in different:
            found = lists.codes_in(text, item.name)
            verdicts[text] = [(code, known.setdefault(code, judge(code, codes, day))) for code in found]
        _find_codes(attribute, column, verdicts, findings)
