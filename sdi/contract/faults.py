"""What a contract gets wrong about itself, the code lists, the rules or other layers: (place in the file, sentence)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from sdi.contract import lineage, parameters
from sdi.contract.codelist import CodeList
from sdi.contract.layer import COUNT, Attribute, Layer, Statistics
from sdi.contract.rules import RULES
from sdi.errors import nearest

Place = tuple[str | int, ...]
Found = Iterator[tuple[Place, str]]


class Context(Protocol):
    """What a contract is held against; the registry in the making."""

    @property
    def folder(self) -> Path: ...
    @property
    def layers(self) -> dict[str, Layer]: ...
    @property
    def code_lists(self) -> dict[str, CodeList]: ...
    @property
    def unreadable(self) -> frozenset[str]:
        """Layers and code lists that are there and have faults of their own: naming them is no second fault."""
        ...


FIELD = re.compile(r"\{(\w+)\}")
"""An attribute's name in a template."""
RESERVED = frozenset(
    {"id", "geom", "geom_wgs84", "row_hash", "load_id", "load_to", "subject_id", "source_row", "geometry", COUNT}
)
"""Columns that every table has, GeoJSON's own word, and that of squares in vector tiles."""
PARAMETERS = frozenset(
    {"bbox", "bbox_crs", "crs", "datetime", "f", "filter", "filter_crs", "filter_lang", "ids", "lang", "limit",
     "offset", "profile", "properties", "q", "resulttype", "skipgeometry", "sortby"}
)  # fmt: skip
"""Query parameters of OGC API: an attribute of that name could not be asked for."""
SCHEMAS = frozenset({"sdi", "qa", "public", "published", "information_schema", "topology"})
"""PostgreSQL schemas that are no theme."""


def faults(layer: Layer, file: str, context: Context) -> Found:
    """Every fault of one contract whose words and types are right."""
    if Path(file).stem != layer.id:
        yield ("id",), f"id '{layer.id}' must be the file's name"
    if layer.theme in SCHEMAS or layer.theme.startswith("pg_"):
        yield ("theme",), f"'{layer.theme}' is a schema of the database's own"
    yield from _of_kind(layer)
    yield from _of_attributes(layer, context)
    yield from _of_names(layer)
    yield from parameters.faults(layer, context.layers, context.unreadable)
    yield from _of_actions(layer)
    yield from _of_style(layer, context)
    yield from _of_heading(layer)
    yield from lineage.faults(layer, context.layers, context.unreadable)
    if layer.statistics is not None:
        yield from _of_statistics(layer, layer.statistics, context)
    yield from _of_sight(layer)
    if layer.derived is not None:
        yield from _of_derived(layer, context)
    if layer.coverage is not None:
        for index, statistic in enumerate(layer.coverage.statistics):
            place = ("coverage", "statistics", index, "layer")
            yield from _layer([statistic.layer], context, place)


def fields_of(template: str | None) -> list[str]:
    """The attribute names in a template."""
    return FIELD.findall(template or "")


def folded(name: str) -> str:
    """A column's name as it is compared: without case, marks, blanks and `_`."""
    plain = "".join(c for c in unicodedata.normalize("NFD", name.lower()) if unicodedata.category(c) != "Mn")
    return re.sub(r"[^a-z0-9]", "", plain.replace("đ", "d"))


def _unknown(names: Iterable[str | None], known: Iterable[str], place: Place, what: str, of: str = "") -> Found:
    known = list(known)
    for name in names:
        if name is not None and name not in known:
            yield place, f"there is no {what} '{name}'{f" in '{of}'" if of else ''}.{nearest(name, known)}"


def _layer(names: Iterable[str | None], context: Context, place: Place) -> Found:
    yield from _unknown(names, {*context.layers, *context.unreadable}, place, "layer")


def _of_kind(layer: Layer) -> Found:
    needs = {"features": ("geometry", "identifier"), "derived": ("geometry", "derived"), "coverage": ("coverage",)}
    for part in needs[layer.kind]:
        if getattr(layer, part) is None:
            yield ("kind",), f"a layer of kind '{layer.kind}' needs '{part}'"
    for part in ("derived", "coverage", "dossier"):
        allowed = part in needs[layer.kind] or (part == "dossier" and layer.kind == "derived")
        if getattr(layer, part) is not None and not allowed:
            yield (part,), f"a layer of kind '{layer.kind}' has no '{part}'"
    if layer.identifier is not None and (layer.identifier.attribute is None) == (layer.identifier.template is None):
        yield ("identifier",), "the identifier needs either 'attribute' or 'template'"


def _of_attributes(layer: Layer, context: Context) -> Found:
    names = [attribute.name for attribute in layer.attributes]
    personal = {attribute.name for attribute in layer.attributes if attribute.privacy == "personal"}
    for index, attribute in enumerate(layer.attributes):
        place = ("attributes", index)
        if names.index(attribute.name) != index:
            yield (*place, "name"), f"attribute '{attribute.name}' stands twice"
        if attribute.name in RESERVED:
            yield (*place, "name"), f"attribute '{attribute.name}' is a reserved name"
        if attribute.name in PARAMETERS:
            yield (*place, "name"), f"attribute '{attribute.name}' is the name of a query parameter of OGC API"
        yield from _of_attribute(attribute, place, context)
        used = fields_of(attribute.template)
        yield from _unknown(used, names, (*place, "template"), "attribute")
        for name in set(used) & set(names):
            if name in personal:
                yield (*place, "template"), f"'{name}' is personal and must not be made part of '{attribute.name}'"
            elif names.index(name) >= index:
                yield (*place, "template"), f"'{name}' must stand before '{attribute.name}', which is made from it"
    yield from _of_sources(layer)


def _of_attribute(attribute: Attribute, place: Place, context: Context) -> Found:
    yield from _of_code_list(attribute.name, attribute.type, attribute.code_list, place, context)
    for index, item in enumerate(attribute.items or []):
        yield from _of_code_list(item.name, item.type, item.code_list, (*place, "items", index), context)
    if (attribute.type == "list") != (attribute.items is not None):
        yield place, f"attribute '{attribute.name}': type 'list' and 'items' go together"
    if attribute.parse is not None and attribute.type != "list":
        yield (*place, "parse"), f"attribute '{attribute.name}' is not a list, so nothing is parsed"
    yield from _layer([attribute.refers_to], context, (*place, "refers_to"))
    if attribute.minimum is not None and attribute.maximum is not None and attribute.minimum > attribute.maximum:
        yield (*place, "minimum"), f"minimum {attribute.minimum:g} is more than maximum {attribute.maximum:g}"
    if attribute.pattern is not None:
        try:
            re.compile(attribute.pattern)
        except re.error as error:
            yield (*place, "pattern"), f"is not a regular expression: {error}"
            return
        if isinstance(attribute.default, str) and re.fullmatch(attribute.pattern, attribute.default) is None:
            yield (*place, "default"), f"'{attribute.default}' does not match the attribute's own pattern"
    codes = context.code_lists.get(attribute.code_list or "")
    if attribute.default is not None and codes is not None:
        yield from _unknown([str(attribute.default)], codes.values(), (*place, "default"), "code", codes.id)


def _of_code_list(name: str, kind: str, code_list: str | None, place: Place, context: Context) -> Found:
    if (kind == "code") != (code_list is not None):
        yield place, f"attribute '{name}': type 'code' and 'code_list' go together"
    known = {*context.code_lists, *context.unreadable}
    yield from _unknown([code_list], known, (*place, "code_list"), "code list")


def _of_sources(layer: Layer) -> Found:
    """One column name may mean one attribute only; a list's first item may read a column beside an attribute."""
    owner: dict[str, str] = {}
    for index, attribute in enumerate(layer.attributes):
        for number, source in enumerate(attribute.sources):
            place = ("attributes", index, "sources", number)
            key = folded(source)
            if not key:
                yield place, f"'{source}' has no letter or digit to compare"
            elif key in owner:
                other = f"'{owner[key]}' already" if owner[key] != attribute.name else "the same attribute twice"
                yield place, f"column '{source}' of '{attribute.name}' stands for {other}"
            owner.setdefault(key, attribute.name)
    for index, attribute in enumerate(layer.attributes):
        named = owner.get(folded(attribute.name), attribute.name)
        if named != attribute.name:
            yield ("attributes", index, "name"), f"'{attribute.name}' is also a column name of '{named}'"


def _of_names(layer: Layer) -> Found:
    stored = {attribute.name: attribute for attribute in layer.stored}
    if layer.identifier is not None:
        used = [layer.identifier.attribute, *fields_of(layer.identifier.template)]
        yield from _unknown(used, stored, ("identifier",), "stored attribute")
    if layer.temporal is not None:
        for role in ("start", "end", "instant"):
            name = getattr(layer.temporal, role)
            yield from _unknown([name], stored, ("temporal", role), "stored attribute")
            if name in stored and stored[name].type not in ("date", "datetime"):
                yield ("temporal", role), f"'{name}' is of type '{stored[name].type}', not a date or datetime"
    yield from _unknown(layer.search, stored, ("search",), "stored attribute")
    for name in layer.search:
        if name in stored and (stored[name].type != "text" or not stored[name].queryable):
            yield ("search",), f"'{name}' is no queryable text"
    yield from _unknown([layer.load.scope], stored, ("load", "scope"), "stored attribute")
    if layer.load.mode == "partial" and layer.load.scope is not None:
        yield ("load", "scope"), "a partial delivery ends nothing, so it has no scope"


def _of_actions(layer: Layer) -> Found:
    for index, check in enumerate(layer.checks):
        possible = RULES[check.rule].actions
        if check.action is not None and check.action not in possible:
            why = "there is no repair for it; " if check.action == "repair" else ""
            said = f"'{check.rule}' cannot be answered by '{check.action}': {why}possible: {', '.join(possible)}"
            yield ("checks", index, "action"), said


def _of_style(layer: Layer, context: Context) -> Found:
    style = layer.style
    stored = {attribute.name: attribute for attribute in layer.stored}
    for role in ("label", "classify"):
        yield from _unknown([getattr(style, role)], stored, ("style", role), "stored attribute")
    if style.colours and style.classify is None:
        yield ("style", "colours"), "'colours' need 'classify', the attribute whose values they belong to"
    used: list[tuple[Place, str | None]] = [(("style", "fill"), style.fill), (("style", "stroke"), style.stroke)]
    used += [(("style", "colours", value), colour) for value, colour in style.colours.items()]
    for place, colour in used:
        if colour is not None and re.fullmatch(r"#[0-9a-fA-F]{6}", colour) is None:
            yield place, f"'{colour}' is not a colour like '#1f8a70'"
    classified = stored.get(style.classify or "")
    codes = context.code_lists.get(classified.code_list or "") if classified else None
    if codes is not None:
        for value in style.colours:
            yield from _unknown([value], codes.values(), ("style", "colours", value), "code", codes.id)


def _of_heading(layer: Layer) -> Found:
    stored = {attribute.name: attribute for attribute in layer.stored}
    for index, part in enumerate(layer.heading):
        for language in ("vi", "en"):
            place, text = ("heading", index, language), part.in_language(language)
            names = fields_of(text)
            if not names or re.search(r"[{}]", FIELD.sub("", text)):
                yield place, f"'{text}' names no attribute in braces"
            yield from _unknown(names, stored, place, "stored attribute")
            for name in names:
                if name in stored and stored[name].type == "list":
                    yield place, f"'{name}' is a list, and no word of a heading"


def _of_statistics(layer: Layer, told: Statistics, context: Context) -> Found:
    stored = {attribute.name: attribute for attribute in layer.stored}
    for index, name in enumerate(told.by):
        place = ("statistics", "by", index)
        yield from _unknown([name], stored, place, "stored attribute")
        known = stored.get(name)
        if told.by.index(name) != index:
            yield place, f"'{name}' stands twice"
        elif known is not None and name not in told.units and not _groups(known):
            yield place, f"'{name}' makes no groups: it is no code, truth, whole number, date or text with a pattern"
    for index, name in enumerate(told.sum):
        place = ("statistics", "sum", index)
        yield from _unknown([name], stored, place, "stored attribute")
        known = stored.get(name)
        if known is not None and not (
            known.type in ("integer", "decimal", "number") and known.minimum is not None and known.minimum >= 0
        ):
            yield place, f"'{name}' cannot be added up: it is no number with a minimum of 0 or more"
    for name, units in told.units.items():
        yield from _unknown([name], told.by, ("statistics", "units"), "attribute", "by")
        yield from _layer([units], context, ("statistics", "units", name))
        found = context.layers.get(units)
        if found is not None and (found.frame is None or found.style.label is None):
            yield ("statistics", "units", name), f"'{units}' has no 'frame' or no label to name units by"


def _groups(attribute: Attribute) -> bool:
    """Whether an attribute's values are codes, of which there are few, and no words about somebody."""
    if attribute.type == "text":
        return attribute.pattern is not None
    return attribute.type in ("code", "boolean", "integer", "date", "datetime")


def _of_derived(layer: Layer, context: Context) -> Found:
    derived = layer.derived
    assert derived is not None
    yield from _layer([derived.subject], context, ("derived", "subject"))
    subject = context.layers.get(derived.subject)
    for index, source in enumerate(derived.inputs):
        place = ("derived", "inputs", index)
        yield from _layer([source.layer], context, (*place, "layer"))
        if ("key" in source.by) != bool(source.key):
            yield place, "'by: [key]' and 'key' go together"
        read = context.layers.get(source.layer)
        if read is not None and subject is not None:
            yield from _unknown(source.key, read.by_name, (*place, "key"), "attribute", read.id)
            yield from _unknown(source.key.values(), subject.by_name, (*place, "key"), "attribute", subject.id)
            yield from _unknown(source.reads or [], read.by_name, (*place, "reads"), "attribute", read.id)
    path = context.folder / derived.sql
    if not path.is_file():
        near = nearest(derived.sql, sorted(found.name for found in context.folder.glob("*.sql")))
        yield ("derived", "sql"), f"there is no file '{derived.sql}' beside the contracts.{near}"
    elif not path.read_text(encoding="utf-8").strip():
        yield ("derived", "sql"), f"'{derived.sql}' is empty"
    if _circular(layer.id, context):
        yield ("derived", "inputs"), f"'{layer.id}' is made from itself"


def _of_sight(layer: Layer) -> Found:
    """What is said of who sees a derived layer, its attributes, and attributes that refer to other layers."""
    inputs = [source.layer for source in layer.derived.inputs] if layer.derived else []
    for index, attribute in enumerate(layer.attributes):
        yield from _unknown(attribute.made_from or [], inputs, ("attributes", index, "made_from"), "input", layer.id)
        if attribute.made_from is not None and layer.derived is None:
            yield ("attributes", index, "made_from"), "only an attribute of a derived layer is made from others"
        if attribute.shown is not None and layer.derived is None and attribute.refers_to is None:
            said = f"'{attribute.name}' refers to no layer and is made from none: its privacy says who sees it"
            yield ("attributes", index, "shown"), said
    made_of = [*inputs, layer.derived.subject] if layer.derived else []
    named = layer.sharing.withholds_with
    yield from _unknown(named, made_of, ("sharing", "withholds_with"), "subject or input", layer.id)
    if named and layer.sharing.withhold is None:
        yield ("sharing", "withholds_with"), "without 'withhold' nothing is withheld"


def _circular(layer: str, context: Context) -> bool:
    seen: set[str] = set()

    def reach(name: str) -> None:
        found = context.layers.get(name)
        if found is None or found.derived is None:
            return
        for source in found.derived.inputs:
            if source.layer not in seen:
                seen.add(source.layer)
                reach(source.layer)

    reach(layer)
    return layer in seen
