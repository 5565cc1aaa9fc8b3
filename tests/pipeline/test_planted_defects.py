"""Recall and precision of the checks: the measurement of bench/checks.py, small, in every run of the tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "bench"
RECALL, PRECISION = 0.99, 0.98
EACH = 4


@pytest.fixture(scope="module")
def checks() -> Iterator[Any]:
    sys.path.insert(0, str(FOLDER))
    import checks

    yield checks
    sys.path.remove(str(FOLDER))


@pytest.fixture(scope="module")
def bench(checks: Any, server_url: str) -> Iterator[Any]:
    with checks.deployment(server_url) as (settings, registry, folder):
        yield checks.Bench(settings, registry, folder)


def judge(scores: dict[str, Any]) -> dict[str, Any]:
    """The rules that miss what was planted or cry wolf."""
    return {rule: s for rule, s in scores.items() if s.recall < RECALL or s.precision < PRECISION}


def test_every_defect_planted_into_generated_parcels_is_found_and_nothing_else(checks: Any, bench: Any) -> None:
    scores = checks.scores(bench, checks.town(checks.parcels(6_000), checks.NAMES), EACH, checks.GRID)
    assert judge(scores) == {}
    assert len([rule for rule, score in scores.items() if score.planted >= EACH]) >= 32
    assert sum(score.own for score in scores.values()) == 0


def test_every_defect_planted_into_a_real_commune_is_found_and_nothing_else(
    checks: Any, bench: Any, shared_data: Any
) -> None:
    shared_data("vn_cadastre_duynghia")
    scores = checks.scores(bench, checks.town(checks.surveyed(), checks.REAL_NAMES), EACH, checks.REAL_GRID)
    assert judge(scores) == {}
    assert scores["coverage.overlap"].own > 20
