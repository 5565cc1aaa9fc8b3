"""Hearing of changes of the register as they are committed, by PostgreSQL's LISTEN."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import psycopg

from sdi.store import engine


async def heard(url: str, role: str = engine.READER) -> AsyncGenerator[str]:
    """What is told on the channel `sdi`, as it comes; first an empty text, when it is listened to.

    It ends when the connection does, and holds one as long as it is read. Raises StoreError.
    """
    with engine.translated():
        connection = await psycopg.AsyncConnection.connect(url, **engine.reading(url, "sdi-service-listens", role))
        async with connection:
            await connection.execute("LISTEN sdi")
            yield ""
            async for notice in connection.notifies():
                yield notice.payload
