"""Form: the rules of each attribute's contract, and codes against their lists at the date of the data."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sdi.contract.codelist import Code, CodeList
from sdi.contract.layer import Attribute, Layer
from sdi.contract.registry import Registry
from sdi.ingest import lists
from sdi.ingest.conform import Conformed
from sdi.ingest.encoding import by_value
from sdi.ingest.findings import Findings
from sdi.national.text import fold

NUMERIC = ("integer", "decimal", "number")


def check_attributes(layer: Layer, made: Conformed, registry: Registry, day: date, findings: Findings) -> None:
    """Hold every attribute against its contract; codes are brought to the list's own spelling in place."""
    for attribute in layer.stored:
        column = made.columns[attribute.name]
        if attribute.code_list is not None:
            column = _check_codes(attribute, column, registry.code_lists[attribute.code_list], day, findings)
            made.columns[attribute.name] = column
        if attribute.type == "list":
            _check_items(attribute, column, registry, day, findings)
        if attribute.required:
            _check_required(attribute, column, made.raw.get(attribute.name), findings)
        _check_pattern(attribute, column, findings)
        _check_range(attribute, column, findings)
        if attribute.max_length is not None and pa.types.is_string(column.type):
            longer = pc.greater(pc.utf8_length(column), attribute.max_length)
            _mark(findings, "attribute.length", attribute, column, longer, attribute.max_length)


def _rows(mask: pa.Array) -> NDArray[np.intp]:
    return np.flatnonzero(np.asarray(pc.fill_null(mask, False)))


def _mark(findings: Findings, rule: str, attribute: Attribute, column: pa.Array, mask: pa.Array, limit: object) -> None:
    rows = _rows(mask)
    if len(rows):
        findings.add(rule, rows, attribute=attribute.name, values=column.take(pa.array(rows)).to_pylist(), limit=limit)


def _check_required(attribute: Attribute, column: pa.Array, raw: pa.Array | None, findings: Findings) -> None:
    absent = pc.is_null(column)
    if len(column) and raw is None and column.null_count == len(column):
        findings.add("attribute.required", attribute=attribute.name, action="refuse")  # no feature has it: said once
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


def _check_codes(attribute: Attribute, column: pa.Array, codes: CodeList, day: date, findings: Findings) -> pa.Array:
    verdicts = {value: judge(value, codes, day) for value in pc.unique(column).drop_null().to_pylist()}
    _find_codes(attribute, column, {value: [(value, verdict)] for value, verdict in verdicts.items()}, findings)
    if all(value == verdict.code for value, verdict in verdicts.items()):
        return column
    return by_value(column, lambda texts: [None if text is None else verdicts[text].code for text in texts])


def _find_codes(
    attribute: Attribute, column: pa.Array, verdicts: dict[str, list[tuple[str, Verdict]]], findings: Findings
) -> None:
    """`verdicts`: a value of the column -> the codes in it, as delivered, with what they are."""
    for rule in ("code.unknown", "code.superseded", "code.review"):
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
