"""A table of statistics as people and programs read it: JSON, CSV, and what its page shows."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping
from typing import Any

from sdi.access.disclosure import LEAST, TOGETHER, Value
from sdi.contract.layer import Attribute, Layer
from sdi.service import links, naming, words
from sdi.service.publications import Snapshot
from sdi.service.state import Service
from sdi.service.statistics.question import FORMATS, tables
from sdi.service.statistics.table import Group, Table

_CALCULATED, _NUMBER = re.compile(r"'*\s*[=+\-@\t\r\n]"), re.compile(r"[+-]?\d+([.,]\d+)*$")


def address(service: Service, layer: Layer, **parameters: Any) -> str:
    return links.address(service.url, "collections", layer.id, "statistics", parameters=parameters or None)


def link_to(service: Service, layer: Layer, language: str) -> dict[str, Any]:
    """The link from the collection's document."""
    return links.link("related", address(service, layer), "application/json", words.translator(language)("Statistics"))


async def titles(service: Service, snapshot: Snapshot, layer: Layer, name: str, language: str) -> dict[Value, str]:
    """What the values of a dimension are called, in the order in which they are told: of codes of a list all, of units
    those that exist for who asks; of other values nothing.
    """
    attribute = layer[name]
    if attribute.code_list is not None:
        codes = service.registry.code_lists[attribute.code_list].codes
        return {code.code: code.label_en if language == "en" else code.label_vi for code in codes}
    if attribute.type == "boolean":
        return {"true": words.truth(True, language), "false": words.truth(False, language)}
    assert layer.statistics is not None
    units = snapshot.layers.get(layer.statistics.units.get(name, ""))
    if units is None:
        return {}
    return {code: unit.name for code, unit in (await naming.all_units(service, snapshot, units)).items()}


def listed(service: Service, snapshot: Snapshot, language: str) -> dict[str, Any]:
    """The layers of which there are statistics for who asks."""
    _ = words.translator(language)
    layers = [
        {
            "id": layer.id, "title": layer.title.in_language(language),
            "description": layer.description.in_language(language),
            "links": [links.link("related", address(service, layer), "application/json", _("Statistics"))],
        }
        for layer in snapshot.counted.values()
    ]  # fmt: skip
    here = links.address(service.url, "statistics", parameters={"f": "json"})
    own = links.link("self", here, "application/json", _("This document as JSON"))
    return {"title": _("Statistics"), "layers": layers, "links": [own]}


def link_to_list(service: Service, language: str) -> dict[str, Any]:
    """The link from the landing page."""
    at = links.address(service.url, "statistics")
    return links.link("related", at, "application/json", words.translator(language)("Statistics"))


def document(
    service: Service, snapshot: Snapshot, layer: Layer, table: Table, named: Mapping[str, Mapping[Value, str]],
    language: str,
) -> dict[str, Any]:  # fmt: skip
    """The table as JSON. A group names its values, None for features that have none; `*` stands for `together`."""
    return {
        "collection": layer.id,
        "title": layer.title.in_language(language),
        "by": [*table.by],
        "least": LEAST,
        "dimensions": [
            _about(layer[name], language) | _values(few, named[name], values)
            for name, few, values in zip(table.by, table.together, _present(table), strict=True)
        ],
        "measures": [_about(layer[name], language) for name in table.sums],
        "total": _numbers(table, table.total),
        "groups": [
            dict(zip(table.by, group.values, strict=True)) | _numbers(table, group) for group in ordered(table, named)
        ],
        "links": _links(service, layer, table, language, seen=layer.id in snapshot.layers),
    }


def lines(table: Table, named: Mapping[str, Mapping[Value, str]], language: str) -> str:
    """The groups as CSV (RFC 4180) with a byte order mark, each code with its title beside it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    titled = [name for name in table.by if named[name]]
    head = [part for name in table.by for part in ([name, f"{name}_title"] if name in titled else [name])]
    writer.writerow([*head, "count", *table.sums, "suppressed"])
    for group in ordered(table, named):
        row: list[Any] = []
        for name, value in zip(table.by, group.values, strict=True):
            row += [_guarded(value or "")]
            row += [_guarded(title(named[name], value, language))] if name in titled else []
        writer.writerow([*row, group.count, *group.sums, "true" if group.count is None else "false"])
    return "\ufeff" + text.getvalue()


def title(named: Mapping[Value, str], value: Value, language: str) -> str:
    """What a value of a dimension is called."""
    _ = words.translator(language)
    if value is None:
        return str(_("not stated"))
    return str(_("others together")) if value == TOGETHER else named.get(value, value)


def ordered(table: Table, named: Mapping[str, Mapping[Value, str]]) -> list[Group]:
    """The groups in the order of their values."""
    ranks = [ranked(named[name], {group.values[at] for group in table.groups}) for at, name in enumerate(table.by)]
    return sorted(table.groups, key=lambda group: tuple(rank[v] for rank, v in zip(ranks, group.values, strict=True)))


def ranked(named: Mapping[Value, str], values: Iterable[Value]) -> dict[Value, int]:
    """Where each value stands: as its code list has it, numbers by size; what is together and what is empty last."""
    listed = {value: rank for rank, value in enumerate(named)}

    def place(value: Value) -> tuple[int, int, str]:
        if value is None or value == TOGETHER:
            return (2, int(value is None), "")
        numeral = value.removeprefix("-").isdecimal() and len(value) < 10
        return (0, listed[value], "") if value in listed and not numeral else (1, int(value) if numeral else 0, value)

    return {value: rank for rank, value in enumerate(sorted(values, key=place))}


def _present(table: Table) -> list[set[Value]]:
    return [{group.values[at] for group in table.groups} for at in range(len(table.by))]


def _about(attribute: Attribute, language: str) -> dict[str, Any]:
    told: dict[str, Any] = {"name": attribute.name, "title": attribute.title.in_language(language)}
    return told | ({"unit": attribute.unit} if attribute.unit else {})


def _values(
    few: tuple[Value, ...] | None, named: Mapping[Value, str], values: set[Value]
) -> dict[str, Any]:  # fmt: skip
    """The titles of the values that stand in the table; which ones stand together, None where that is not told."""
    shown = {*values, *(few or ())}
    told: dict[str, Any] = {"titles": {value: name for value, name in named.items() if value in shown}}
    return told | ({"together": None if few is None else [*few]} if few is None or few else {})


def _numbers(table: Table, group: Group) -> dict[str, Any]:
    told = {"count": group.count, **dict(zip(table.sums, group.sums, strict=True))}
    return told | ({"suppressed": True} if group.count is None else {})


def _links(service: Service, layer: Layer, table: Table, language: str, *, seen: bool) -> list[dict[str, Any]]:
    """self, alternate, the other tables, and the collection where it is seen."""
    _ = words.translator(language)
    asked = ",".join(table.by)
    found = [
        links.link("self" if each.name == "json" else "alternate", address(service, layer, by=asked, f=each.name),
                   each.media_type, _("This document as {format}").format(format=each.label))
        for each in FORMATS.values()
    ]  # fmt: skip
    for by in tables(service.agency, layer):
        if by != table.by:
            named = " × ".join(layer[name].title.in_language(language) for name in by)
            found.append(links.link("related", address(service, layer, by=",".join(by)), "application/json", named))
    if not seen:
        return found
    collection = links.address(service.url, "collections", layer.id)
    found.append(links.link("collection", collection, "application/json", layer.title.in_language(language)))
    return found


def _guarded(text: str) -> str:
    """A cell that a spreadsheet would calculate begins with an apostrophe, as in every CSV of the service."""
    return f"'{text}" if _CALCULATED.match(text) and not _NUMBER.match(text) else text
