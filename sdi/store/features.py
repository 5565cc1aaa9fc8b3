"""One FeatureQuery to bound SQL: a page of features, their count, their extent, the values of an attribute.

Every spatial search is over `geom_wgs84` with its literals brought there, so the GiST index serves; `_page` tells how a
page is kept from walking the primary key for matches that lie in one place.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

from psycopg import sql

from sdi.contract.layer import Layer
from sdi.contract.query import FeatureQuery, Interval
from sdi.errors import BadRequest
from sdi.store import area, former, order, search, shapes, sight, tables, walks
from sdi.store.cql_check import KINDS, Checker, column_kind
from sdi.store.cql_place import FilterCrs
from sdi.store.cql_sql import GEOMETRY, condition, has_place, names_value
from sdi.store.forms import Form, Joined, finite, geojson, geometry_text
from sdi.store.statement import Parameters, Source, Statement

__all__ = [
    "Statement", "select_block", "select_count", "select_domain", "select_edges", "select_extent", "select_geojson",
    "select_groups", "select_named", "select_placeless", "select_rows", "select_stream", "select_text",
]  # fmt: skip

_ID, _ROWS = sql.Identifier("id"), sight.ROWS
NAMED = 50_000  # features of a page whose ids are held while it is sent: some megabyte


def select_geojson(layer: Layer, query: FeatureQuery) -> Statement:
    """One text a row: a complete GeoJSON Feature (RFC 7946) with id, geometry and properties in the query's order.

    Coordinates are in `query.crs`, to 0.00000001 degree or 0.1 mm. Dates are `YYYY-MM-DD`, times RFC 3339 in UTC with
    milliseconds, decimals JSON numbers with all their digits; numbers and decimals have a decimal point even where they
    are whole (40.0), integers never. What is empty is null.
    """
    return select_text(layer, query, geojson)


def select_text(layer: Layer, query: FeatureQuery, form: Form) -> Statement:
    """One text a row: a feature in a form, in the query's order."""
    return shapes.filled(_text, layer, query, form)


def _text(layer: Layer, query: FeatureQuery, form: Form) -> Statement:
    return _page(layer, query, sql.SQL("{} AS feature").format(form(layer, query)), Parameters())


def select_block(
    layer: Layer, query: FeatureQuery, count: int | None = None, form: Form = geojson, between: str = ",\n"
) -> Statement:
    """One row: a page as one text, for pages that are held whole; its features, GeoJSON or in another form, are joined
    by `between`.

    Columns: the text, NULL where there is no feature; the number of features, one more than the limit where more lie
    beyond; the places of the first and of the last one in the direction that is asked for, for `Position.keys`; where
    more lie beyond, how many match in all, if they are to be counted up to `count`, and one more for still more.
    """
    return select_blocks(layer, query, count, ((form, between),))


def select_blocks(layer: Layer, query: FeatureQuery, count: int | None, joined: Joined) -> Statement:
    """With a text for each form."""
    return shapes.filled(_blocks, layer, query, count, joined)


def _blocks(layer: Layer, query: FeatureQuery, count: int | None, joined: Joined) -> Statement:
    parameters = Parameters()
    last = sql.SQL(" ORDER BY number DESC" if query.place is not None and query.place.backward else "")
    limit, columns, texts = parameters.draw(_most(0), query, "bigint"), [], []
    for number, (form, between) in enumerate(joined):
        columns.append(sql.SQL("{} AS {}").format(form(layer, query), name := sql.Identifier(f"T{number}")))
        text = sql.SQL("string_agg({}, {}{}) FILTER (WHERE number <= {})")
        texts.append(text.format(name, sql.Literal(between), last, limit))
    page = _page(layer, query, sql.SQL(", ").join([*columns, order.kept(query)]), parameters, beyond=1)
    statement = sql.SQL(
        "SELECT {texts}, count(*),"
        " min({place}) FILTER (WHERE number = 1), min({place}) FILTER (WHERE number = {limit})"
        ", CASE WHEN count(*) > {limit} THEN ({matched}) END"
        " FROM (SELECT page.*, row_number() OVER () AS number FROM ({page}) AS page) AS page"
    ).format(
        texts=sql.SQL(", ").join(texts), limit=limit, page=page.sql, place=order.place(query),
        matched=sql.SQL("NULL::bigint") if count is None else _matched(layer, query, parameters, count),
    )  # fmt: skip
    return parameters.statement(statement)


def select_stream(layer: Layer, query: FeatureQuery, form: Form = geojson) -> Statement:
    """A row for each feature, for a cursor: its text. The rows come in the order of the layer, backward too."""
    return shapes.filled(_stream, layer, query, form)


def _stream(layer: Layer, query: FeatureQuery, form: Form) -> Statement:
    page = _text(layer, query, form)
    if query.place is None or not query.place.backward:
        return page
    turned = sql.SQL(
        "SELECT feature FROM (SELECT page.*, row_number() OVER () AS number FROM ({}) AS page) AS page"
        " ORDER BY number DESC"
    ).format(page.sql)
    return Statement(turned, page.params, page.drawn)


def select_edges(layer: Layer, query: FeatureQuery) -> Statement:
    """One row: what `select_block` tells of a page besides its text, for little: no feature is rendered.

    Columns: the number of features, one more than the limit where more lie beyond; the places of the first and of the
    last one in the direction that is asked for; and the ids of the page in that direction, a line each, by which
    `select_named` finds its features; NULL for more than NAMED, and where walking the ids again is less than that.
    """
    return shapes.filled(_edges, layer, query)


def _edges(layer: Layer, query: FeatureQuery) -> Statement:
    parameters = Parameters()
    page = _page(layer, query, None, parameters, beyond=1)
    limit = sql.SQL("least({}, 2147483647)::int").format(parameters.draw(_most(0), query, "bigint"))
    statement = sql.SQL(
        "SELECT coalesce(cardinality({ids}), 0), CASE WHEN {ids} IS NOT NULL THEN {first} END,"
        " CASE WHEN cardinality({ids}) >= {limit} THEN {last} END,"
        " CASE WHEN {limit} <= {most} THEN array_to_string({ids}[:{limit}], E'\\n') END"
        " FROM (SELECT {gathered} FROM ({page}) AS page) AS page"
    ).format(
        ids=order.ids(query), first=order.place(query, sql.SQL("1")), last=order.place(query, limit), limit=limit,
        most=sql.Literal(0 if _is_plain(query) else NAMED), gathered=order.gathered(query), page=page.sql,
    )  # fmt: skip
    return parameters.statement(statement)


def _is_plain(query: FeatureQuery) -> bool:
    """Whether the page is a stretch of the ids of which nothing is left out."""
    chosen = query.sort or query.offset or query.area or query.ids or query.interval or query.equals or query.search
    return not (chosen or query.filters or query.as_of or (query.sight is not None and query.sight.rows is not None))


def select_named(layer: Layer, query: FeatureQuery, form: Form, ids: str) -> Statement:
    """`select_stream` of a page of which `select_edges` has told the ids."""
    return replace(made := shapes.filled(_named_page, layer, query, form), params={**made.params, "p0": ids})


def _named_page(layer: Layer, query: FeatureQuery, form: Form) -> Statement:
    parameters = Parameters(day=_day(query), meant=query.meant)
    way = sql.SQL(" DESC" if query.place is not None and query.place.backward else "")
    about = {"ids": parameters.bind("", "text"), "answer": form(layer, query), "rows": _rows(layer, query, parameters)}
    return parameters.statement(walks.NAMED.format(**about, way=way, name=_ROWS))


def select_rows(layer: Layer, query: FeatureQuery) -> Statement:
    """Columns: id, the query's attributes, and `geometry`, GeoJSON text in `query.crs` or NULL."""
    shaped = query.geometry and layer.geometry is not None
    columns = [
        _ID,
        *(sql.SQL("{} AS {}").format(finite(layer, name), sql.Identifier(name)) for name in query.attributes),
        sql.SQL("{} AS geometry").format(geometry_text(query.crs if shaped else None, query.north_first)),
    ]
    return _page(layer, query, sql.SQL(", ").join(columns), Parameters())


def select_count(layer: Layer, query: FeatureQuery, at_most: int | None = None) -> Statement:
    """How many features match, on whatever page. One more than `at_most` means: more than `at_most`."""
    return shapes.filled(
        _count, layer, replace(query, place=None, sort=(), attributes=(), limit=None, offset=0), at_most
    )


def _count(layer: Layer, query: FeatureQuery, at_most: int | None) -> Statement:
    parameters = Parameters()
    return parameters.statement(_matched(layer, query, parameters, at_most))


def _matched(layer: Layer, query: FeatureQuery, parameters: Parameters, at_most: int | None) -> sql.Composed:
    query = replace(query, place=None)
    bound = sql.SQL("") if at_most is None else sql.SQL(" LIMIT {}").format(parameters.bind(at_most + 1, "bigint"))
    return sql.SQL("SELECT count(*) FROM (SELECT FROM {} WHERE {}{}) AS matched").format(
        _rows(layer, query, parameters), _where(layer, query, parameters), bound
    )


def select_extent(layer: Layer, query: FeatureQuery) -> Statement:
    """One row: west, south, east, north of the matches in CRS84, degrees; NULLs where nothing has a place."""
    parameters = Parameters()
    statement = sql.SQL(
        "SELECT ST_XMin(box), ST_YMin(box), ST_XMax(box), ST_YMax(box)"
        " FROM (SELECT ST_Extent({}) AS box FROM {} WHERE {}) AS matched"
    ).format(GEOMETRY, _rows(layer, query, parameters), _where(layer, query, parameters))
    return Statement(statement, parameters.values)


def select_placeless(layer: Layer, query: FeatureQuery) -> Statement:
    """One row: whether a match has no place."""
    parameters = Parameters()
    rows = _rows(layer, query, parameters)
    statement = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE ({}) AND (geom IS NULL OR ST_IsEmpty(geom)))")
    return parameters.statement(statement.format(rows, _where(layer, query, parameters)))


def select_domain(layer: Layer, query: FeatureQuery, attribute: str, at_most: int = 1000) -> Statement:
    """Rows (value, count): what an attribute holds among the matches, in its order; empty ones are left out."""
    if column_kind(layer, attribute) in ("list", "geometry"):
        raise BadRequest(f"'{attribute}' has no plain values to list.")
    parameters = Parameters()
    column = sql.Identifier(attribute)
    statement = sql.SQL(
        "SELECT {0} AS value, count(*) AS count FROM {1} WHERE {0} IS NOT NULL AND {2}"
        " GROUP BY {0} ORDER BY {0} LIMIT {3}"
    ).format(
        column,
        _rows(layer, query, parameters),
        _where(layer, query, parameters),
        parameters.bind(at_most, "bigint"),
    )
    return Statement(statement, parameters.values)


def select_groups(
    layer: Layer, query: FeatureQuery, by: tuple[str, ...], sums: tuple[str, ...], at_most: int
) -> Statement:  # fmt: skip
    """Rows: a value of each attribute in `by` as text, a date as its year in Viet Nam; how many of the matches have
    them; and of each attribute in `sums` what they have of it together, exact, as text, NULL where none has a value.
    """
    parameters = Parameters()
    keys = [_grouped(layer, name) for name in by]
    told = [sql.SQL("trim_scale(sum({}))::text").format(_summed(layer, name)) for name in sums]
    statement = sql.SQL("SELECT {columns} FROM {rows} WHERE {where}{group} LIMIT {most}").format(
        columns=sql.SQL(", ").join([*keys, sql.SQL("count(*)"), *told]), rows=_rows(layer, query, parameters),
        where=_where(layer, query, parameters), most=parameters.bind(at_most, "bigint"),
        group=sql.SQL(" GROUP BY {}").format(sql.SQL(", ").join(keys)) if keys else sql.SQL(""),
    )  # fmt: skip
    return parameters.statement(statement)


def _grouped(layer: Layer, name: str) -> sql.Composable:
    kind, column = layer[name].type, sql.Identifier(name)
    if kind in ("date", "datetime"):
        day = sql.SQL("({} AT TIME ZONE 'Asia/Ho_Chi_Minh')").format(column) if kind == "datetime" else column
        return sql.SQL("extract(year FROM {})::text").format(day)
    return sql.SQL("{}::text").format(column)


def _summed(layer: Layer, name: str) -> sql.Composable:
    """As numeric: the sum of binary fractions depends on the order in which they are added up."""
    if layer[name].type == "integer":
        return sql.Identifier(name)
    return sql.SQL("CASE WHEN abs({0}) < 'Infinity' THEN {0} END::numeric").format(sql.Identifier(name))


def _rows(layer: Layer, query: FeatureQuery, parameters: Parameters) -> sql.Composable:
    """The layer's rows as they are, or as they were known at an instant; conditions reach the indexes of both."""
    parameters.near = sight.reach(query.sight)
    if query.as_of is None:
        # What a box or ids choose is not looked for by the places of a rule.
        parameters.once = query.area is not None or query.ids is not None
        rows = sight.relation(layer, query.sight, parameters)
        parameters.once = False
        return rows
    return former.relation(layer, query, parameters)


def _page(
    layer: Layer, query: FeatureQuery, answer: sql.Composable | None, parameters: Parameters, *, beyond: int = 0
) -> Statement:  # fmt: skip
    """The rows of one page and so many `beyond` it, only these rendered; `answer`: None for their keys (`order.kept`).

    `ORDER BY id LIMIT n` tempts PostgreSQL to walk the primary key, as if the matches lay evenly along it; ids follow
    communes and so places, and the last commune's lie behind all others. Two things keep it from that. Beside a place,
    `&&` stands with its predicate: taken for independent, they make the matches seem few, and the index is used unless
    the place holds nearly everything. Matches by an attribute's value are gathered first as long as they are few enough
    to be sorted; only where there are more is the order walked.
    """
    where = _where(layer, query, parameters)
    turned = query.place is not None and query.place.backward
    limit = sql.SQL("ALL") if query.limit is None else parameters.draw(_most(beyond), query, "bigint")
    about: dict[str, sql.Composable] = {
        "answer": answer or order.kept(query), "rows": _rows(layer, query, parameters), "name": _ROWS, "where": where,
        "keys": order.names(query), "order": order.terms(query, turned=turned),
        "page_order": order.terms(query, "page.", turned=turned), "limit": limit,
        "offset": parameters.draw(_passed, query, "bigint"),
    }  # fmt: skip
    about["told"] = about["answer"] if answer is None else sql.SQL("answer.*")
    about["tail"] = (walks.ENDING if answer is None else walks.TELLING).format(**about)
    if query.limit is not None and _is_searched(query):
        shown = sql.SQL(", ").join(map(sql.Identifier, tables.grants(layer).columns))
        behind = sql.SQL("true") if query.place is None else order.beyond(layer, query, parameters)
        about |= {"beyond": behind, "columns": shown if query.sight is None else sql.SQL("*")}
        statement = walks.searched(about, _reach(beyond)(query), parameters)
    elif query.limit is not None and _is_picked(query):
        statement = walks.GATHERING.format(**about, gathered=sql.Literal(walks.GATHERED))
    elif query.limit is not None and _is_walked(layer, query):
        reach = parameters.draw(_reach(beyond), query, "bigint")
        statement = walks.parted(order.parts(layer, query, parameters), reach, about)
    else:
        statement = (walks.SKIPPING if query.offset else walks.WHOLE).format(**about)
    return parameters.statement(statement)


@lru_cache(maxsize=10)
def _most(beyond: int) -> Source:
    return lambda query: _bounded((query.limit or 0) + beyond)


@lru_cache(maxsize=10)
def _reach(beyond: int) -> Source:
    return lambda query: _bounded((query.limit or 0) + beyond + query.offset)


def _passed(query: FeatureQuery) -> int:
    return _bounded(query.offset)


def _is_walked(layer: Layer, query: FeatureQuery) -> bool:
    """Whether an index has the rows in the order that is asked for, and nothing chooses few of them."""
    name = query.keys[0][0]
    masked = query.sight is not None and name in dict((*query.sight.masks, *query.sight.references))
    chosen = query.ids is not None or query.area is not None or any(map(has_place, (*query.filters, *_rules(query))))
    return query.as_of is None and not chosen and not masked and name in tables.indexed(layer)


def _is_searched(query: FeatureQuery) -> bool:
    """Whether the matches are chosen by words and by no place, in the order of the ids."""
    if query.area is not None or any(map(has_place, (*query.filters, *_rules(query)))):
        return False
    return bool(query.search) and not query.sort and query.ids is None and query.as_of is None


def _is_picked(query: FeatureQuery) -> bool:
    """Whether the matches are chosen by an attribute's value and by no place."""
    expressions = (*query.filters, *_rules(query))
    if query.area is not None or any(map(has_place, expressions)):
        return False
    return bool(query.equals or query.search) or any(map(names_value, expressions))


def _rules(query: FeatureQuery) -> list[dict[str, Any]]:
    """What a feature must fulfil to exist for who asks."""
    return [] if query.sight is None or query.sight.rows is None else [query.sight.rows]


def _bounded(number: int) -> int:
    return max(0, min(number, 2**62))


def _where(layer: Layer, query: FeatureQuery, parameters: Parameters) -> sql.Composable:
    """All conditions of the query, or `true`."""
    conditions: list[sql.Composable] = []
    parameters.day, parameters.meant, parameters.near = _day(query), query.meant, sight.reach(query.sight)
    if query.ids is not None and len(query.ids) == 1:
        # Not as a list of one, nor one the planner sees: for these it plans each time, which is longer than all else.
        conditions.append(sql.SQL("id = {}").format(parameters.draw(only, query, "text")))
    elif query.ids is not None:
        named = parameters.draw(_named, query, "text[]")
        conditions.append(sql.SQL("id = ANY(ARRAY(SELECT unnest({})))").format(named))
    if query.area is not None:
        conditions.append(area.inside(query.area, query, parameters))
    if query.interval is not None:
        conditions.append(_valid(layer, query.interval, parameters))
    for name, value in query.equals:
        conditions.append(condition(_equality(layer, name, value), layer, parameters))
        if isinstance(value, str) and query.sight is not None and name in dict(query.sight.references):
            # The told id is the stored one or empty: the index over what is stored finds it.
            stored = parameters.bind(unicodedata.normalize("NFC", value), "text")
            conditions.append(sql.SQL("{} = {}").format(sight.stored_id(name), stored))
    if query.search:
        conditions.append(search.named(query.searched, query.search, parameters))
    conditions += [condition(expression, layer, parameters) for expression in query.filters]
    if query.place is not None:
        conditions.append(order.beyond(layer, query, parameters))
    if query.as_of is not None:
        holds = [condition(expression, layer, parameters) for expression in query.latest]
        seen = None if query.sight is None else sight.still(layer, query.sight, parameters)
        if holds or seen is not None:
            conditions.append(former.still(layer, query, [*holds, *([] if seen is None else [seen])]))
    return sql.SQL(" AND ").join(conditions) if conditions else sql.SQL("true")


def _day(query: FeatureQuery) -> date | None:
    """On which codes of administrative units are to be read; None: today."""
    return query.interval.end.date() if query.interval is not None and query.interval.end is not None else None


def _valid(layer: Layer, interval: Interval, parameters: Parameters) -> sql.Composable:
    """Features whose time meets a closed interval (OGC API Features Part 1, 7.15.4).

    The end of validity is exclusive; an empty end means still valid, an empty start valid since ever. A feature without
    an instant has no time and meets none. Dates are compared with the day of the interval's ends in UTC.
    """
    temporal = layer.temporal
    if temporal is None:
        raise BadRequest(f"The features of '{layer.id}' have no time to choose by.", hint="Leave out datetime.")
    conditions = []
    first, last = interval.start, interval.end
    if temporal.instant is not None:
        conditions += _bound(layer, temporal.instant, sql.SQL("{} >= {}"), first, parameters)
        conditions += _bound(layer, temporal.instant, sql.SQL("{} <= {}"), last, parameters)
    if temporal.start is not None:
        conditions += _bound(layer, temporal.start, sql.SQL("({0} IS NULL OR {0} <= {1})"), last, parameters)
    if temporal.end is not None:
        conditions += _bound(layer, temporal.end, sql.SQL("({0} IS NULL OR {0} > {1})"), first, parameters)
    return sql.SQL(" AND ").join(conditions) if conditions else sql.SQL("true")


def _bound(
    layer: Layer, name: str, shape: sql.SQL, moment: datetime | None, parameters: Parameters
) -> list[sql.Composable]:
    if moment is None:
        return []
    by_day = layer[name].type == "date"
    value = parameters.bind(moment.date(), "date") if by_day else parameters.bind(moment, "timestamptz")
    return [shape.format(sql.Identifier(name), value)]


def _equality(layer: Layer, name: str, value: Any) -> dict[str, Any]:
    """`?name=value` as a checked CQL2 expression; text becomes what the attribute's type says. None: is empty."""
    operand = {"property": name}
    checker = Checker(layer, frozenset(layer.by_name), FilterCrs())
    if value is None:
        return checker.condition({"op": "isNull", "args": [operand]})
    kind = KINDS[layer[name].type] if name in layer.by_name else "text"
    if isinstance(value, str) and kind == "boolean":
        value = {"true": True, "false": False}.get(value.lower(), value)
    elif isinstance(value, str) and kind == "number":
        value = _numeral(name, value)
    return checker.condition({"op": "=", "args": [operand, value]})


_NUMERAL = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d{1,3})?", re.ASCII)


def _numeral(name: str, text: str) -> Decimal:
    if not _NUMERAL.fullmatch(text.strip()):
        raise BadRequest(f"'{text[:40]}' is not a number, and '{name}' is one.")
    return Decimal(text.strip())


def only(query: FeatureQuery) -> str | None:
    """The only id that is asked for; None, which is equal to none, where no feature can have it."""
    return next(iter(_named(query)), None)


def _named(query: FeatureQuery) -> list[str]:
    """The ids that a text column can hold; no feature has another."""
    return [unicodedata.normalize("NFC", id) for id in query.ids or () if id.isprintable()]
