"""A table of statistics: what is counted by one statement, with what is too small to be told hidden.

It is kept in the worker's memory until the layer is loaded again. What is kept follows from the rows that exist for who
asks, and is found by all that it is made of.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import starmap
from typing import Any

from starlette.concurrency import run_in_threadpool

from sdi.access.disclosure import LEAST, TOGETHER, Value, hidden, nameless, together
from sdi.contract.layer import Layer
from sdi.contract.query import FeatureQuery
from sdi.errors import Overloaded
from sdi.service import fresh
from sdi.service.audit import reads
from sdi.service.publications import Snapshot
from sdi.service.rights import seen_in_numbers
from sdi.service.state import Service
from sdi.service.statistics.question import measures
from sdi.service.tiles.cache import Kept
from sdi.store import succession

MOST = 50_000
"""Groups of a table."""
ROOM = 2 * 1024 * 1024
"""Bytes that the tables of one worker take."""

Sums = tuple[Decimal | None, ...]


@dataclass(frozen=True)
class Group:
    """Features that have the same values. `count`: None where it is not told; then neither are the sums."""

    values: tuple[Value, ...]
    count: int | None
    sums: tuple[float | int | None, ...]


@dataclass(frozen=True)
class Table:
    """`by`, `sums`: the names of the dimensions and measures. `total`: of all features.

    `groups`: in no order. `margins`: of two dimensions the groups by each one alone, else nothing. `together`: of each
    dimension the values that stand as one; None: which these are is not told.
    """

    by: tuple[str, ...]
    sums: tuple[str, ...]
    total: Group
    groups: tuple[Group, ...]
    margins: tuple[tuple[Group, ...], ...]
    together: tuple[tuple[Value, ...] | None, ...]


async def tabulated(
    kept: Kept[bytes], service: Service, snapshot: Snapshot, layer: Layer, by: tuple[str, ...]
) -> Table:  # fmt: skip
    """The table by these dimensions as it exists for who asks. Raises Overloaded for one that has too many groups."""
    shown, sums = seen_in_numbers(service.agency, layer), measures(service.agency, layer)
    query = FeatureQuery(layer.id, (*by, *sums), filters=shown.filters, sight=shown.sight, geometry=False)
    stored = snapshot.stored[layer.id]
    # What a rule says of codes of units is told by the layer of units, hence by the ledger's version, and by the day.
    settled = succession.select_meant(layer, query) is None
    now = None if settled else (snapshot.version, datetime.now(UTC).date().isoformat())
    standing = stored.generation, stored.changed_at.isoformat(), snapshot.stored_beside(shown.sight)
    made_of = fresh.tag_of("statistics", snapshot.edition, layer.id, standing, shown.tag, by, sums, now)

    async def make() -> bytes:
        rows = await service.reader.groups(layer, query, by, sums, MOST + 1)
        if len(rows) > MOST:
            raise Overloaded(f"The features of '{layer.id}' fall into more than {MOST} groups.")
        # Of a large city it takes a second to choose what is hidden.
        return await run_in_threadpool(lambda: json.dumps(asdict(table_of(by, sums, _read(rows, len(by))))).encode())

    reads.told(layer.id, query.attributes)
    return _of_json(json.loads(await kept.of(made_of, make)))


Key = tuple[Value, ...]
Found = tuple[int, Sums]
"""How many features, and what they have of each measure together."""


def _read(rows: Iterable[tuple[Any, ...]], width: int) -> dict[Key, Found]:
    found: dict[Key, Found] = {}
    for row in rows:
        key = tuple(None if value is None else value.decode() for value in row[:width])
        sums = (None if value is None else Decimal(value.decode()) for value in row[width + 1 :])
        found[key] = row[width], tuple(sums)
    return found


def table_of(by: tuple[str, ...], sums: tuple[str, ...], rows: Mapping[Key, Found]) -> Table:
    """What may be told of the rows: the same rows give the same table."""
    nothing: Found = 0, tuple(None for _ in sums)
    total = _added(rows, lambda key: ()).get((), nothing)
    if total[0] < LEAST:
        return Table(by, sums, _untold((), sums), (), (), tuple(None for _ in by))
    joined: list[Key] = []
    names: list[Key | None] = []
    for place in range(len(by)):
        counts = {key[0]: found[0] for key, found in _margin(rows, place).items()}
        few = together(counts)
        joined.append(few)
        names.append(None if few and nameless(counts, few) else few)
    rows = _added(rows, lambda key: tuple(TOGETHER if v in few else v for v, few in zip(key, joined, strict=True)))
    return Table(
        by, sums, _told((), total), tuple(_groups(rows, sums)),
        tuple(tuple(starmap(_told, _margin(rows, place).items())) for place in range(len(by))) if len(by) > 1 else (),
        tuple(names),
    )  # fmt: skip


def _groups(rows: Mapping[Key, Found], sums: tuple[str, ...]) -> Iterator[Group]:
    wide = all(len(key) == 2 for key in rows)
    secret = hidden({(key[0], key[1]): count for key, (count, _) in rows.items()}) if wide else frozenset()
    for key in dict.fromkeys([*rows, *sorted(secret, key=str)]):
        yield _untold(key, sums) if key in secret else _told(key, rows[key])


def _margin(rows: Mapping[Key, Found], place: int) -> dict[Key, Found]:
    return _added(rows, lambda key: (key[place],))


def _added(rows: Mapping[Key, Found], to: Callable[[Key], Key]) -> dict[Key, Found]:
    """The rows of the same key together."""
    found: dict[Key, Found] = {}
    for key, (count, sums) in rows.items():
        before = found.get(to(key))
        if before is not None:
            count += before[0]
            sums = tuple(one if other is None else other if one is None else one + other
                         for one, other in zip(sums, before[1], strict=True))  # fmt: skip
        found[to(key)] = count, sums
    return found


def _told(key: Key, found: Found) -> Group:
    return Group(key, found[0], tuple(None if value is None else _number(value) for value in found[1]))


def _untold(key: Key, sums: tuple[str, ...]) -> Group:
    return Group(key, None, tuple(None for _ in sums))


def _number(value: Decimal) -> float | int:
    return int(value) if value == value.to_integral_value() else float(value)


def _of_json(told: dict[str, Any]) -> Table:
    """What `dataclasses.asdict` gave, lists in the place of tuples."""

    def group(each: dict[str, Any]) -> Group:
        return Group(tuple(each["values"]), each["count"], tuple(each["sums"]))

    return Table(
        tuple(told["by"]), tuple(told["sums"]), group(told["total"]), tuple(map(group, told["groups"])),
        tuple(tuple(map(group, margin)) for margin in told["margins"]),
        tuple(None if names is None else tuple(names) for names in told["together"]),
    )  # fmt: skip
