"""By what the next delivery of a layer knows rows that stand in the file as they stood before; see migration 0012.

What is kept of a row says what conforming makes of it, whoever loads the layer in between: it holds through other
loads, rollbacks and reforms, and is dropped only when a later delivery of the same scope tells more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from functools import cache
from hashlib import sha256
from importlib import resources

from psycopg.types.json import Jsonb

from sdi.contract.layer import Layer
from sdi.store.engine import Connection

_HASHING = ("content.py", "sending.py")
"""The code that makes a row's hash."""


def read(
    connection: Connection, layer: Layer, context: str, day: date
) -> tuple[int, Iterator[tuple[bytes, bytes]]] | None:  # fmt: skip
    """How many rows were read in one way, and their marks and hashes, part by part; None: there are none.

    day: after which nothing lies in the future; what was loaded later is not counted on.
    """
    parts = connection.execute(
        "SELECT load_id, part, octet_length(marks) / 8 FROM sdi.recognised"
        " WHERE layer = %s AND context = %s AND day <= %s ORDER BY load_id, part",
        [layer.id, _key(context), day],
    ).fetchall()  # fmt: skip
    told = ((load_id, part) for load_id, part, _ in parts)
    return (sum(count for *_, count in parts), _parts(connection, layer, told)) if parts else None


def _parts(connection: Connection, layer: Layer, parts: Iterable[tuple[int, int]]) -> Iterator[tuple[bytes, bytes]]:
    statement = "SELECT marks, hashes FROM sdi.recognised WHERE layer = %s AND load_id = %s AND part = %s"
    for load_id, part in parts:
        yield from connection.execute(statement, [layer.id, load_id, part], binary=True).fetchall()


def write(
    connection: Connection, layer: Layer, load_id: int, context: str, day: date, scope: Sequence[str],
    parts: Iterator[tuple[bytes, bytes]],
) -> None:  # fmt: skip
    """Keep the rows of a full delivery in place of those of earlier ones of its scope or of a part of it."""
    connection.execute("DELETE FROM sdi.recognised WHERE layer = %s AND scope <@ %s", [layer.id, Jsonb(list(scope))])
    statement = (
        "INSERT INTO sdi.recognised (layer, load_id, part, context, day, scope, marks, hashes)"
        " VALUES (%s, %s, %s, %s, %s, %s, %b, %b)"
    )
    key, told = _key(context), Jsonb(list(scope))
    for number, (marks, hashes) in enumerate(parts):
        connection.execute(statement, [layer.id, load_id, number, key, day, told, marks, hashes])


def _key(context: str) -> bytes:
    return sha256(f"{context} {_edition()}".encode()).digest()


@cache
def _edition() -> str:
    made = sha256()
    for name in _HASHING:
        made.update((resources.files("sdi.store") / name).read_bytes())
    return made.hexdigest()
