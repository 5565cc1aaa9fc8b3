"""Which features a page has, and in which state, without rendering them; and the texts of those that are asked for.

A row that changes is another row, of another load (see sdi.store.delta): load and id tell what a feature is, as long as
it is the same table.
"""

from __future__ import annotations

from psycopg import sql

from sdi.contract.layer import Layer
from sdi.contract.query import FeatureQuery
from sdi.store import features, forms, shapes, tables
from sdi.store.statement import Statement

BETWEEN = rb"\n"
"""Between two versions: two signs, a line feed as JSON writes it. So the trail of reads takes a page's versions as they
come; to write them anew is the greater part of what an entry of a thousand costs."""


def select_versions(layer: Layer, query: FeatureQuery, count: int | None = None) -> Statement:
    """As `features.select_block`, but in place of its text the versions of its features, and one column more: which
    table it is that these are the versions of."""
    return shapes.filled(_versions, layer, query, count, _VERSIONS)


def select_both(layer: Layer, query: FeatureQuery, between: str, count: int | None = None) -> Statement:
    """The same behind the page's text in GeoJSON, its features joined by `between`."""
    return shapes.filled(_versions, layer, query, count, ((forms.geojson, between), *_VERSIONS))


def _versions(layer: Layer, query: FeatureQuery, count: int | None, joined: forms.Joined) -> Statement:
    block = features.select_blocks(layer, query, count, joined)
    statement = sql.SQL("SELECT page.*, {} FROM ({}) AS page").format(_table(layer), block.sql)
    return Statement(statement, block.params, block.drawn)


def select_rendered(layer: Layer, query: FeatureQuery) -> Statement:
    """Rows (version, GeoJSON Feature)."""
    return features.select_text(layer, query, _rendered)


def _rendered(layer: Layer, query: FeatureQuery) -> sql.Composable:
    return sql.SQL("{}, {}").format(_version(layer, query), forms.geojson(layer, query))


def _version(layer: Layer, query: FeatureQuery) -> sql.Composable:
    return sql.SQL("concat(load_id, ' ', id)")


_VERSIONS = ((_version, BETWEEN.decode()),)


def _table(layer: Layer) -> sql.Composable:
    """Text that tells a table, as it was filled, from all others that take its place: one that was made again, emptied
    or restored, or that of another server under the same address. Loads of these may bear the same ids."""
    return sql.SQL("concat_ws(' ', pg_postmaster_start_time(), pg_relation_filenode({}::regclass))").format(
        sql.Literal(tables.now(layer).as_string())
    )
