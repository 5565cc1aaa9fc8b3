"""Which features a page has, and in which state, without rendering them; and the texts of those that are asked for.

A row that changes is another row, of another load (see sdi.store.delta): load and id tell what a feature is, as long as
it is the same table.
"""

from __future__ import annotations

from psycopg import sql

from sdi.contract.layer import Layer
from sdi.contract.query import FeatureQuery
from sdi.store import features, forms, shapes, tables
from sdi.store.statement import Parameters, Statement

BETWEEN = rb"\n"
"""Between two versions: two signs, a line feed as JSON writes it. So the trail of reads takes a page's versions as they
come; to write them anew is the greater part of what an entry of a thousand costs."""

KEY = 8
"""Bytes of a version's key, a number of 64 bits with its highest first. Of a million versions two share a key once in
36 million layers; who keeps texts by keys sees to it that none of these has one."""


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


def select_keyed(layer: Layer, query: FeatureQuery, count: int | None = None) -> Statement:
    """As `select_versions`, and behind the versions their keys, KEY bytes each."""
    return shapes.filled(_versions, layer, query, count, (*_VERSIONS, *_KEYS))


def select_keyed_texts(layer: Layer, query: FeatureQuery, between: str) -> Statement:
    """The same behind the page's text in GeoJSON, its features joined by `between`."""
    return shapes.filled(_versions, layer, query, None, ((forms.geojson, between), *_VERSIONS, *_KEYS))


def select_state(layer: Layer, load: int, at_most: int) -> Statement:
    """One row: how many features are of loads after this one, counted up to `at_most`; of which load the latest is, 0
    without any; and which table it is."""
    parameters, table = Parameters(), tables.now(layer)
    newer = sql.SQL("SELECT count(*) FROM (SELECT FROM {} WHERE load_id > {} LIMIT {}) AS newer").format(
        table, parameters.bind(load, "bigint"), parameters.bind(at_most, "bigint")
    )
    latest = sql.SQL("SELECT coalesce(max(load_id), 0) FROM {}").format(table)
    return parameters.statement(sql.SQL("SELECT ({}), ({}), {}").format(newer, latest, _table(layer)))


def select_rendered(layer: Layer, query: FeatureQuery) -> Statement:
    """Rows (version, GeoJSON Feature)."""
    return features.select_text(layer, query, _rendered)


def _rendered(layer: Layer, query: FeatureQuery) -> sql.Composable:
    return sql.SQL("{}, {}").format(_version(layer, query), forms.geojson(layer, query))


def _version(layer: Layer, query: FeatureQuery) -> sql.Composable:
    return sql.SQL("concat(load_id, ' ', id)")


def _key(layer: Layer, query: FeatureQuery) -> sql.Composable:
    return sql.SQL("int8send(hashtextextended(id, load_id))")


_VERSIONS = ((_version, BETWEEN.decode()),)
_KEYS = ((_key, b""),)


def _table(layer: Layer) -> sql.Composable:
    """Text that tells a table, as it was filled, from all others that take its place: one that was made again, emptied
    or restored, or that of another server under the same address. Loads of these may bear the same ids."""
    return sql.SQL("concat_ws(' ', pg_postmaster_start_time(), pg_relation_filenode({}::regclass))").format(
        sql.Literal(tables.now(layer).as_string())
    )
