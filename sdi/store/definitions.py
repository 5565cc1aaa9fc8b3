"""The tables of `tables` as SQLAlchemy knows them, with their indexes, and as DDL: what a migration makes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from geoalchemy2 import Geometry
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

from sdi.contract.layer import GeometryType, Layer
from sdi.contract.registry import Registry
from sdi.store.tables import INDEX, KNOWN, SEARCH, WITHOUT, asked_lists, figures, indexed, owed
from sdi.store.tables import name as _name

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


def tables(registry: Registry) -> list[Table]:
    """Every table that the contracts ask for, indexes included."""
    metadata = MetaData()
    for layer in registry:
        if layer.coverage is not None:
            for name in sorted({statistic.layer for statistic in layer.coverage.statistics}):
                _statistics(layer, name, metadata)
        else:
            _now(layer, registry, metadata)
            _past(layer, metadata)
    return list(metadata.tables.values())


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


def _now(layer: Layer, registry: Registry, metadata: MetaData) -> None:
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
    for name in indexed(layer):
        # Many columns are empty in a delivery, and "attribute = value" is never asked of an empty one.
        Index(_name(layer.id, name, KNOWN, INDEX), table.c[name], postgresql_where=table.c[name].is_not(None))
    for name in owed(layer):
        Index(_name(layer.id, name, WITHOUT, INDEX), table.c.id, postgresql_where=table.c[name].is_(None))
    for name in layer.search:
        # Finds a part of a text, without case and marks, by its trigrams.
        Index(
            _name(layer.id, name, SEARCH, INDEX), func.sdi.fold(table.c[name]).label(SEARCH),
            postgresql_using="gin", postgresql_ops={SEARCH: "gin_trgm_ops"},
        )  # fmt: skip
    for name in asked_lists(layer, registry):
        # Finds the features that name one, by containment: attribute @> '[{"id": "…"}]'.
        Index(
            _name(layer.id, name, INDEX), table.c[name],
            postgresql_using="gin", postgresql_ops={name: "jsonb_path_ops"},
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
    return Table(
        _name(coverage.id, layer),
        metadata,
        Column("id", Text(), primary_key=True),
        *(Column(name, Double()) for name in figures(coverage, layer)),
        schema=coverage.theme,
    )
