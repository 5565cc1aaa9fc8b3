"""The numbers of requests and grants: drawn by chance, for counted ones told how many others there were between."""

from __future__ import annotations

from typing import Any, LiteralString

from sdi.store.engine import Connection


def drawn(connection: Connection, statement: LiteralString, values: Any) -> int:
    """Insert one row, whose number the table draws; return it.

    statement: ends in `ON CONFLICT (number) DO NOTHING RETURNING number`: one that is taken is drawn again, of 900,000.
    """
    while (row := connection.execute(statement, values).fetchone()) is None:
        pass
    return int(row[0])
