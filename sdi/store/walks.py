"""How PostgreSQL comes to a page: by an index in its order, or by what is searched for, and no farther than it must."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from psycopg import sql

from sdi.store.statement import Parameters

GATHERED = 20_000
"""So many matches of an attribute are gathered and sorted; where there are more, walking the order meets them soon."""
FEW = 1_000, 3
"""So many matches of words, and so many for each feature of the page, are gathered before the order is walked."""
AHEAD = 2_000, 12
"""So many features of the order, and so many for each feature of the page, are looked at for common words."""

TELLING = sql.SQL("""
CROSS JOIN LATERAL (SELECT {answer} FROM {rows} WHERE {name}.id = page.id OFFSET 0) AS answer
ORDER BY {page_order}""")
"""Behind the keys of a page: what is answered of each."""
ENDING = sql.SQL("\nORDER BY {page_order}")
"""Where the keys are all that is answered."""
WHOLE = sql.SQL("SELECT {answer} FROM {rows} WHERE {where} ORDER BY {order} LIMIT {limit} OFFSET {offset}")
GATHERING = sql.SQL(
    """
WITH found AS MATERIALIZED (SELECT {keys} FROM {rows} WHERE {where} LIMIT {gathered} + 1),
page AS (
    (SELECT {keys} FROM found WHERE (SELECT count(*) FROM found) <= {gathered}
     ORDER BY {order} LIMIT {limit} OFFSET {offset})
    UNION ALL
    (SELECT {keys} FROM {rows} WHERE {where} AND (SELECT count(*) FROM found) > {gathered}
     ORDER BY {order} LIMIT {limit} OFFSET {offset})
)
SELECT {told} FROM (SELECT {keys} FROM page ORDER BY {order}) AS page{tail}"""
)
SEARCHING = sql.SQL(
    # Folding a name to compare it costs more than all else. Of a rare word all matches are gathered by their index. A
    # common one is soon met in the order, unless its matches lie together far behind: then they are gathered after all.
    """
WITH few AS MATERIALIZED (SELECT {keys} FROM {rows} WHERE {where} LIMIT {few} + 1),
near AS MATERIALIZED (
    SELECT {keys} FROM (
        SELECT {columns} FROM {rows} WHERE {beyond} AND (SELECT count(*) FROM few) > {few}
        ORDER BY {order} LIMIT {ahead}
    ) AS {name} WHERE {where} ORDER BY {order} LIMIT {reach}
),
found AS MATERIALIZED (
    SELECT {keys} FROM {rows} WHERE {where}
    AND (SELECT count(*) FROM few) > {few} AND (SELECT count(*) FROM near) < {reach} LIMIT {gathered} + 1
),
page AS (
    (SELECT {keys} FROM few WHERE (SELECT count(*) FROM few) <= {few}
     ORDER BY {order} LIMIT {limit} OFFSET {offset})
    UNION ALL
    (SELECT {keys} FROM near WHERE (SELECT count(*) FROM near) = {reach}
     ORDER BY {order} LIMIT {limit} OFFSET {offset})
    UNION ALL
    (SELECT {keys} FROM found WHERE (SELECT count(*) FROM found) <= {gathered}
     ORDER BY {order} LIMIT {limit} OFFSET {offset})
    UNION ALL
    (SELECT {keys} FROM {rows} WHERE {where} AND (SELECT count(*) FROM found) > {gathered}
     ORDER BY {order} LIMIT {limit} OFFSET {offset})
)
SELECT {told} FROM (SELECT {keys} FROM page ORDER BY {order}) AS page{tail}"""
)
SKIPPING = sql.SQL(
    """
SELECT {told} FROM (SELECT {keys} FROM {rows} WHERE {where} ORDER BY {order} LIMIT {limit} OFFSET {offset})
AS page{tail}"""
)
NAMED = sql.SQL(
    # The numbers come in their order, so nothing is sorted, and the first feature is there as soon as it is rendered.
    """
SELECT answer.feature FROM (
    SELECT told.id, told.number FROM string_to_table({ids}, E'\\n') WITH ORDINALITY AS told(id, number)
    ORDER BY told.number{way}
) AS page
CROSS JOIN LATERAL (SELECT {answer} AS feature FROM {rows} WHERE {name}.id = page.id OFFSET 0) AS answer
ORDER BY page.number{way}"""
)
_PARTED = sql.SQL(
    """
WITH beginning AS MATERIALIZED (
    SELECT {keys} FROM {rows} WHERE {where} AND {condition} ORDER BY {walked} LIMIT {reach}
), found AS (
    SELECT {keys} FROM beginning{rest}
)
SELECT {told} FROM (SELECT {keys} FROM found ORDER BY {order} LIMIT {limit} OFFSET {offset}) AS page{tail}"""
)
_REST = sql.SQL(
    """
    UNION ALL (SELECT {keys} FROM {rows} WHERE {where} AND {condition}
    ORDER BY {walked} LIMIT {reach} - (SELECT count(*) FROM beginning))"""
)


def searched(about: Mapping[str, sql.Composable], reach: int, parameters: Parameters) -> sql.Composed:
    """A page that is chosen by words. `reach`: how many rows the page and what lies before it have. `about`: what the
    other shapes have, and `beyond`, the condition of the page's place, and `columns`, which hold what is asked about.
    """
    few, ahead = (parameters.bind(min(least + each * reach, 2**62), "bigint") for least, each in (FEW, AHEAD))
    bounds = {"few": few, "ahead": ahead, "reach": parameters.bind(reach, "bigint")}
    return SEARCHING.format(**about, **bounds, gathered=sql.Literal(GATHERED))


def parted(
    parts: Sequence[tuple[sql.Composable, sql.Composable]], reach: sql.Composable, about: Mapping[str, sql.Composable]
) -> sql.Composed:  # fmt: skip
    """A page whose order is walked part by part (`order.parts`): what is known by the index that has nothing else.

    The last part is looked at only where the first has too few (LIMIT 0 runs nothing): empty values lie behind all
    others, and to find that there are none the whole table is read. `reach`: how many rows the page and what lies
    before it have. `about`: what the other shapes have.
    """
    (condition, walked), *others = parts
    rest = [
        _REST.format(condition=more, walked=order, reach=reach, keys=about["keys"], rows=about["rows"],
                     where=about["where"])
        for more, order in others
    ]  # fmt: skip
    return _PARTED.format(**about, condition=condition, walked=walked, reach=reach, rest=sql.SQL("").join(rest))
