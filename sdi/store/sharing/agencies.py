"""The register of agencies: entering them, and what becomes of one that is merged into another."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, get_args

from psycopg.rows import class_row

from sdi.access import PUBLIC, Kind
from sdi.errors import NotFound, UsageError, nearest
from sdi.store import engine
from sdi.store.engine import Connection

KINDS: tuple[Kind, ...] = get_args(Kind)
_ID = re.compile(r"[a-z][a-z0-9_]{0,54}")
_COLUMNS = (
    "id, kind, name_vi, name_en, since, administrator, merged_into, merged_at, merged_by, merged_why, entered_at,"
    " entered_by"
)


@dataclass(frozen=True)
class Entry:
    """An agency as the register has it. `merged_into`: from `merged_at` on its keys act for this one, whose its grants
    are; `merged_by`, `merged_why`: of the merger, or of its undoing.
    """

    id: str
    kind: Kind
    name_vi: str
    name_en: str
    since: date | None
    administrator: bool
    merged_into: str | None
    merged_at: datetime | None
    merged_by: str | None
    merged_why: str | None
    entered_at: datetime
    entered_by: str

    def name(self, language: str) -> str:
        """In `vi` or `en`."""
        return self.name_en if language == "en" else self.name_vi


def exists(connection: Connection) -> bool:
    """Whether the database has the register as it is used here."""
    return connection.execute("SELECT to_regclass('sdi.key_in_force') IS NOT NULL").fetchone() == (True,)


def entries(connection: Connection) -> list[Entry]:
    """Every agency that was ever entered, by id."""
    with engine.translated(), connection.cursor(row_factory=class_row(Entry)) as cursor:
        return cursor.execute(f"SELECT {_COLUMNS} FROM sdi.agency ORDER BY id".encode()).fetchall()


def standing(connection: Connection, agency: str) -> Entry:
    """An agency that was not merged into another, or will be later. Raises NotFound."""
    known = {each.id: each for each in entries(connection)}
    found = known.get(agency)
    if found is None:
        hint = "See 'sdi agencies list'."
        raise NotFound(f"There is no agency '{agency[:100]}'.{nearest(agency, known)}", hint=hint)
    if found.merged_at is not None and found.merged_at <= datetime.now(UTC):
        raise NotFound(f"'{agency}' was merged into '{found.merged_into}'.", hint="Name that one.")
    return found


def _remaining(connection: Connection, agency: str) -> Entry:
    """An agency for which no merger is known. Raises NotFound, UsageError."""
    found = standing(connection, agency)
    if found.merged_into is not None:
        raise UsageError(
            f"'{agency}' will be merged into '{found.merged_into}'.", hint=f"First: sdi agencies unmerge {agency}."
        )
    return found


def add(
    connection: Connection, agency: str, kind: Kind, name_vi: str, name_en: str, since: date | None = None, *,
    by: str | None = None,
) -> None:  # fmt: skip
    """Enter an agency; one that was only entered for its keys is given its names.

    `by`: who enters it, else the database's login. Raises UsageError for one that is there, or cannot be.
    """
    if not _ID.fullmatch(agency):
        raise UsageError(
            f"'{agency[:100]}' cannot be an agency's id.", hint="Small letters a-z, digits and _, 55 at most."
        )
    if kind not in KINDS or (kind == PUBLIC.id) != (agency == PUBLIC.id):
        raise UsageError(f"'{kind[:100]}' is no kind of agency.", hint=f"One of: {', '.join(KINDS[:-1])}")
    if not name_vi.strip() or not name_en.strip():
        raise UsageError("An agency needs its name in Vietnamese and in English.")
    with engine.translated():
        count = connection.execute(
            "INSERT INTO sdi.agency AS known (id, kind, name_vi, name_en, since, entered_by)"
            " VALUES (%s, %s, %s, %s, %s, coalesce(%s, session_user))"
            " ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, name_vi = excluded.name_vi,"
            " name_en = excluded.name_en, since = excluded.since WHERE known.name_vi = known.id",
            [agency, kind, name_vi.strip(), name_en.strip(), since, by],
        ).rowcount
    if not count:
        raise UsageError(f"There is an agency '{agency}' already.", hint="See 'sdi agencies list'.")


def set_administrator(connection: Connection, agency: str, administrator: bool) -> None:
    """Whether an agency's keys open the administrators' page. `connection`: an owner's, for the page itself may not.

    Raises NotFound, UsageError.
    """
    if agency == PUBLIC.id:
        raise UsageError("The public administers nothing.")
    _remaining(connection, agency)
    with engine.translated():
        connection.execute("UPDATE sdi.agency SET administrator = %s WHERE id = %s", [administrator, agency])


def merge(
    connection: Connection, gone: str, into: str, why: str, *, at: datetime | None = None, by: str | None = None
) -> None:  # fmt: skip
    """From `at` on (with a time zone; None: now) the keys of one agency act for another, and its grants are that one's.

    Nothing is rewritten: the register says what was whose before. Raises NotFound, UsageError.
    """
    if PUBLIC.id in (gone, into) or gone == into:
        raise UsageError("An agency is merged into another one, and the public into none.")
    if not why.strip():
        raise UsageError("Say why the agencies are merged.")
    with engine.translated(), connection.transaction():
        # Who merges either of them at the same time waits, so that they never make a ring.
        connection.execute("SELECT FROM sdi.agency WHERE id = ANY(%s) ORDER BY id FOR UPDATE", [[gone, into]])
        if _remaining(connection, gone).administrator:
            raise UsageError(f"'{gone}' administers the register: take that from it first.")
        _remaining(connection, into)
        values: dict[str, Any] = {"gone": gone, "into": into, "at": at, "by": by, "why": why.strip()}
        connection.execute(
            "UPDATE sdi.agency SET merged_into = %(into)s, merged_at = coalesce(%(at)s, clock_timestamp()),"
            " merged_by = coalesce(%(by)s, session_user), merged_why = %(why)s WHERE id = %(gone)s",
            values,
        )


def unmerge(connection: Connection, agency: str, why: str, *, by: str | None = None) -> None:
    """Take back a merger, or one that has not begun: keys, grants and requests are its own again, as they were.

    A merger rewrites none of them, so nothing else is to be undone; that there was one is told by the audit trail. What
    its successor was given or did meanwhile stays the successor's. Raises UsageError where it was not merged.
    """
    if not why.strip():
        raise UsageError("Say why the merger is undone.")
    with engine.translated():
        count = connection.execute(
            "UPDATE sdi.agency SET merged_into = NULL, merged_at = NULL, merged_by = coalesce(%s, session_user),"
            " merged_why = %s WHERE id = %s AND merged_into IS NOT NULL",
            [by, why.strip(), agency],
        ).rowcount
    if not count:
        raise UsageError(f"'{agency[:100]}' was merged into no other.", hint="See 'sdi agencies list'.")
