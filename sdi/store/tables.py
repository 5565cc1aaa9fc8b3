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
from typing import Any, get_args

from geoalchemy2 import Geometry
from psycopg import sql
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    Table,
    Text,
    func,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.schema import CreateIndex, CreateTable

from sdi.contract.layer import Attribute, GeometryType, Layer
from sdi.contract.registry import Registry

_TYPES: dict[str, Any] = {
    "text": Text(),
    "code": Text(),
    "integer": BigInteger(),
    "decimal": Numeric(),
    "number": Double(),
    "boolean": Boolean(),
    "date": Date(),
    "datetime": DateTime(timezone=True),
    "list": JSONB(),
}
_DIALECT: Any = postgresql.dialect()  # type: ignore[no-untyped-call]
_SEARCHED = ("code", "date", "datetime")
"""Attribute types that queries pick a small share of rows by; free text and measures are rarely asked exactly."""
INDEX = "ix"
"""Last part of the name of every index made here."""
SEARCH = "search"
"""In the name of an index of trigrams; and what its expression is called."""
KNOWN = "known"
"""Part of the name of an index that leaves out what is NULL."""
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
    return sql.Identifier(coverage.theme, _name(coverage.id, layer.id))


def content(layer: Layer) -> list[str]:
    """The columns whose change makes another version of a row, `geom_wgs84` (made from `geom`) beside them."""
    subject = ["subject_id"] if layer.kind == "derived" else []
    return ["id", *subject, *(attribute.name for attribute in layer.stored), "geom", "geom_wgs84"]


def columns(layer: Layer) -> list[str]:
    """All columns of the table of what is true now."""
    return [*content(layer), "row_hash", "load_id", "source_row"]


def types(layer: Layer) -> dict[str, str]:
    """The PostgreSQL type of every column of the table of what is true now."""
    return {column.name: type_of(column) for column in _columns(layer)}


def same_type(one: Attribute, other: Attribute) -> bool:
    """Whether two attributes have one PostgreSQL type."""
    return _TYPES[one.type] is _TYPES[other.type] or {one.type, other.type} == {"text", "code"}


def tables(registry: Registry) -> list[Table]:
    """Every table that the contracts ask for, indexes included."""
    metadata = MetaData()
    for layer in registry:
        if layer.coverage is not None:
            for name in sorted({statistic.layer for statistic in layer.coverage.statistics}):
                _statistics(layer, name, metadata)
        else:
            _now(layer, metadata)
            _past(layer, metadata)
    return list(metadata.tables.values())


def statistics_table(coverage: Layer, layer: Layer) -> Table:
    return _statistics(coverage, layer.id, MetaData())


def create(table: Table) -> Iterator[str]:
    """The DDL of a table and of its indexes."""
    yield str(CreateTable(table).compile(dialect=_DIALECT)).strip()
    for index in sorted(table.indexes, key=lambda index: str(index.name)):
        yield create_index(index)


def create_index(index: Index) -> str:
    return str(CreateIndex(index).compile(dialect=_DIALECT)).strip()


def column_ddl(column: Column[Any]) -> str:
    """A column as `ALTER TABLE … ADD COLUMN` takes it: the name and the type."""
    return f"{_DIALECT.identifier_preparer.quote(column.name)} {type_of(column)}"


def type_of(column: Column[Any]) -> str:
    """The column's type in the words of `format_type()`, so that it can be compared with the catalogue's."""
    if isinstance(column.type, Geometry):
        kind, srid = _KINDS[str(column.type.geometry_type)], column.type.srid
        return f"geometry({kind})" if srid == -1 else f"geometry({kind},{srid})"
    return str(column.type.compile(dialect=_DIALECT)).lower()


_KINDS = {kind.upper(): kind for kind in get_args(GeometryType)}


def _shape(kind: str, srid: int = -1) -> Geometry:
    """A geometry type; SRID -1 takes any."""
    return Geometry(kind.upper(), srid=srid, spatial_index=False)


@dataclass(frozen=True)
class Grants:
    """The columns of one table that the reader may see; empty: none."""

    schema: str
    table: str
    columns: tuple[str, ...]


def grants(layer: Layer) -> Grants:
    """What sdi_reader may see of a layer: open and agency attributes, never restricted ones."""
    seen = [attribute.name for attribute in layer.stored if attribute.privacy in ("open", "agency")]
    subject = ["subject_id"] if layer.kind == "derived" else []
    return Grants(layer.theme, layer.id, ("id", *subject, *seen, "geom", "geom_wgs84", "load_id"))


def grants_past(layer: Layer) -> Grants:
    """What sdi_reader may see of a layer's past: the same columns, and when each row ended."""
    shown = grants(layer)
    return Grants(shown.schema, f"{layer.id}__past", (*shown.columns, "load_to"))


def fingerprint(layer: Layer) -> str:
    """SHA-256 of a contract's content; the order of its lists counts."""
    return hashlib.sha256(json.dumps(layer.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


def _columns(layer: Layer) -> list[Column[Any]]:
    assert layer.geometry is not None
    subject = [Column("subject_id", Text(), nullable=False)] if layer.kind == "derived" else []
    attributes: list[Column[Any]] = [Column(attribute.name, _TYPES[attribute.type]) for attribute in layer.stored]
    return [
        Column("id", Text(), nullable=False),
        *subject,
        *attributes,
        Column("geom", _shape(layer.geometry.type)),
        Column("geom_wgs84", _shape(layer.geometry.type, 4326)),
        Column("row_hash", LargeBinary(), nullable=False),
        Column("load_id", BigInteger(), nullable=False),
        Column("source_row", Integer()),
    ]


def _now(layer: Layer, metadata: MetaData) -> None:
    made = _columns(layer)
    made[0].primary_key = True
    table = Table(
        layer.id,
        metadata,
        *made,
        CheckConstraint("geom IS NULL OR sdi.datum(st_srid(geom)) IS NOT NULL", name=_name(layer.id, "geom", "grid")),
        schema=layer.theme,
    )
    Index(_name(layer.id, "geom_wgs84", INDEX), table.c.geom_wgs84, postgresql_using="gist")
    Index(_name(layer.id, "load_id", INDEX), table.c.load_id)
    if layer.kind == "derived":
        Index(_name(layer.id, "subject_id", INDEX), table.c.subject_id)
    for name in _indexed(layer):
        # Many columns are empty in a delivery, and "attribute = value" is never asked of an empty one.
        Index(_name(layer.id, name, KNOWN, INDEX), table.c[name], postgresql_where=table.c[name].is_not(None))
    for name in layer.search:
        # Finds a part of a text, without case and marks, by its trigrams.
        Index(
            _name(layer.id, name, SEARCH, INDEX), func.sdi.fold(table.c[name]).label(SEARCH),
            postgresql_using="gin", postgresql_ops={SEARCH: "gin_trgm_ops"},
        )  # fmt: skip
    for attribute in layer.stored:
        if attribute.type == "list" and attribute.refers_to is not None:
            # Finds the features that name one, by containment: attribute @> '[{"id": "…"}]'.
            Index(
                _name(layer.id, attribute.name, INDEX), table.c[attribute.name],
                postgresql_using="gin", postgresql_ops={attribute.name: "jsonb_path_ops"},
            )  # fmt: skip


def _past(layer: Layer, metadata: MetaData) -> None:
    table = Table(
        f"{layer.id}__past", metadata, *_columns(layer), Column("load_to", BigInteger(), nullable=False),
        schema=layer.theme,
    )  # fmt: skip
    Index(_name(table.name, "id", INDEX), table.c.id, table.c.load_to)
    Index(_name(table.name, "load_to", INDEX), table.c.load_to)
    # A state of the past is asked for by place as the present one is, and compared with another by loads.
    Index(_name(table.name, "load_id", INDEX), table.c.load_id)
    Index(_name(table.name, "geom_wgs84", INDEX), table.c.geom_wgs84, postgresql_using="gist")


def _statistics(coverage: Layer, layer: str, metadata: MetaData) -> Table:
    assert coverage.coverage is not None
    operations = {
        name: None for each in coverage.coverage.statistics if each.layer == layer for name in each.operations
    }
    names = [f"{band.name}_{operation}" for band in coverage.coverage.bands for operation in operations]
    return Table(
        _name(coverage.id, layer),
        metadata,
        Column("id", Text(), primary_key=True),
        *(Column(name, Double()) for name in names),
        schema=coverage.theme,
    )


def _indexed(layer: Layer) -> list[str]:
    """The attributes with a btree: asked for by value, or joined by."""
    roles = {layer.load.scope, *(_identifying(layer))}
    if layer.temporal is not None:
        roles |= {layer.temporal.start, layer.temporal.end, layer.temporal.instant}
    if layer.reform is not None:
        roles |= {layer.reform.attribute, layer.reform.former}
    return [attribute.name for attribute in layer.stored if _is_indexed(attribute, roles)]


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


def _name(*parts: str) -> str:
    """A name within PostgreSQL's 63 bytes; a longer one keeps its head and gets a short hash."""
    name = "__".join(parts)
    if len(name) <= _NAME_LIMIT:
        return name
    return f"{name[: _NAME_LIMIT - 9]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"
