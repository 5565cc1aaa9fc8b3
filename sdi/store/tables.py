"""A layer's contract as PostgreSQL tables: the layer, its past, and the statistics a coverage gives it.

`<theme>.<layer>` holds what is true now: `id`, one column per stored attribute, `geom` in each feature's own grid (two
deliveries of one layer may lie in two grids), `geom_wgs84` (EPSG:4326, x = longitude), `row_hash`, `load_id`,
`source_row`; a derived layer also `subject_id`. `<theme>.<layer>__past` holds what a later load replaced, with
`load_to`, the load that ended it. `<theme>.<coverage>__<layer>` holds zonal statistics, one row per feature.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from psycopg import sql

from sdi.contract.layer import Attribute, Layer
from sdi.contract.registry import Registry

_TYPES = {
    "text": "text", "code": "text", "integer": "bigint", "decimal": "numeric", "number": "double precision",
    "boolean": "boolean", "date": "date", "datetime": "timestamp with time zone", "list": "jsonb",
}  # fmt: skip
"""Type of an attribute -> of its column, in the words of `format_type()`."""
_SEARCHED = ("code", "date", "datetime")
"""Attribute types that queries pick a small share of rows by; free text and measures are rarely asked exactly."""
INDEX = "ix"
"""Last part of the name of every index."""
SEARCH = "search"
"""In the name of an index of trigrams; and what its expression is called."""
KNOWN = "known"
"""Part of the name of an index that leaves out what is NULL."""
WITHOUT = "without"
"""Part of the name of an index of nothing else."""
_NAME_LIMIT = 63
"""Bytes of a PostgreSQL name."""


def now(layer: Layer) -> sql.Identifier:
    """The table of what is true now."""
    return sql.Identifier(layer.theme, layer.id)


def past(layer: Layer) -> sql.Identifier:
    """The table of what was true before."""
    return sql.Identifier(layer.theme, f"{layer.id}__past")


def statistics(coverage: Layer, layer: Layer) -> sql.Identifier:
    """The table of what a coverage says about each feature of a layer."""
    return sql.Identifier(coverage.theme, name(coverage.id, layer.id))


def figures(coverage: Layer, layer: str) -> list[str]:
    """The columns of what a coverage says about each feature of a layer, beside `id`."""
    assert coverage.coverage is not None
    operations = {
        name: None for each in coverage.coverage.statistics if each.layer == layer for name in each.operations
    }
    return [f"{band.name}_{operation}" for band in coverage.coverage.bands for operation in operations]


def content(layer: Layer) -> list[str]:
    """The columns whose change makes another version of a row, `geom_wgs84` (made from `geom`) beside them."""
    return ["id", *_subject(layer), *(attribute.name for attribute in layer.stored), "geom", "geom_wgs84"]


def columns(layer: Layer) -> list[str]:
    """All columns of the table of what is true now."""
    return [*content(layer), "row_hash", "load_id", "source_row"]


def types(layer: Layer) -> dict[str, str]:
    """The PostgreSQL type of every column of the table of what is true now."""
    assert layer.geometry is not None
    subject = {"subject_id": "text"} if layer.kind == "derived" else {}
    attributes = {attribute.name: _TYPES[attribute.type] for attribute in layer.stored}
    kind = layer.geometry.type
    return {
        "id": "text", **subject, **attributes, "geom": f"geometry({kind})", "geom_wgs84": f"geometry({kind},4326)",
        "row_hash": "bytea", "load_id": "bigint", "source_row": "integer",
    }  # fmt: skip


def same_type(one: Attribute, other: Attribute) -> bool:
    """Whether two attributes have one PostgreSQL type."""
    return _TYPES[one.type] == _TYPES[other.type]


@dataclass(frozen=True)
class Grants:
    """The columns of one table that a role may see; empty: none."""

    schema: str
    table: str
    columns: tuple[str, ...]
    role: Literal["sdi_reader", "sdi_steward"] = "sdi_reader"


def grants(layer: Layer) -> Grants:
    """What sdi_reader may see of a layer: open and agency attributes, never restricted ones."""
    seen = [attribute.name for attribute in layer.stored if attribute.privacy in ("open", "agency")]
    return Grants(layer.theme, layer.id, ("id", *_subject(layer), *seen, "geom", "geom_wgs84", "load_id"))


def grants_past(layer: Layer) -> Grants:
    """What sdi_reader may see of a layer's past: the same columns, and when each row ended."""
    shown = grants(layer)
    return Grants(shown.schema, f"{layer.id}__past", (*shown.columns, "load_to"))


def grants_restricted(layer: Layer) -> Iterator[Grants]:
    """What sdi_steward may see besides, of a layer and of its past: what is restricted, for agencies with a grant."""
    names = tuple(attribute.name for attribute in layer.stored if attribute.privacy == "restricted")
    for table in (layer.id, f"{layer.id}__past"):
        yield Grants(layer.theme, table, names, "sdi_steward")


def readable(layer: Layer, *, restricted: bool) -> frozenset[str]:
    """The attributes that a role may read, of a layer and of its past. `restricted`: sdi_steward, else sdi_reader."""
    more = next(grants_restricted(layer)).columns if restricted else ()
    return frozenset(attribute.name for attribute in layer.stored) & {*grants(layer).columns, *more}


def fingerprint(layer: Layer) -> str:
    """SHA-256 of a contract's content; the order of its lists counts."""
    return hashlib.sha256(json.dumps(layer.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


def name(*parts: str) -> str:
    """Parts as one name within PostgreSQL's 63 bytes; a longer one keeps its head and gets a short hash."""
    name = "__".join(parts)
    if len(name) <= _NAME_LIMIT:
        return name
    return f"{name[: _NAME_LIMIT - 9]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def indexed(layer: Layer) -> list[str]:
    """The attributes with a btree of what is not empty: asked for by value, sorted by, or joined by."""
    roles = {layer.load.scope, *(_identifying(layer))}
    if layer.temporal is not None:
        roles |= {layer.temporal.start, layer.temporal.end, layer.temporal.instant}
    if layer.reform is not None:
        roles |= {layer.reform.attribute, layer.reform.former}
    return [attribute.name for attribute in layer.stored if _is_indexed(attribute, roles)]


def owed(layer: Layer) -> list[str]:
    """The attributes with an index of the features without them besides: who walks a layer in their order comes to
    these last, and to find that there are none is to read the whole table. Required ones, which few features lack."""
    return [name for name in indexed(layer) if name in {each.name for each in layer.stored if each.required}]


def asked_lists(layer: Layer, registry: Registry) -> list[str]:
    """The lists with an index by what they name: by which layers that are made of this one find their subjects."""
    made = [each.derived for each in registry if each.derived is not None and each.derived.subject == layer.id]
    asked = {name for derived in made for source in derived.inputs for name in source.key.values()}
    return [attribute.name for attribute in layer.stored if attribute.type == "list" and attribute.name in asked]


def index_names(layer: Layer, registry: Registry) -> dict[str, set[str]]:
    """The tables that a layer's contract asks for, and their indexes besides the keys, as `definitions` makes them."""
    if layer.coverage is not None:
        return {name(layer.id, statistic.layer): set() for statistic in layer.coverage.statistics}
    past = f"{layer.id}__past"
    found = {name(layer.id, column, INDEX) for column in ("geom_wgs84", "load_id", *_subject(layer))}
    found |= {name(layer.id, attribute, KNOWN, INDEX) for attribute in indexed(layer)}
    found |= {name(layer.id, attribute, WITHOUT, INDEX) for attribute in owed(layer)}
    found |= {name(layer.id, attribute, SEARCH, INDEX) for attribute in layer.search}
    found |= {name(layer.id, attribute, INDEX) for attribute in asked_lists(layer, registry)}
    return {layer.id: found, past: {name(past, column, INDEX) for column in ("id", "load_to", "load_id", "geom_wgs84")}}


def _subject(layer: Layer) -> list[str]:
    return ["subject_id"] if layer.kind == "derived" else []


def _is_indexed(attribute: Attribute, roles: set[str | None]) -> bool:
    if attribute.type == "list":
        return False
    if attribute.refers_to is not None or attribute.name in roles:
        return True
    return attribute.queryable and attribute.type in _SEARCHED


def _identifying(layer: Layer) -> list[str]:
    if layer.identifier is None or layer.identifier.attribute is None:
        return []
    return [layer.identifier.attribute]
