"""The hash of a row is one, whether Python makes it of Arrow or PostgreSQL of its row."""

from __future__ import annotations

import json
import struct
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from sdi.store import delta, sending, tables
from sdi.store.content import row_hashes
from sdi.store.delta import STAGED
from tests.store.town import Town, features, plot

text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
doubles = st.floats() | st.sampled_from(
    [
        1e15,
        1e14,
        6.661361234079946e16,
        9.5367431640625e16,
        1.7976931348623157e308,
        999999999999999.9,
        1e-4,
        1e-5,
        1e6,
        0.1 + 0.2,
        5e-324,
        -0.0,
    ]
)
json_value = st.recursive(
    st.none()
    | st.booleans()
    | text
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=4),
    max_leaves=6,
)
values = st.fixed_dictionaries({}, optional={
    "area": st.decimals(-(10**15), 10**15, places=2), "floors": st.integers(-(2**63), 2**63 - 1) | st.none(),
    "ratio": doubles | st.none(), "listed": st.booleans() | st.none(), "remark": text | st.none(),
    "surveyed_on": st.dates() | st.none(), "seen_at": st.datetimes(timezones=st.just(UTC)) | st.none(),
    "uses": st.lists(json_value, max_size=3) | st.none(),
})  # fmt: skip


def in_sql(town: Town, batch: pa.RecordBatch) -> list[bytes]:
    """What PostgreSQL makes of the rows, staged as the loader stages them."""
    layer = town.registry["plots"]
    with town.connection.transaction(force_rollback=True):
        delta.prepare(town.connection)
        columns = sending.columns(layer, batch.schema)
        town.connection.execute(sql.SQL("CREATE TEMPORARY TABLE {} ({}) ON COMMIT DROP").format(STAGED, columns))
        sending.copy_arrow(town.connection, STAGED, batch.schema, [batch], ["uses"])
        made = {name: sql.Identifier("s", name) for name in tables.content(layer)}
        made |= {
            a.name: sql.SQL("s.{}::numeric").format(sql.Identifier(a.name)) for a in layer.stored if a.type == "decimal"
        }
        query = sql.SQL("SELECT {} FROM {} s ORDER BY source_row").format(delta.row_hash(layer, made), STAGED)
        return [row[0] for row in town.connection.execute(query)]


def batch_of(town: Town, rows: list[dict[str, Any]], **columns: pa.Array) -> pa.RecordBatch:
    table = features(town.registry["plots"], rows)
    for name, column in columns.items():
        table = table.set_column(table.column_names.index(name), name, column)
    return next(sending.fitted(table.to_batches(), sending.schema(town.registry["plots"], table.schema)))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=st.lists(values, min_size=1, max_size=30))
def test_any_values_have_one_hash(town: Town, drawn: list[dict[str, Any]]) -> None:
    rows = [plot(number, **each) for number, each in enumerate(drawn)]
    batch = batch_of(town, rows)
    assert row_hashes(town.registry["plots"], batch).to_pylist() == in_sql(town, batch)


def test_a_row_in_which_nothing_is_said_has_the_hash_of_its_shape_among_others(town: Town) -> None:
    layer = town.registry["plots"]
    rows = [plot(1), plot(2, **{attribute.name: None for attribute in layer.stored}), plot(3)]
    batch = batch_of(town, rows)
    assert row_hashes(layer, batch).to_pylist() == in_sql(town, batch)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=st.lists(doubles | st.none(), min_size=1, max_size=60))
def test_decimals_that_come_as_doubles_have_the_hash_of_the_number_they_become(
    town: Town, drawn: list[float | None]
) -> None:
    batch = batch_of(town, [plot(number) for number in range(len(drawn))], area=pa.array(drawn, pa.float64()))
    assert row_hashes(town.registry["plots"], batch).to_pylist() == in_sql(town, batch)


def test_decimals_of_many_places_and_of_none_have_one_hash(town: Town) -> None:
    for kind, numbers in (
        (pa.decimal128(38, 9), ["0.000000001", "-0.000000100", "12345678901234567890.5", "0", "100"]),
        (pa.decimal128(38, 0), ["100", "0", "-7"]),
    ):
        area = pa.array([Decimal(number) for number in numbers], kind)
        batch = batch_of(town, [plot(number) for number in range(len(numbers))], area=area)
        assert row_hashes(town.registry["plots"], batch).to_pylist() == in_sql(town, batch)


def test_shapes_of_either_byte_order_and_missing_ones_have_one_hash(town: Town) -> None:
    shape = shapely.set_srid(shapely.multipolygons([shapely.box(600_000, 1_190_000, 600_020, 1_190_020)]), 9210)
    written = [shapely.to_wkb(shape, include_srid=True, byte_order=order) for order in (0, 1)] + [None]
    assert struct.unpack_from("BB", written[0][:1] + written[1][:1]) == (0, 1)
    batch = batch_of(town, [plot(1, remark="same") for _ in written], geom=pa.array(written, pa.binary()))
    hashes = row_hashes(town.registry["plots"], batch).to_pylist()
    assert hashes == in_sql(town, batch)
    assert hashes[0] == hashes[1] != hashes[2]


def test_each_value_counts_and_no_two_rows_meet_by_where_a_value_stands(town: Town) -> None:
    changes: list[dict[str, Any]] = [
        {}, {"remark": None}, {"remark": ""}, {"use": None, "remark": "ODT"}, {"floors": None}, {"floors": 30},
        {"area": Decimal("400.01")}, {"ratio": np.nextafter(1.0, 2.0)}, {"listed": None}, {"listed": True},
        {"surveyed_on": date(2026, 7, 2)}, {"seen_at": datetime(2026, 7, 1, 8, 30, 0, 1, tzinfo=UTC)},
        {"uses": []}, {"uses": [{"id": "ODT", "share": 1.5}]},
        {"geom": shapely.multipolygons([shapely.box(600_000, 1_190_000, 600_020, 1_190_020.001)])},
    ]  # fmt: skip
    batch = batch_of(town, [plot(3, **each) for each in changes])
    hashes = row_hashes(town.registry["plots"], batch).to_pylist()
    assert len(set(hashes)) == len(changes)
    assert {len(each) for each in hashes} == {16}


def test_equal_lists_written_differently_have_one_hash(town: Town) -> None:
    written = [
        '[{"id":"ODT","share":1.0}]',
        '[ {"share": 1.0, "id": "\\u004fDT"} ]',
        '[{"id":"x","share":1.0,"id":"ODT"}]',
    ]
    batch = batch_of(town, [plot(3) for _ in written], uses=pa.array(written, pa.string()))
    hashes = row_hashes(town.registry["plots"], batch).to_pylist()
    assert hashes == in_sql(town, batch)
    assert len(set(hashes)) == 1
    assert json.loads(written[0])[0]["share"] == 1
