"""Columns of a file become the contract's attributes: matched by name, cast, filled; and every feature gets its id."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray

from sdi.contract.delivery import Request
from sdi.contract.faults import fields_of
from sdi.contract.layer import Attribute, Identifier, Layer
from sdi.contract.quality import MARKS, item_column
from sdi.errors import UsageError, nearest
from sdi.ingest import ended, lists
from sdi.ingest.cast import NUMERIC, Style, arrow_type, cast, clean, to_text
from sdi.ingest.encoding import by_value
from sdi.ingest.findings import Findings
from sdi.ingest.geometry import Shapes
from sdi.ingest.source import WKB
from sdi.national.text import fold

DBF_NAME = 10
"""A DBF cuts column names after so many bytes."""


@dataclass
class Match:
    """Attribute -> source column; (list attribute, item field) -> source column."""

    attributes: dict[str, str] = field(default_factory=dict)
    items: dict[tuple[str, str], str] = field(default_factory=dict)
    personal: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    @property
    def used(self) -> list[str]:
        """The source columns that are read."""
        return sorted({*self.attributes.values(), *self.items.values()})

    @property
    def single(self) -> dict[str, str]:
        """The attributes that are read from one column, with it."""
        made: dict[str, set[str]] = {}
        for (owner, _), column in self.items.items():
            made.setdefault(owner, set()).add(column)
        return {owner: min(columns) for owner, columns in made.items() if len(columns) == 1} | self.attributes

    def numeric(self, layer: Layer) -> set[str]:
        """The source columns in which numbers are looked for."""
        found = {column for name, column in self.attributes.items() if layer[name].type in NUMERIC}
        for (owner, name), column in self.items.items():
            found |= {column for item in layer[owner].items or [] if item.name == name and item.type in NUMERIC}
        return found


@dataclass
class Conformed:
    """`columns`: typed, by attribute, in the contract's order, for the stored attributes. `raw`: as delivered (clean
    text or value), by attribute, for the quarantine and for what a finding quotes; nothing personal is in it."""

    columns: dict[str, pa.Array]
    raw: dict[str, pa.Array]


# --- names --------------------------------------------------------------------------------------------------------


def match(layer: Layer, columns: list[str], request: Request) -> Match:
    """Find which column becomes which attribute. `--map` first, then the attribute's own names, then its sources, each
    compared by `national.text.fold` and also as a DBF cuts them. Raises UsageError where two columns could be one."""
    columns = [column for column in columns if column != WKB]
    _check_words(layer, columns, request)
    found = Match()
    mapped = {target: column for column, target in request.mapping.items() if target}
    free = [column for column in columns if column not in request.mapping]
    private = _personal_levels(layer, free)
    for attribute in layer.attributes:
        if attribute.name in mapped:
            found.attributes[attribute.name] = mapped[attribute.name]
        elif attribute.privacy == "personal":
            found.personal += [column for column in free if _level(column, attribute) is not None]
        elif attribute.name not in request.constants:
            column = _choose(attribute, free, private)
            if column is not None:
                found.attributes[attribute.name] = column
    _match_items(layer, free, found)
    # A name that a stored attribute claims as its own is that attribute, whatever a personal one lists besides.
    used = {*found.attributes.values(), *found.items.values()}
    found.personal = [column for column in dict.fromkeys(found.personal) if column not in used]
    ignored = {column for column, target in request.mapping.items() if not target}
    # What the quarantine says beside the values is ours, when a corrected file brings it back.
    told = {*used, *found.personal, *ignored, *(mark.name for mark in MARKS), ended.column(layer, columns)}
    found.unknown = [column for column in columns if column not in told]
    return found


def _check_words(layer: Layer, columns: list[str], request: Request) -> None:
    for column, target in request.mapping.items():
        if column not in columns:
            raise UsageError(f"--map: there is no column '{column}'.{nearest(column, columns)}",
                             hint=f"It has: {', '.join(columns)}.")  # fmt: skip
        if target and target not in layer.by_name:
            raise UsageError(f"--map: there is no attribute '{target}'.{nearest(target, layer.by_name)}",
                             hint=f"'sdi layers show {layer.id}' names them.")  # fmt: skip
        if target and layer[target].privacy == "personal":
            raise UsageError(f"--map: '{target}' is personal and never stored.",
                             hint=f"Ignore the column with --map {column}=.")  # fmt: skip
    for name in request.constants:
        if name not in layer.by_name or layer[name].privacy == "personal":
            raise UsageError(f"--set: there is no attribute '{name}'.{nearest(name, layer.by_name)}",
                             hint=f"'sdi layers show {layer.id}' names them.")  # fmt: skip


def _level(column: str, attribute: Attribute) -> int | None:
    """How surely a column is an attribute: 0 its own names, 1 its sources, 2 and 3 these cut for a DBF; None: not."""
    own = [attribute.name, *([attribute.official_name] if attribute.official_name else [])]
    key = fold(column)
    for level, names in enumerate((own, attribute.sources)):
        if any(key == fold(name) for name in names):
            return level
    if len(column) == DBF_NAME:
        for level, names in enumerate((own, attribute.sources), start=2):
            if any(key in (fold(name[:DBF_NAME]), fold(name)[:DBF_NAME]) for name in names):
                return level
    return None


def _personal_levels(layer: Layer, columns: list[str]) -> dict[str, int]:
    """How surely each column holds personal data; a weaker claim of a stored attribute does not win against it."""
    personal = [attribute for attribute in layer.attributes if attribute.privacy == "personal"]
    levels = {column: [level for a in personal if (level := _level(column, a)) is not None] for column in columns}
    return {column: min(found) for column, found in levels.items() if found}


def _choose(attribute: Attribute, columns: list[str], private: dict[str, int]) -> str | None:
    levels = {column: level for column in columns if (level := _level(column, attribute)) is not None}
    levels = {column: level for column, level in levels.items() if level <= private.get(column, level)}
    best = [column for column, level in levels.items() if level == min(levels.values())]
    if len(best) > 1:
        raise UsageError(f"Columns {', '.join(best)} could all be '{attribute.name}'.",
                         hint=f"Say which: --map {best[0]}={attribute.name}")  # fmt: skip
    return best[0] if best else None


def _match_items(layer: Layer, columns: list[str], found: Match) -> None:
    for attribute in layer.stored:
        for item in attribute.items or []:
            if item_column(attribute.name, item.name) in columns:
                found.items[attribute.name, item.name] = item_column(attribute.name, item.name)
                continue
            if attribute.name in found.attributes:
                continue
            keys = {fold(name) for name in item.sources}
            hits = [column for column in columns if fold(column) in keys]
            mapped = [column for column in found.attributes.values() if fold(column) in keys and column not in hits]
            if len(hits + mapped) == 1:
                found.items[attribute.name, item.name] = (hits + mapped)[0]


# --- values -------------------------------------------------------------------------------------------------------


def conform(
    table: pa.Table, layer: Layer, request: Request, matched: Match, styles: Mapping[str, Style], findings: Findings
) -> Conformed:
    """Build every stored attribute's column of a part; what is not of its type is found. styles: source column -> how
    its numbers are written, all over the delivery."""
    cleaned = {column: clean(table[column]) for column in matched.used}
    made = Conformed({}, {})
    for attribute in layer.stored:
        parts = _Parts(attribute, layer, matched, cleaned, styles, request, table.num_rows)
        made.columns[attribute.name] = parts.column(made, findings)
    _fill_templates(layer, made.columns)
    return made


def delivered(table: pa.Table, layer: Layer, request: Request, matched: Match) -> dict[str, pa.Array]:
    """What `Conformed.raw` holds, of some rows."""
    cleaned = {column: clean(table[column]) for column in matched.used}
    parts = ((a, _Parts(a, layer, matched, cleaned, {}, request, table.num_rows)) for a in layer.stored)
    made = {attribute.name: raw for attribute, part in parts if (raw := part.raw()) is not None}
    owners = {column: name for name, column in matched.attributes.items()}
    for (attribute, item), column in matched.items.items():
        shared = column in owners
        raw = lists.reference(owners[column], cleaned[column]) if shared else cleaned[column]
        made[item_column(attribute, item)] = raw
    return made


@dataclass(frozen=True)
class _Parts:
    """What one attribute's column is made from."""

    attribute: Attribute
    layer: Layer
    matched: Match
    cleaned: dict[str, pa.Array]
    styles: Mapping[str, Style]
    request: Request
    count: int

    def raw(self) -> pa.Array | None:
        """As delivered; None where items' columns or nothing make the attribute."""
        name = self.attribute.name
        if name in self.request.constants:
            return clean(pa.array([self.request.constants[name]] * self.count, pa.string()))
        return self.cleaned[self.matched.attributes[name]] if name in self.matched.attributes else None

    def column(self, made: Conformed, findings: Findings) -> pa.Array:
        attribute, raw = self.attribute, self.raw()
        if raw is None:
            return _default(attribute, self._from_items())
        made.raw[attribute.name] = raw
        if attribute.type == "list":
            typed = lists.from_text(raw, attribute)
            failed = np.asarray(pc.and_(pc.is_valid(raw), pc.is_null(typed)))
            typed = pc.if_else(pc.is_valid(raw), typed, self._from_items())
        else:
            raw = _padded(raw, attribute)
            style = self.styles.get(self.matched.attributes.get(attribute.name, ""))
            typed, failed = cast(raw, attribute.type, attribute.scale, style)
            typed = _main_codes(typed, attribute, self.layer, self.matched)
        rows = np.flatnonzero(failed)
        if len(rows):
            texts = to_text(raw).take(pa.array(rows)).to_pylist()
            findings.add("attribute.type", rows, attribute=attribute.name, values=texts, limit=attribute.type)
        return _default(attribute, typed)

    def _from_items(self) -> pa.Array:
        items = {item: column for (owner, item), column in self.matched.items.items() if owner == self.attribute.name}
        if not items:
            return pa.nulls(self.count, arrow_type(self.attribute.type, self.attribute.scale))
        styles = {item: self.styles.get(column) for item, column in items.items()}
        cleaned = {item: self.cleaned[column] for item, column in items.items()}
        told = {name: self.cleaned[column] for name, column in self.matched.attributes.items()}
        for item, column in items.items():
            if column == item_column(self.attribute.name, item):
                cleaned[item] = lists.followed(cleaned[item], told)
        return lists.from_columns(cleaned, self.attribute, styles)


def _default(attribute: Attribute, column: pa.Array) -> pa.Array:
    if attribute.default is None:
        return column
    value, _ = cast(pa.array([attribute.default]), attribute.type, attribute.scale)
    return pc.fill_null(column, value[0])


def _padded(raw: pa.Array, attribute: Attribute) -> pa.Array:
    """Give codes of fixed length back the zeros that a number column took (`4` for commune `00004`)."""
    length = re.fullmatch(r"\^\\d\{(\d+)\}\$", attribute.pattern or "")
    if attribute.type != "text" or length is None or pa.types.is_string(raw.type):
        return raw
    return pc.utf8_lpad(to_text(raw), int(length[1]), "0")


def _main_codes(column: pa.Array, attribute: Attribute, layer: Layer, matched: Match) -> pa.Array:
    """Of `ONT(1782.6);CLN(2754.7)` in the column of a single code, the code with the largest amount is the value, when
    a list attribute of the layer takes all of them from the same column."""
    source = matched.attributes.get(attribute.name)
    takers = [
        layer[owner]
        for (owner, item), column in matched.items.items()
        if column in (source, item_column(owner, item)) and layer[owner].parse
    ]
    if attribute.type != "code" or not takers:
        return column

    def choose(texts: list[str]) -> list[str | None]:
        return [None if text is None else lists.main_code(text, takers[0]) or text for text in texts]

    return by_value(column, choose)


# --- templates and ids --------------------------------------------------------------------------------------------


def fill(template: str, columns: dict[str, pa.Array]) -> pa.Array:
    """A text made from columns; null where one of its parts is."""
    pieces = re.split(r"\{(\w+)\}", template)
    parts: list[Any] = [piece if index % 2 == 0 else to_text(columns[piece]) for index, piece in enumerate(pieces)]
    if all(isinstance(part, str) for part in parts):
        return pa.array([template] * len(next(iter(columns.values()))), pa.string())
    return pc.binary_join_element_wise(*parts, "", null_handling="emit_null")


def _fill_templates(layer: Layer, columns: dict[str, pa.Array]) -> None:
    """Fill from templates in the order in which they need each other."""
    waiting = [attribute for attribute in layer.stored if attribute.template]
    while waiting:
        names = {attribute.name for attribute in waiting}
        ready = [a for a in waiting if not names & set(fields_of(a.template)) - {a.name}] or waiting
        for attribute in ready:
            assert attribute.template is not None
            filled = fill(attribute.template, columns)
            typed, _ = cast(filled, attribute.type, attribute.scale, Style())
            columns[attribute.name] = pc.coalesce(columns[attribute.name], typed)
        waiting = [attribute for attribute in waiting if attribute not in ready]


def identify(layer: Layer, columns: dict[str, pa.Array], start: int, findings: Findings) -> pa.Array:
    """The ids by the contract of features of a part whose first is row `start`; missing ones are found."""
    if layer.identifier is None:
        return pa.array(np.arange(start, start + findings.count) + 1).cast(pa.string())
    ids = fill(_id_template(layer.identifier), columns)
    parts = parts_of_id(layer)
    missing = np.flatnonzero(np.asarray(pc.is_null(ids)))
    if len(missing):
        absent = {name: np.asarray(pc.is_null(columns[name])) for name in columns}
        lacking = [", ".join(dict.fromkeys(_lacking(layer, parts, absent, int(row)))) for row in missing]
        findings.add("identifier.missing", missing, limits=lacking)
    return ids


def parts_of_id(layer: Layer) -> list[str]:
    """The attributes without any of which a feature has no id."""
    return [] if layer.identifier is None else fields_of(_id_template(layer.identifier))


def _id_template(identifier: Identifier) -> str:
    return identifier.template or f"{{{identifier.attribute}}}"


def _lacking(layer: Layer, names: Iterable[str], absent: Mapping[str, NDArray[np.bool_]], row: int) -> Iterator[str]:
    """The attributes without which others are empty: where one is made of others, these, which stand in the file."""
    for name in names:
        if absent[name][row]:
            template = layer[name].template
            parts = [part for part in fields_of(template) if part != name] if template else []
            yield from _lacking(layer, parts, absent, row) if any(absent[part][row] for part in parts) else [name]


def distinguish(
    layer: Layer, rows: NDArray[np.intp], ids: Sequence[str], content: Sequence[bytes], findings: Findings
) -> dict[int, str]:
    """Of rows that may share their ids, find those that do; returns the ids of rows that got another one.

    content: a digest of all that a row holds. It decides the order of features that share an id, so that it does not
    depend on the file's.
    """
    assert layer.identifier is not None
    how = layer.identifier.duplicates
    order = sorted(range(len(rows)), key=lambda position: (ids[position], content[position]))
    marked: list[int] = []
    renamed: dict[int, str] = {}
    for name, group in groupby(order, key=lambda position: ids[position]):
        members = list(group)
        if len(members) == 1:
            continue
        alike = len({content[position] for position in members}) == 1
        # Of features alike in everything one may stay; of those that differ none, for no program knows which is right.
        keep = 1 if how == "suffix" or (how == "quarantine" and alike) else 0
        marked += members[keep:]
        if how == "suffix":
            for number, position in enumerate(members[1:], start=2):
                renamed[int(rows[position])] = f"{name}~{number}"
    marked.sort()
    action: Any = {"suffix": "repair", "quarantine": "quarantine", "refuse": "refuse"}[how]
    findings.add("identifier.duplicate", rows[marked], values=[ids[position] for position in marked],
                 attribute=layer.identifier.attribute, action=action)  # fmt: skip
    return renamed


def digests(columns: Sequence[pa.Array], shapes: Shapes) -> list[bytes]:
    """A digest of attributes and geometry of each feature."""
    texts = [to_text(column).to_pylist() for column in columns]
    found = []
    for position, shape in enumerate(shapely.to_wkb(shapes, byte_order=1)):
        digest = hashlib.blake2b(shape or b"", digest_size=16)
        for column in texts:
            digest.update(b"\x00" if column[position] is None else b"\x01" + column[position].encode())
        found.append(digest.digest())
    return found
