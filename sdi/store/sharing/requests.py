"""An agency asks for a layer; its steward grants, narrows or refuses, within two working days, and says why.

The time limit is that for opening an account (NĐ 47/2020/NĐ-CP Điều 35.3); a refusal is written, with its legal ground
(NĐ 194/2025/NĐ-CP Điều 16.2).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal

from psycopg.rows import dict_row

from sdi.access import PUBLIC, Action, Grant
from sdi.contract.layer import Layer, Privacy
from sdi.errors import NotFound, UsageError
from sdi.national.clock import VIETNAM
from sdi.store import engine
from sdi.store.engine import Connection
from sdi.store.sharing import agencies, grants, numbers, register

READ: tuple[Action, ...] = ("read",)
WORKING_DAYS = 2
LONGEST = 2_000
"""Characters of a purpose and of a legal basis: a steward reads them all."""
_SATURDAY = 5
_ID = re.compile(r"[a-z][a-z0-9_]{0,54}", re.ASCII)


@dataclass(frozen=True)
class Request:
    """What an agency asked for and, once it has one, its answer. `due`: the instant by which it is to be answered."""

    request_id: int
    agency: str
    layer: str
    classes: frozenset[Privacy]
    communes: tuple[str, ...] | None
    actions: frozenset[Action]
    purpose: str
    legal_basis: str
    asked_at: datetime
    asked_by: str
    answer: Literal["granted", "narrowed", "refused"] | None
    answered_at: datetime | None
    answered_by: str | None
    why: str | None
    grant_id: int | None
    due: datetime

    def overdue(self, now: datetime) -> bool:
        """Whether it was, or still is, answered too late."""
        return (self.answered_at or now) > self.due

    def wanted(self) -> Grant:
        """The grant that would give all that was asked for."""
        return Grant(
            0, self.agency, self.layer, classes=self.classes, communes=self.communes, actions=self.actions,
            legal_basis=self.legal_basis, purpose=self.purpose,
        )  # fmt: skip


def due(asked_at: datetime, holidays: Collection[date]) -> datetime:
    """The end, in Viet Nam, of the second working day after the one on which it was asked."""
    day, left = asked_at.astimezone(VIETNAM).date(), WORKING_DAYS
    while left:
        day += timedelta(days=1)
        left -= day.weekday() < _SATURDAY and day not in holidays
    return datetime.combine(day + timedelta(days=1), time(), VIETNAM).astimezone(UTC)


def last_minute(moment: datetime) -> datetime:
    """The minute before an instant, on the clock of Viet Nam: how people write the end of a day."""
    return moment.astimezone(VIETNAM) - timedelta(minutes=1)


def ask(
    connection: Connection, layer: Layer | str, agency: str, classes: Collection[Privacy], purpose: str,
    legal_basis: str, *, communes: tuple[str, ...] | None = None, actions: Collection[Action] = READ,
    by: str | None = None,
) -> int:  # fmt: skip
    """Enter a request; its number. Raises UsageError, NotFound for what cannot be asked for.

    layer: or the name of one, which is not looked up: who asks for what they do not see is told the same of a layer
    that is hidden from them and of one that is not there.
    """
    if agency == PUBLIC.id:
        raise UsageError("The public asks for nothing here: what is open it sees.")
    agencies.standing(connection, agency)
    name = layer if isinstance(layer, str) else layer.id
    wanted = Grant(0, agency, name, classes=frozenset(classes), communes=communes, actions=frozenset(actions))
    if isinstance(layer, str):
        grants.checked_words(wanted)
        if not _ID.fullmatch(layer):
            raise UsageError(
                f"'{layer[:100]}' cannot be a layer's id.", hint="Small letters a-z, digits and _, 55 at most."
            )
    else:
        grants.checked(layer, wanted)
    if not purpose.strip() or not legal_basis.strip():
        raise UsageError("A request says on which legal basis and for what purpose.")
    if max(map(len, (purpose, legal_basis, " ".join(communes or ())))) > LONGEST:
        raise UsageError(
            f"Purpose, legal basis and codes of communes are {LONGEST} characters each at most.",
            hint="Leave out the communes for all of them.",
        )
    with engine.translated():
        return numbers.drawn(
            connection,
            "INSERT INTO sdi.request (agency, layer, classes, communes, actions, purpose, legal_basis, asked_by)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, coalesce(%s, session_user)) ON CONFLICT (request_id) DO NOTHING"
            " RETURNING request_id",
            [agency, name, sorted(wanted.classes), None if communes is None else list(communes), sorted(wanted.actions),
             purpose.strip(), legal_basis.strip(), by],
        )  # fmt: skip


def requests(connection: Connection, *, answered: bool = False, request_id: int | None = None) -> list[Request]:
    """The requests that wait for an answer, or all, the oldest first; those of a merged agency are its successor's."""
    with engine.translated(), connection.cursor(row_factory=dict_row) as cursor:
        holidays = {row["day"] for row in cursor.execute("SELECT day FROM sdi.holiday")}
        known = cursor.execute("SELECT id, merged_into, merged_at FROM sdi.agency").fetchall()
        rows = cursor.execute(
            "SELECT * FROM sdi.request WHERE (answer IS NULL OR %(answered)s)"
            " AND (%(id)s::bigint IS NULL OR request_id = %(id)s) ORDER BY asked_at, request_id",
            {"answered": answered, "id": request_id},
        ).fetchall()
    heirs = register.successors_of(known, datetime.now(UTC))
    return [_request(row | {"agency": heirs.get(row["agency"], row["agency"])}, holidays) for row in rows]


def _request(row: dict[str, Any], holidays: Collection[date]) -> Request:
    told = row | {name: frozenset(row[name]) for name in ("classes", "actions")}
    told["communes"] = None if row["communes"] is None else tuple(row["communes"])
    return Request(**told, due=due(row["asked_at"], holidays))


def waiting(connection: Connection, request_id: int) -> Request:
    """A request without an answer. Raises NotFound."""
    found = requests(connection, request_id=request_id)
    if not found:
        raise NotFound(f"No request {request_id} waits for an answer.", hint="See 'sdi requests list'.")
    return found[0]


def grant(
    connection: Connection, layer: Layer, request: Request, given: Grant, why: str | None = None, *,
    by: str | None = None,
) -> int:  # fmt: skip
    """Answer a request with a grant; its number. Less than was asked for needs a reason, more does not.

    Raises UsageError, NotFound.
    """
    narrowed = _less(given, request.wanted())
    if narrowed and not (why or "").strip():
        raise UsageError("Say why less is granted than was asked for.", hint="Write the reason (--why).")
    with engine.translated(), connection.transaction():
        _taken(connection, request)
        number = grants.give(connection, layer, given, by=by)
        _answer(connection, request, "narrowed" if narrowed else "granted", why, by, number)
    return number


def _less(given: Grant, wanted: Grant) -> bool:
    """Whether something of what was asked for is not given; until when is no matter."""
    confined = given.precision != "exact" or any(
        each is not None for each in (given.attributes, given.rows, given.polygon)
    )
    fewer = given.communes is not None and (wanted.communes is None or not set(given.communes) >= set(wanted.communes))
    return confined or fewer or not (given.classes >= wanted.classes and given.actions >= wanted.actions)


def refuse(connection: Connection, request: Request, why: str, *, by: str | None = None) -> None:
    """Answer a request with a refusal and its legal ground. Raises UsageError, NotFound."""
    if not why.strip():
        raise UsageError("A refusal says on which legal ground.", hint="Write the reason (--why).")
    with engine.translated(), connection.transaction():
        _taken(connection, request)
        _answer(connection, request, "refused", why, by)


def _taken(connection: Connection, request: Request) -> None:
    """Of two who answer at once the second finds nothing to answer."""
    connection.execute("SELECT FROM sdi.request WHERE request_id = %s FOR UPDATE", [request.request_id])
    waiting(connection, request.request_id)


def _answer(
    connection: Connection, request: Request, answer: str, why: str | None, by: str | None, number: int | None = None
) -> None:  # fmt: skip
    connection.execute(
        "UPDATE sdi.request SET answer = %s, answered_at = clock_timestamp(), answered_by = coalesce(%s, session_user),"
        " why = %s, grant_id = %s WHERE request_id = %s",
        [answer, by, (why or "").strip() or None, number, request.request_id],
    )


def holiday(connection: Connection, day: date, name: str) -> None:
    """Enter a day that is no working day. `connection`: an owner's."""
    with engine.translated():
        connection.execute(
            "INSERT INTO sdi.holiday (day, name) VALUES (%s, %s) ON CONFLICT (day) DO UPDATE SET name = excluded.name",
            [day, name],
        )
