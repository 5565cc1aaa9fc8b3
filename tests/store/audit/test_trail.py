"""The chain: nobody of sdi changes it, and a superuser's hand in it is found."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from sdi.errors import StoreError, UsageError
from sdi.store import engine, migrate
from sdi.store.audit import chain, search
from sdi.store.audit.chain import GENESIS, Anchor, hashed
from sdi.store.audit.proof import Proof, verify
from sdi.store.audit.spool import Lines
from sdi.store.engine import OWNER, Connection

Tamper = Callable[..., AbstractContextManager[Connection]]


def body(number: int, **about: Any) -> str:
    told = {"at": chain.now(), "kind": "read", "action": "items", "agency": "so_thu", "layers": ["plots"]}
    ids = [f"thửa {number}.{each}" for each in range(3)]
    return json.dumps({**told, "reads": [{"layer": "plots", "ids": ids}], **about}, ensure_ascii=False)


@pytest.fixture(scope="module")
def trail(database: str) -> list[int]:
    """Numbers of forty entries that stand in a row."""
    with engine.connect(database, OWNER) as connection:
        before = chain.head(connection).seq
        assert chain.append(connection, [body(number) for number in range(40)]) == 40
        return [*range(before + 1, before + 41)]


def kinds(proof: Proof) -> set[str]:
    return {fault.kind for fault in proof.faults}


def test_an_untouched_trail_holds_and_its_hashes_are_those_that_the_comment_tells(
    owner: Connection, trail: list[int]
) -> None:
    found = verify(owner, [chain.head(owner)])
    assert found.holds, found.faults
    assert found.head == chain.head(owner)
    previous = GENESIS
    for seq, moment, text, stored in owner.execute(
        "SELECT seq, recorded_at, body, hash FROM sdi_audit.entry ORDER BY seq"
    ):
        previous = hashed(previous, seq, moment, text)
        assert previous == stored


ALTERED = {
    "a letter of a text": (
        "UPDATE sdi_audit.entry SET body = replace(body, 'so_thu', 'so_thư') WHERE seq = {at}", "altered"),
    "who asked, in the column alone": ("UPDATE sdi_audit.entry SET agency = 'other' WHERE seq = {at}", "unlike"),
    "the ids, in the column alone": ("UPDATE sdi_audit.entry SET ids = NULL WHERE seq = {at}", "unlike"),
    "the layers, in the column alone": ("UPDATE sdi_audit.entry SET layers = '{{}}' WHERE seq = {at}", "unlike"),
    "when it came in": (
        "UPDATE sdi_audit.entry SET recorded_at = recorded_at - interval '1 microsecond' WHERE seq = {at}", "altered"),
    "its hash": ("UPDATE sdi_audit.entry SET hash = sha256(hash) WHERE seq = {at}", "altered"),
    "one removed": ("DELETE FROM sdi_audit.entry WHERE seq = {at}", "missing"),
    "a removed one whose gap is closed": (
        "DELETE FROM sdi_audit.entry WHERE seq = {at};"
        " UPDATE sdi_audit.entry SET seq = seq - 1 + 1000000 WHERE seq > {at};"
        " UPDATE sdi_audit.entry SET seq = seq - 1000000 WHERE seq > 1000000", "altered"),
    "two that have changed places": (
        "UPDATE sdi_audit.entry SET seq = 9000000 WHERE seq = {at};"
        " UPDATE sdi_audit.entry SET seq = {at} WHERE seq = {at} + 1;"
        " UPDATE sdi_audit.entry SET seq = {at} + 1 WHERE seq = 9000000", "altered"),
    "one put in": (
        "UPDATE sdi_audit.entry SET seq = seq + 1000001 WHERE seq >= {at};"
        " UPDATE sdi_audit.entry SET seq = seq - 1000000 WHERE seq > 1000000;"
        " INSERT INTO sdi_audit.entry SELECT {at}, recorded_at, at, action, agency, layers, ids, body, hash"
        " FROM sdi_audit.entry WHERE seq = {at} - 1", "altered"),
    "the tail cut off": ("DELETE FROM sdi_audit.entry WHERE seq > {at}", "head"),
    "everything cut off": ("TRUNCATE sdi_audit.entry", "head"),
    "a segment made up": (
        "INSERT INTO sdi_audit.segment SELECT min(seq), {at}, decode(repeat('00', 32), 'hex'),"
        " (SELECT hash FROM sdi_audit.entry WHERE seq = {at}), now(), now(), now(), 'x', 'x' FROM sdi_audit.entry;"
        " DELETE FROM sdi_audit.entry WHERE seq <= {at}", "segment"),
}  # fmt: skip


@pytest.mark.parametrize("what", ALTERED)
def test_a_superusers_hand_is_found(what: str, tampered: Tamper, database: str, trail: list[int]) -> None:
    statement, kind = ALTERED[what]
    with tampered(*statement.format(at=trail[17]).split("; ")) as root:
        assert kind in kinds(_as_it_is(root))


def test_one_altered_entry_is_one_fault(tampered: Tamper, trail: list[int]) -> None:
    with tampered(f"UPDATE sdi_audit.entry SET body = body || ' ' WHERE seq = {trail[5]}") as root:
        assert [fault.seq for fault in _as_it_is(root).faults] == [trail[5]]


def test_random_bytes_of_random_entries_are_found_each(tampered: Tamper, trail: list[int]) -> None:
    chosen = random.Random(5)
    for _ in range(10):
        at, place, column = chosen.choice(trail), chosen.randrange(1, 60), chosen.choice(["body", "action"])
        change = f"UPDATE sdi_audit.entry SET {column} = overlay({column} placing '~' from {place}) WHERE seq = {at}"
        with tampered(change) as root:
            assert at in {fault.seq for fault in _as_it_is(root).faults}


def test_a_tail_that_is_cut_with_its_head_is_found_by_an_anchor_alone(
    tampered: Tamper, owner: Connection, trail: list[int]
) -> None:
    anchor = chain.head(owner)
    cut = (
        f"DELETE FROM sdi_audit.entry WHERE seq > {trail[20]}",
        "UPDATE sdi_audit.head SET (seq, hash) = (SELECT seq, hash FROM sdi_audit.entry ORDER BY seq DESC LIMIT 1)",
    )
    with tampered(*cut) as root:
        assert _as_it_is(root).holds, "the threat that is told of: nothing inside the database knows better"
        assert kinds(_as_it_is(root, anchor)) == {"anchor"}


def test_a_trail_that_is_written_anew_is_found_by_an_anchor(
    tampered: Tamper, owner: Connection, trail: list[int]
) -> None:
    anchor = chain.head(owner)
    with tampered(f"UPDATE sdi_audit.entry SET body = replace(body, 'so_thu', 'so_khac'), agency = 'so_khac' "
                  f"WHERE seq = {trail[3]}") as root:  # fmt: skip
        previous = GENESIS
        for seq, moment, text in root.execute("SELECT seq, recorded_at, body FROM sdi_audit.entry ORDER BY seq"):
            previous = hashed(previous, seq, moment, text)
            root.execute("UPDATE sdi_audit.entry SET hash = %s WHERE seq = %s", [previous, seq])
        root.execute("UPDATE sdi_audit.head SET hash = %s", [previous])
        assert _as_it_is(root).holds
        assert kinds(_as_it_is(root, anchor)) == {"anchor"}


def _as_it_is(root: Connection, *anchors: Anchor) -> Proof:
    """Verify within the transaction that was tampered in."""
    return verify(_Within(root), anchors)  # type: ignore[arg-type]


class _Within:
    """A connection whose transaction is under way: a further one neither begins nor is set."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def transaction(self) -> Any:
        return self._connection.transaction()

    def cursor(self, name: str) -> Any:
        return self._connection.cursor(name)

    def execute(self, statement: str) -> Any:
        return self._connection.execute("SELECT" if statement.startswith("SET TRANSACTION") else statement.encode())


FORBIDDEN = [
    "UPDATE sdi_audit.entry SET body = ''", "DELETE FROM sdi_audit.entry", "TRUNCATE sdi_audit.entry",
    "INSERT INTO sdi_audit.entry SELECT * FROM sdi_audit.entry", "UPDATE sdi_audit.head SET seq = 0",
    "DELETE FROM sdi_audit.segment", "ALTER TABLE sdi_audit.entry DISABLE TRIGGER ALL",
    "DROP SCHEMA sdi_audit CASCADE", "UPDATE sdi_audit.spool SET lines = 0",
    "CREATE FUNCTION sdi_audit.append(text) RETURNS bigint LANGUAGE sql AS 'SELECT 0::bigint'",
    "ALTER FUNCTION sdi_audit.append(uuid, bigint, text[]) SECURITY INVOKER",
]  # fmt: skip


@pytest.mark.parametrize("role", [engine.OWNER, engine.LOADER, engine.READER, engine.STEWARD, engine.RECORDER])
def test_no_role_of_sdi_changes_the_trail(database: str, role: str) -> None:
    with engine.connect(database, role) as connection:
        connection.execute("SELECT set_config('sdi_audit.retaining', 'on', false)")
        for statement in FORBIDDEN:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())


def test_triggers_stop_a_superuser_who_does_not_mean_it(database: str, owner: Connection) -> None:
    chain.append(owner, [body(0)])
    with engine.connect(database) as root:
        for statement in ("UPDATE sdi_audit.entry SET body = ''", "DELETE FROM sdi_audit.entry",
                          "TRUNCATE sdi_audit.entry", "TRUNCATE sdi_audit.segment"):  # fmt: skip
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                root.execute(statement.encode())


def test_who_only_records_reads_nothing(database: str) -> None:
    with engine.connect(database, engine.RECORDER) as connection:
        assert chain.append(connection, [body(1)]) == 1
        for name in ("sdi_audit.entry", "sdi_audit.head", "sdi.load", "sdi.agency_key"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"SELECT FROM {name}".encode())


def test_many_who_add_at_once_make_one_chain(database: str, owner: Connection) -> None:
    before = chain.head(owner).seq

    def add(worker: int) -> int:
        with engine.connect(database, engine.RECORDER) as connection:
            return sum(chain.append(connection, [body(worker), body(worker)]) for _ in range(25))

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(add, range(8))) == 400
    assert chain.head(owner).seq == before + 400
    assert verify(owner).holds


def lines(name: UUID, first: int, bodies: list[str]) -> Lines:
    return Lines(name, first, len(bodies), "\n".join(bodies).encode(), 0)


def test_lines_of_a_file_come_in_once(owner: Connection) -> None:
    name, bodies = uuid4(), [body(number) for number in range(6)]
    assert chain.bring(owner, lines(name, 0, bodies[:4])) == 4
    assert chain.bring(owner, lines(name, 0, bodies)) == 2
    with pytest.raises(StoreError):
        chain.bring(owner, lines(name, 7, bodies))  # one is missing between


def test_what_is_no_entry_is_told_of_and_stops_nothing(owner: Connection) -> None:
    odd = ["{", '{"at": "no time"}', '{"at":"2026-01-01T00:00:00Z","x":"\\u0000"}', "[]"]
    for each in odd:
        assert chain.bring(owner, lines(uuid4(), 0, [each])) == 1
    assert chain.bring(owner, lines(uuid4(), 0, [*odd, body(1)])) == 5
    found = search.find(owner, search.Wanted(limit=5))
    assert [entry.body["kind"] for entry in found] == ["read", *["damaged"] * 4]
    assert verify(owner).holds


def test_bytes_that_are_no_text_and_ids_that_no_index_takes_are_told_of_and_stop_nothing(owner: Connection) -> None:
    """As a failing disk, or a service of before ids that were asked for were cut, may leave them in a file."""
    long = "".join(random.Random(3).choices("0123456789abcdefghijklmnopqrstuvwxyz", k=4000))
    odd = [b'{"at":"\xff\xfe"}', b"\x00" * 9, body(2, asked=[long]).encode(), body(3, asked=["ngắn"]).encode()]
    assert chain.bring(owner, Lines(uuid4(), 0, len(odd), b"\n".join(odd), 0)) == 4
    found = search.find(owner, search.Wanted(limit=4))
    assert [entry.body["kind"] for entry in found] == ["read", *["damaged"] * 3]
    assert bytes.fromhex(found[1].body["text"]).decode().startswith('{"at"')
    assert found[0].body["asked"] == ["ngắn"]
    assert verify(owner).holds


def test_reads_of_a_feature_are_found_alone_in_pages_and_in_whole_files(owner: Connection) -> None:
    one = json.dumps([{"layer": "plots", "ids": ["A 1"]}])
    versions = "\n".join(f"{number % 7} B {number}" for number in range(1000))
    page = json.dumps([{"layer": "plots", "versions": versions}])
    whole = json.dumps([{"layer": "plots", "ids": ["*"]}])
    marked = [body(0, reads=json.loads(reads), agency="seeker") for reads in (one, page, whole)]
    assert chain.append(owner, marked) == 3

    def seen(feature: str) -> list[str]:
        found = search.find(owner, search.Wanted(agency="seeker", layers=["plots"], feature=feature))
        return [next(iter(set(entry.body["reads"][0]) - {"layer"})) for entry in found]

    assert seen("A 1") == ["ids", "ids"]
    assert seen("B 999") == ["ids", "versions"]
    assert seen("999") == ["ids"], "the end of an id is another id"
    assert seen("B 99%") == ["ids"]
    assert search.find(owner, search.Wanted(agency="seeker", layers=["works"])) == []


def test_whole_months_go_and_the_rest_still_holds(
    database: str, registry: Any, new_database: Callable[[], str]
) -> None:

    url = new_database()
    with engine.connect(url) as root:
        migrate.apply(root, registry)
        chain.append(root, [body(number) for number in range(10)])
        _moved_back(root)
        chain.append(root, [body(number) for number in range(5)])
        anchor = chain.head(root)
    with engine.connect(url, OWNER) as owner:
        with pytest.raises(UsageError):
            chain.retain(owner, datetime.now(UTC), "")
        assert chain.retain(owner, datetime(2026, 2, 20, tzinfo=UTC), "kept for five years") == 10
        assert chain.retain(owner, datetime(2026, 2, 20, tzinfo=UTC), "kept for five years") == 0
        found = verify(owner, [anchor])
        assert found.holds, found.faults
        assert (found.removed, found.entries) == (10, 6)
        (signed,) = [each for each in search.find(owner, search.Wanted()) if each.body["action"] == "retain"]
        assert signed.body["removed"] == 10
    with engine.connect(url) as root, root.transaction(force_rollback=True):
        root.execute("SET LOCAL session_replication_role = replica")
        root.execute("UPDATE sdi_audit.segment SET last_seq = last_seq - 1")
        assert "segment" in kinds(_as_it_is(root))


def _moved_back(root: Connection) -> None:
    """As if what is there had come in on the tenth of January 2026."""
    with root.transaction():
        root.execute("SET LOCAL session_replication_role = replica")
        previous = GENESIS
        for seq, text in root.execute("SELECT seq, body FROM sdi_audit.entry ORDER BY seq").fetchall():
            moment = datetime(2026, 1, 10, tzinfo=UTC)
            previous = hashed(previous, seq, moment, text)
            root.execute(
                "UPDATE sdi_audit.entry SET recorded_at = %s, hash = %s WHERE seq = %s", [moment, previous, seq]
            )
        root.execute("UPDATE sdi_audit.head SET hash = %s", [previous])


def test_an_anchor_that_is_none_is_refused() -> None:
    for text in ("", "1:", "x:" + "0" * 64, "1:" + "g" * 64):
        with pytest.raises(UsageError):
            Anchor.parse(text)
    anchor = Anchor(7, bytes(range(32)))
    assert Anchor.parse(f" {anchor}\n") == anchor
