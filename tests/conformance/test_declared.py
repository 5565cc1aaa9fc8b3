"""Nothing is declared that no abstract test covers, and nothing is tested that is not declared."""

from __future__ import annotations

import importlib

import pytest

from tests.conformance.abstract import COVERED, LEFT_OUT, SPEC
from tests.conformance.conftest import Api

for each in ("core", "crs", "filtering", "cql2", "schemas", "tiles", "records"):
    importlib.import_module(f"tests.conformance.test_{each}")


def test_what_is_declared_is_tested(api: Api) -> None:
    assert not set(api.classes) - COVERED.keys()


def test_what_is_tested_is_declared(api: Api) -> None:
    assert not COVERED.keys() - set(api.classes)


@pytest.mark.parametrize("test", LEFT_OUT)
def test_what_is_left_out_belongs_to_a_declared_class_and_says_why(api: Api, test: str) -> None:
    class_, _, name = test.rpartition("/")
    assert SPEC + class_ in api.classes
    assert name not in COVERED[SPEC + class_]
    assert LEFT_OUT[test]
