"""Who asks, and what of a layer exists for them: the one rule behind every list, item, count, tile, file and filter."""

from sdi.access.agency import PUBLIC, Agency, Kind
from sdi.access.grant import ACTIONS, WRITING, Action, Grant
from sdi.access.rule import (
    NOTHING,
    Itself,
    Part,
    Rule,
    announced,
    approves,
    counted,
    covered,
    may_export,
    may_give,
    row_filter,
    rule_of,
    sees,
    told_by,
    told_by_id,
    visible,
)

__all__ = [
    "ACTIONS",
    "NOTHING",
    "PUBLIC",
    "WRITING",
    "Action",
    "Agency",
    "Grant",
    "Itself",
    "Kind",
    "Part",
    "Rule",
    "announced",
    "approves",
    "counted",
    "covered",
    "may_export",
    "may_give",
    "row_filter",
    "rule_of",
    "sees",
    "told_by",
    "told_by_id",
    "visible",
]
