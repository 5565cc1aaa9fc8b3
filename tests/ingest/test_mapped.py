"""Numbers in files: what goes over them block by block says what is said of them at once."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from sdi.errors import StoreError
from sdi.ingest import mapped

COUNTS = [0, 1, 9, 64, 1000]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in (("LEAST", 256), ("BLOCK", 16), ("MOST", 32)):
        monkeypatch.setattr(mapped, name, size)


def test_what_is_large_is_in_a_file_and_what_is_small_is_not() -> None:
    assert isinstance(mapped.zeros(32, np.int64).base, np.memmap)
    assert mapped.zeros(31, np.int64).base is None
    assert mapped.zeros(40, np.float64, 4).tolist() == [[0.0] * 4] * 40


def test_a_disk_without_room_is_told_before_anything_is_written() -> None:
    with pytest.raises(StoreError, match="working file"):
        mapped.zeros(1 << 50, np.int64)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("kinds", [3, 400, 10**9])
def test_rows_of_a_number_that_stands_twice_are_found_together(count: int, kinds: int) -> None:
    random = np.random.default_rng(count)
    numbers, among = random.integers(0, kinds, count, dtype=np.uint64), random.random(count) < 0.8
    times = Counter(numbers[among].tolist())
    parts = list(mapped.alike(numbers, among, most=20))
    assert all((np.diff(rows) > 0).all() for rows in parts)
    told = sorted(int(row) for rows in parts for row in rows)
    assert told == [row for row in range(count) if among[row] and times[int(numbers[row])] > 1]
    together = [set(numbers[rows].tolist()) for rows in parts]
    assert sum(map(len, together)) == len(set().union(*together))


@pytest.mark.parametrize("count", COUNTS)
def test_what_stands_beside_a_number_goes_with_it(count: int) -> None:
    numbers = np.random.default_rng(1).integers(0, 2**64, count, dtype=np.uint64)
    others = np.arange(count)
    one, two = mapped.in_order(numbers, others)
    assert one.tolist() == sorted(numbers.tolist())
    assert (numbers[two] == one).all()


@pytest.mark.parametrize("count", COUNTS)
def test_rows_with_a_hash_in_common_are_given_out_at_once(count: int) -> None:
    random = np.random.default_rng(2)
    one = random.integers(-(2**63), 2**63, count)
    two = random.permutation(np.concatenate([one[::2], random.integers(-(2**63), 2**63, 7)]))
    met = {
        (int(row), int(other))
        for mine, others in mapped.beside(one, two)
        for row in mine
        for other in others
        if one[row] == two[other]
    }
    row_of = {int(number): row for row, number in enumerate(one)}
    assert met == {(row_of[int(number)], other) for other, number in enumerate(two) if int(number) in row_of}


def test_combinations_have_a_number_of_their_own() -> None:
    pairs = np.array([[a, b] for a in range(-40, 40) for b in range(40)], dtype=np.float64) / 8 + 0.0
    made = mapped.hashed(list(pairs.T))
    assert len(np.unique(made)) == len(pairs)
    assert (mapped.hashed(list(pairs[::-1].T)) == made[::-1]).all()
