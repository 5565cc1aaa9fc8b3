"""Whether the trail is what it was: every hash anew, every number, every gap, and what was kept of it elsewhere.

What it finds: an entry that was altered, removed, put in, or moved; a tail that is gone, as long as the head still
tells of it or an anchor does. What it cannot find without an anchor: a trail that a superuser of the database has
written anew as a whole, hashes and head included.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sdi.store import engine
from sdi.store.audit.chain import GENESIS, Anchor, hashed
from sdi.store.engine import Connection

AT_ONCE = 2000
"""Entries that are read at a time."""
_NAMED = 100
"""Faults that are told of; more are counted."""


@dataclass(frozen=True)
class Flaw:
    """What is wrong at which number. `kind`: altered, missing, inserted, unlike, head, segment, anchor."""

    seq: int
    kind: str
    what: str


@dataclass
class Proof:
    """What was found. `head`: that of the entries as they are; `removed`: entries that retention took."""

    entries: int = 0
    removed: int = 0
    head: Anchor = field(default_factory=lambda: Anchor(0, GENESIS))
    faults: list[Flaw] = field(default_factory=list)
    more: int = 0
    """Faults beyond those that are told of."""

    @property
    def holds(self) -> bool:
        return not self.faults

    def fault(self, seq: int, kind: str, what: str) -> None:
        if len(self.faults) < _NAMED:
            self.faults.append(Flaw(seq, kind, what))
        else:
            self.more += 1


@dataclass(frozen=True)
class _Segment:
    first: int
    last: int
    previous: bytes
    hash: bytes

    @property
    def told(self) -> list[Any]:
        return [self.first, self.last, self.previous.hex(), self.hash.hex()]


def verify(connection: Connection, anchors: Sequence[Anchor] = ()) -> Proof:
    """Read the whole trail as one moment has it. `connection`: an owner's, in autocommit mode."""
    with engine.translated(), connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        return examine(connection, anchors)


def examine(connection: Connection, anchors: Sequence[Anchor] = ()) -> Proof:
    """The same in the caller's transaction, as it sees the trail."""
    proof, kept = Proof(), {anchor.seq: anchor for anchor in anchors}
    segments = [_Segment(row[0], row[1], bytes(row[2]), bytes(row[3])) for row in connection.execute(
        "SELECT first_seq, last_seq, previous, hash FROM sdi_audit.segment ORDER BY first_seq")]  # fmt: skip
    told = connection.execute("SELECT seq, hash FROM sdi_audit.head").fetchone()
    _bridge(proof, segments, kept)
    signed = _walk(proof, connection, kept)
    if [segment.told for segment in segments] != signed:
        proof.fault(0, "segment", "the entry that signs what was removed tells of other segments")
    if told is None or Anchor(int(told[0]), bytes(told[1])) != proof.head:
        proof.fault(
            proof.head.seq, "head", f"the head is at {told[0] if told else 'nothing'}: the tail was cut or changed"
        )
    for anchor in kept.values():
        proof.fault(anchor.seq, "anchor", "the trail does not reach it any more, or retention removed what it names")
    return proof


def _bridge(proof: Proof, segments: Sequence[_Segment], kept: dict[int, Anchor]) -> None:
    """Go over what retention has removed, to where the entries begin."""
    for segment in segments:
        if (segment.first, segment.previous) != (proof.head.seq + 1, proof.head.hash):
            proof.fault(segment.first, "segment", "it does not follow what was removed before it")
        proof.removed += segment.last - segment.first + 1
        proof.head = Anchor(segment.last, segment.hash)
        _compare(proof, kept)


def _walk(proof: Proof, connection: Connection, kept: dict[int, Anchor]) -> list[Any]:
    """Every entry in its order; the segments that the last signature told of."""
    signed: list[Any] = []
    for seq, recorded_at, at, action, agency, layers, ids, body, stored in _entries(connection):
        if seq > proof.head.seq + 1:
            proof.fault(proof.head.seq + 1, "missing", f"{seq - proof.head.seq - 1} removed before {seq}")
        elif seq <= proof.head.seq:
            proof.fault(seq, "inserted", "its number was taken")
        if hashed(proof.head.hash, seq, recorded_at, body) != bytes(stored):
            proof.fault(seq, "altered", "its hash does not follow from it and the entry before")
        told = _told(body)
        if told is None or _columns(told) != (at, action, agency, layers, ids):
            proof.fault(seq, "unlike", "its columns are not what its text says")
        elif told.get("kind") == "write" and action == "retain":
            signed = told.get("segments", [])
        proof.entries += 1
        # With the hash that stands there: one altered entry is one fault, and not that of all behind it.
        proof.head = Anchor(seq, bytes(stored))
        _compare(proof, kept)
    return signed


def _compare(proof: Proof, kept: dict[int, Anchor]) -> None:
    anchor = kept.pop(proof.head.seq, None)
    if anchor is not None and anchor != proof.head:
        proof.fault(anchor.seq, "anchor", "the anchor has another hash: the trail was written anew")


def _entries(connection: Connection) -> Iterator[tuple[Any, ...]]:
    with connection.cursor("audit") as cursor:
        cursor.execute(
            "SELECT seq, recorded_at, at, action, agency, layers, ids, body, hash FROM sdi_audit.entry ORDER BY seq"
        )
        while rows := cursor.fetchmany(AT_ONCE):
            yield from rows


def _told(body: str) -> dict[str, Any] | None:
    try:
        told = json.loads(body)
    except ValueError:
        return None
    return told if isinstance(told, dict) else None


def _columns(told: dict[str, Any]) -> tuple[Any, ...]:
    """What the columns of an entry must be."""
    ids = [name for read in told.get("reads", ()) for name in read.get("ids", ())] + list(told.get("asked") or ())
    try:
        at = datetime.fromisoformat(told["at"]).astimezone(UTC)
    except (KeyError, ValueError, TypeError):
        at = None
    return at, told.get("action"), told.get("agency"), list(told.get("layers") or ()), ids or None
