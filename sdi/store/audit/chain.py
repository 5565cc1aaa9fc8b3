"""Adding to the trail, and its head. The database does the hashing: whoever adds cannot choose what the chain says."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from uuid import UUID

from sdi.errors import StoreError, UsageError
from sdi.store import engine
from sdi.store.audit.spool import Left, Lines
from sdi.store.engine import Connection

GENESIS = bytes(32)
"""What the first entry is hashed behind."""
LONGEST_ID = 2500
"""Bytes of an id that the index of entries takes."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Anchor:
    """The head of the chain at a moment: who keeps it elsewhere can prove later that nothing before it was touched."""

    seq: int
    hash: bytes

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash.hex()}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` writes. Raises UsageError."""
        found = re.fullmatch(r"(\d{1,18}):([0-9a-f]{64})", text.strip(), re.ASCII)
        if found is None:
            raise UsageError(f"'{text[:90]}' is no anchor.", hint="Give it as 'sdi audit anchor' printed it.")
        return cls(int(found[1]), bytes.fromhex(found[2]))


def hashed(previous: bytes, seq: int, recorded_at: datetime, body: str) -> bytes:
    """The hash that an entry has."""
    moment = (recorded_at - _EPOCH) // timedelta(microseconds=1)
    return hashlib.sha256(previous + f"{seq}\n{moment}\n{body}".encode()).digest()


def append(connection: Connection, bodies: Sequence[str]) -> int:
    """Add entries, JSON objects on a line each, in one transaction; how many.

    `connection`: a recorder's or an owner's.
    """
    return _append(connection, "\n".join(bodies).encode(), None, 0) if bodies else 0


def bring(connection: Connection, lines: Lines) -> int:
    """Add the lines of a file in one transaction; how many are new: what came in before is passed over.

    One that is no entry (disks may lie), or names an id that no index takes, is told of by another.
    """
    try:
        return _append(connection, lines.text, lines.spool, lines.first)
    except StoreError as error:
        if str(getattr(error.__cause__, "sqlstate", None) or "")[:2] not in ("22", "23", "54"):
            raise
    mended = map(_mended, lines.text.decode("utf-8", "replace").split("\n"))
    return _append(connection, "\n".join(mended).encode(), lines.spool, lines.first)


def _append(connection: Connection, text: bytes, spool: UUID | None, first: int) -> int:
    # As the bytes that it is: the database alone looks at it sign by sign.
    statement = "SELECT sdi_audit.append(%s, %s, string_to_array(convert_from(%b, 'UTF8'), chr(10)))"
    with engine.translated():
        row = connection.execute(statement, [spool, first, text]).fetchone()
    assert row is not None
    return int(row[0])


def collect(connection: Connection, found: Left) -> int:
    """Bring in a file whose process is gone, and remove it; how many entries are new."""
    added = 0
    while (lines := found.next()) is not None:
        added += bring(connection, lines)
        found.done(lines)
    found.remove()
    return added


def _mended(body: str) -> str:
    try:
        told = json.loads(body)
        sound = isinstance(told, dict) and "\\u0000" not in body and datetime.fromisoformat(told["at"]).tzinfo
        if sound and all(len(name.encode()) <= LONGEST_ID for name in told.get("asked") or ()):
            return body
    except (ValueError, KeyError, TypeError):
        pass
    return json.dumps({"at": now(), "kind": "damaged", "action": "damaged", "text": body[:1000].encode().hex()})


def write(connection: Connection, action: str, about: Mapping[str, Any]) -> None:
    """Add what no table of schema sdi tells by itself; nothing to a database that has no trail yet."""
    row = connection.execute(
        "SELECT session_user, current_setting('sdi.member', true), to_regclass('sdi_audit.entry') IS NOT NULL"
    ).fetchone()
    assert row is not None
    if not row[2]:
        return
    told = {"at": now(), "kind": "write", "action": action, "login": row[0], "member": row[1] or None, **about}
    append(connection, [json.dumps(told, ensure_ascii=False, default=str)])


def acting(connection: Connection, agency: str, member: str | None, key: int | None, request: str | None) -> None:
    """Have the trail tell with what is written from now on by this connection for whom it is written, and by which key
    and request.
    """
    who = {"sdi.agency": agency, "sdi.member": member or "", "sdi.key": str(key or ""), "sdi.request": request or ""}
    connection.execute(
        "SELECT set_config(name, value, false) FROM unnest(%s::text[], %s::text[]) w(name, value)",
        [list(who), list(who.values())],
    )


def now() -> str:
    """This instant as entries have it: RFC 3339, UTC, microseconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def head(connection: Connection) -> Anchor:
    """The last entry; of an empty trail number 0. `connection`: an owner's. Raises StoreError where there is none."""
    with engine.translated():
        row = connection.execute("SELECT seq, hash FROM sdi_audit.head").fetchone()
    if row is None:
        raise StoreError("The audit trail has lost its head.", hint="Run 'sdi audit verify'.")
    return Anchor(int(row[0]), bytes(row[1]))


def retain(connection: Connection, before: datetime, reason: str) -> int:
    """Remove the whole months (UTC) that end at `before` or earlier; how many entries went. `connection`: an owner's.

    Their hashes stay, so what is left can still be verified. Raises UsageError.
    """
    if not reason.strip():
        raise UsageError("Removing entries needs a reason.", hint="Say --reason 'kept for five years'.")
    if before > datetime.now(UTC):
        raise UsageError("What has not happened yet cannot be removed.")
    with engine.translated():
        row = connection.execute("SELECT sdi_audit.retain(%s, %s)", [before, reason.strip()]).fetchone()
    assert row is not None
    return int(row[0])
