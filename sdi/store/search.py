"""Text search (`q`; OGC API Features Part 9, draft 24-031): words in the attributes that name a feature.

Case and marks do not count: `nguyen` finds Nguyễn and NGUYỄN. A word may be a part of a longer one. The index over the
trigrams of the text serves; words of one and two letters have none, and cost a look at every row.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from psycopg import sql

from sdi.errors import BadRequest
from sdi.store import cql_literal
from sdi.store.statement import Parameters

LONGEST = 500
"""Characters of a search."""
MOST = 20
"""Words of a search."""
_HINT = "Write q=hồ gươm for these words one after the other, q=hồ gươm,hồ tây for either."


def groups(text: str) -> tuple[tuple[str, ...], ...]:
    """The words of `q`: one group for each part between commas, in NFC. Raises BadRequest."""
    found = tuple(tuple(words) for part in cql_literal.text(text).split(",") if (words := part.split()))
    if not found:
        raise BadRequest("q: there is no word to look for.", hint=_HINT)
    if len(text) > LONGEST or sum(map(len, found)) > MOST:
        raise BadRequest(f"q: at most {MOST} words and {LONGEST} characters are looked for.")
    return found


def named(attributes: Sequence[str], words: tuple[tuple[str, ...], ...], parameters: Parameters) -> sql.Composed:
    """The condition that one of the attributes has one of the groups of words in it."""
    patterns = [parameters.bind(_pattern(group), "text") for group in words]
    ways = [
        sql.SQL("sdi.fold({}) ~ sdi.fold({})").format(sql.Identifier(name), pattern)
        for name in attributes
        for pattern in patterns
    ]
    return sql.SQL("({})").format(sql.SQL(" OR ").join(ways))


def _pattern(words: Sequence[str]) -> str:
    r"""An advanced regular expression of PostgreSQL in which every sign but `\s+` stands for itself."""
    return r"\s+".join(re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", word) for word in words)
