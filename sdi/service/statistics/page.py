"""What the page of a table shows: one dimension down, the other across, what is hidden marked as such."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sdi.access.disclosure import LEAST, TOGETHER, Value
from sdi.contract.layer import Attribute, Layer
from sdi.service import words
from sdi.service.state import Service
from sdi.service.statistics.documents import ranked, title
from sdi.service.statistics.question import FORMATS, tables
from sdi.service.statistics.table import Group, Table

_HECTARE = 10_000
"""m²."""


def shown(
    service: Service, layer: Layer, table: Table, named: Mapping[str, Mapping[Value, str]], language: str
) -> dict[str, Any]:
    """What the template is given; see `statistics.html`."""
    heads = [_heads(table, at, named[name], language) for at, name in enumerate(table.by)]
    cells = {group.values: _written(layer, table, group, language) for group in table.groups}
    margins = [{group.values[0]: _written(layer, table, group, language) for group in each} for each in table.margins]
    by = [layer[name] for name in table.by]
    if len(by) > 1 and len(heads[1]) > len(heads[0]):
        # A long table is read more easily than a wide one.
        by, heads, margins = by[::-1], heads[::-1], margins[::-1]
        cells = {values[::-1]: told for values, told in cells.items()}
    return {
        "by": by, "heads": heads, "cells": cells, "margins": margins, "least": LEAST, "formats": FORMATS,
        "tables": [(",".join(by), [layer[name] for name in by], by == table.by)
                   for by in tables(service.agency, layer)],
        "measures": [heading(layer[name], language) for name in table.sums],
        "total": _written(layer, table, table.total, language),
        "together": [
            (layer[name], None if few is None else [_called(named[name], value, language) for value in few])
            for name, few in zip(table.by, table.together, strict=True) if few is None or few
        ],
        "hidden": any(group.count is None for group in table.groups),
    }  # fmt: skip


def heading(measure: Attribute, language: str) -> str:
    """The title with the unit in which the page has it."""
    unit = "ha" if measure.unit == "m2" else words.unit(measure.unit, language)
    return f"{measure.title.in_language(language)} ({unit})" if unit else measure.title.in_language(language)


def _heads(
    table: Table, at: int, named: Mapping[Value, str], language: str
) -> list[tuple[Value, str]]:  # fmt: skip
    """The values of a dimension in their order, with what they are called."""
    ranks = ranked(named, {group.values[at] for group in table.groups})
    return [(value, _called(named, value, language)) for value in sorted(ranks, key=lambda value: ranks[value])]


def _called(named: Mapping[Value, str], value: Value, language: str) -> str:
    called = title(named, value, language)
    return called if value is None or value == TOGETHER or called == value else f"{called} ({value})"


def _written(layer: Layer, table: Table, group: Group, language: str) -> list[str] | None:
    """The count and each sum as people read them; None: not told."""
    if group.count is None:
        return None
    told = [words.number(group.count, language)]
    for name, value in zip(table.sums, group.sums, strict=True):
        shown = value / _HECTARE if value is not None and layer[name].unit == "m2" else value
        told.append("–" if shown is None else words.number(round(shown, 2), language))
    return told
