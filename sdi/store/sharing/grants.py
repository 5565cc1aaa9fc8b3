"""Giving and taking back what agencies may do with layers. Nothing is deleted: what ended says when, by whom, why."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, get_args

import shapely
from psycopg.rows import dict_row

from sdi.access import ACTIONS, PUBLIC, WRITING, Grant
from sdi.contract.layer import Layer
from sdi.contract.query import Precision
from sdi.errors import NotFound, UsageError, nearest
from sdi.store import cql, engine, writers
from sdi.store.engine import Connection
from sdi.store.sharing import agencies, numbers
from sdi.store.sharing.register import grant_of


@dataclass(frozen=True)
class Given:
    """A grant with what became of it."""

    grant: Grant
    given_at: datetime
    given_by: str
    revoked_at: datetime | None
    revoked_by: str | None
    revoked_why: str | None


def give(connection: Connection, layer: Layer, grant: Grant, *, by: str | None = None) -> int:
    """Enter a grant (its `grant_id` is not looked at); its number. `connection`: an owner's or a registrar's.
    `by`: who gives it, else the database's login.

    Raises UsageError, NotFound for what the layer or the register does not have, NotAllowed for a layer or commune that
    somebody else collects.
    """
    checked(layer, grant)
    values: dict[str, Any] = {name: getattr(grant, name) for name in _COLUMNS} | {"by": by}
    values |= {name: sorted(values[name]) for name in ("classes", "actions")}
    values |= {name: None if values[name] is None else list(values[name]) for name in ("attributes", "communes")}
    with engine.translated(), connection.transaction():
        if "load" in grant.actions:
            writers.require_free(connection, layer, grant.agency, grant.communes, grant.valid_from, grant.valid_to)
        agencies.standing(connection, grant.agency)
        _checked_communes(connection, grant)
        return numbers.drawn(
            connection,
            "INSERT INTO sdi.grant (agency, layer, classes, attributes, rows, communes, polygon, precision, metres,"
            " actions, valid_from, valid_to, legal_basis, purpose, given_by)"
            " VALUES (%(agency)s, %(layer)s, %(classes)s, %(attributes)s, %(rows)s, %(communes)s,"
            " ST_SetSRID(ST_GeomFromGeoJSON(%(polygon)s), 4326),"
            " %(precision)s, %(metres)s, %(actions)s, %(valid_from)s, %(valid_to)s, %(legal_basis)s, %(purpose)s,"
            " coalesce(%(by)s, session_user)) ON CONFLICT (grant_id) DO NOTHING RETURNING grant_id",
            values,
        )


_COLUMNS = (
    "agency", "layer", "classes", "attributes", "rows", "communes", "polygon", "precision", "metres", "actions",
    "valid_from", "valid_to", "legal_basis", "purpose",
)  # fmt: skip


SHARED = ("open", "agency", "restricted")
"""The privacy classes that a grant can show: personal attributes are never stored."""

COARSEST = 100_000
"""Metres of the coarsest grid on which a place is told."""
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


def checked(layer: Layer, grant: Grant) -> None:
    """Raises UsageError for a grant that the layer cannot be shown by."""
    checked_words(grant)
    if grant.precision not in PRECISIONS:
        raise UsageError(f"'{grant.precision[:100]}' is no precision.", hint=f"One of: {', '.join(PRECISIONS)}")
    if layer.coverage is not None and grant.narrowed:
        raise UsageError(
            f"'{layer.id}' is a coverage: it is shared whole or not at all.",
            hint="Leave out attributes, rows, communes, polygon and precision.",
        )
    names = [attribute.name for attribute in layer.stored]
    for name in grant.attributes or ():
        if name not in names:
            raise UsageError(f"'{layer.id}' has no attribute '{name[:100]}' to share.{nearest(name, names)}")
    if grant.agency == PUBLIC.id and "restricted" in grant.classes:
        raise UsageError("What is restricted is not for the public.")
    if layer.sharing.level == "steward":
        raise UsageError(f"'{layer.id}' is its steward's alone.")
    _checked_writing(layer, grant)
    if grant.rows is not None:
        cql.parse_filter(grant.rows, "cql2-text", layer, names)
    if not 0 <= grant.metres <= COARSEST:
        raise UsageError(f"The step of a grid is 0 to {COARSEST} metres.")
    if grant.precision == "generalised" and grant.metres <= 0:
        raise UsageError("A generalised place needs the step of its grid in metres.", hint="Say --metres 50.")
    if grant.polygon is not None:
        _checked_polygon(grant.polygon)
    if grant.valid_from is not None and grant.valid_to is not None and grant.valid_to <= grant.valid_from:
        raise UsageError("The grant ends before it begins.")


def _checked_writing(layer: Layer, grant: Grant) -> None:
    """Features are written whole, and one steward alone collects a layer or a commune of it (NĐ 27/2019 Điều 27.1)."""
    if not grant.actions & WRITING:
        return
    if grant.agency == PUBLIC.id:
        raise UsageError("The public reads: it cannot be given load, edit or approve.")
    if grant.attributes is not None or grant.precision != "exact":
        raise UsageError(
            "Features are written whole: load, edit and approve go without attributes and precision.",
            hint="Grant what it may see on its own.",
        )
    if layer.derived is not None and grant.actions & {"load", "edit"}:
        raise UsageError(f"'{layer.id}' is made from other layers: nobody delivers it.")
    if layer.coverage is not None and "edit" in grant.actions:
        raise UsageError(f"'{layer.id}' is a coverage: it is delivered whole.", hint="Grant load.")
    narrowed = {"load": grant.rows or grant.polygon, "approve": grant.rows or grant.polygon or grant.communes}
    for action, by in narrowed.items():
        if action in grant.actions and by is not None:
            raise UsageError(
                f"'{action}' cannot be granted of a part like this.",
                hint="load is for the layer or its communes, approve for the layer; edit may be narrowed by anything.",
            )


def _checked_communes(connection: Connection, grant: Grant) -> None:
    """Where units are known, a code that none of them has or had shows nothing: it is a slip of the pen."""
    rows = connection.execute(
        "SELECT code FROM unnest(%s::text[]) code WHERE EXISTS (SELECT FROM sdi.unit)"
        " AND NOT EXISTS (SELECT FROM sdi.unit u WHERE u.code = code.code)",
        [list(grant.communes or ())],
    ).fetchall()
    if rows:
        raise UsageError(
            f"No administrative unit has or had the code '{rows[0][0][:100]}'.",
            hint="Codes are those of the loaded units; new ones are loaded first.",
        )


def checked_words(grant: Grant) -> None:
    """Raises UsageError for a grant of what no layer has."""
    for given_, known in ((grant.classes, SHARED), (grant.actions, ACTIONS)):
        for word in sorted(given_ - set(known)):
            raise UsageError(f"'{word[:100]}' cannot be granted.", hint=f"One of: {', '.join(known)}")
        if not given_:
            raise UsageError("Nothing cannot be granted.", hint=f"One of: {', '.join(known)}")


def _checked_polygon(text: str) -> None:
    try:
        told = json.loads(text)
    except ValueError:
        told = None
    if not isinstance(told, dict) or told.get("type") not in ("Polygon", "MultiPolygon"):
        raise UsageError(
            "The area is no polygon.", hint="Give a GeoJSON geometry, Polygon or MultiPolygon, in longitude, latitude."
        )
    try:
        valid = bool(shapely.is_valid(shapely.from_geojson(text)))
    except shapely.GEOSException:
        valid = False
    if not valid:
        raise UsageError("The area's outline is broken or crosses itself.")


def grounded(layer: Layer, grant: Grant) -> None:
    """Raises UsageError for a grant of more than everybody sees, without legal basis and purpose."""
    beyond = layer.sharing.level != "open" or grant.classes != {"open"} or grant.actions & WRITING
    if beyond and not ((grant.legal_basis or "").strip() and (grant.purpose or "").strip()):
        raise UsageError(
            f"'{layer.id}' is shared on a legal basis and for a purpose.", hint="Say --legal-basis and --purpose."
        )


def revoke(connection: Connection, grant_id: int, why: str, *, by: str | None = None) -> None:
    """Take a grant back, at once. Raises NotFound where it does not stand."""
    if not why.strip():
        raise UsageError("Say why the grant is taken back.")
    with engine.translated():
        count = connection.execute(
            "UPDATE sdi.grant SET revoked_at = clock_timestamp(), revoked_by = coalesce(%s, session_user),"
            " revoked_why = %s WHERE grant_id = %s AND revoked_at IS NULL",
            [by, why.strip(), grant_id],
        ).rowcount
    if not count:
        raise NotFound(f"There is no grant {grant_id} that stands.", hint="See 'sdi agencies list'.")


def revoke_all(connection: Connection, agency: str, why: str, *, by: str | None = None) -> int:
    """Take every grant of an agency back, at once; how many."""
    with connection.transaction():
        found = given(connection, agency=agency)
        for each in found:
            revoke(connection, each.grant.grant_id, why, by=by)
    return len(found)


def given(
    connection: Connection, *, agency: str | None = None, layer: str | None = None, revoked: bool = False
) -> Sequence[Given]:
    """The grants that stand, or all that ever did, the oldest first."""
    with engine.translated(), connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(
            "SELECT *, ST_AsGeoJSON(polygon, 9, 0) AS polygon FROM sdi.grant"
            " WHERE (%(agency)s::text IS NULL OR agency = %(agency)s)"
            " AND (%(layer)s::text IS NULL OR layer = %(layer)s) AND (revoked_at IS NULL OR %(revoked)s)"
            " ORDER BY given_at, grant_id",
            {"agency": agency, "layer": layer, "revoked": revoked},
        ).fetchall()
    return [Given(grant_of(row), **{name: row[name] for name in _ENDS}) for row in rows]


_ENDS = ("given_at", "given_by", "revoked_at", "revoked_by", "revoked_why")
