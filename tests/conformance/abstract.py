"""Which abstract test of which standard a test is. The report of `make conformance` and the check of what is declared
are made from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

SPEC = "http://www.opengis.net/spec/"
PART_1, PART_2 = "ogcapi-features-1/1.0", "ogcapi-features-2/1.0"
PART_3, PART_5 = "ogcapi-features-3/1.0", "ogcapi-features-5/1.0"
CQL2 = "cql2/1.0"
COMMON_1, COMMON_2 = "ogcapi-common-1/1.0", "ogcapi-common-2/1.0"
COVERAGES, TILES, RECORDS = "ogcapi-coverages-1/1.0", "ogcapi-tiles-1/1.0", "ogcapi-records-1/1.0"

COVERED: dict[str, list[str]] = {}
"""Conformance class (its URI) -> names of its abstract tests that are run."""
TEST_DATA = ("basic-cql2", "advanced-comparison-operators", "case-insensitive-comparison",
             "accent-insensitive-comparison", "basic-spatial-functions", "basic-spatial-functions-plus",
             "spatial-functions", "temporal-functions", "property-property", "arithmetic")  # fmt: skip
LEFT_OUT = {
    **{f"{CQL2}/conf/{name}/test-data": "needs OGC's test dataset; tests/store/query compares with an evaluator instead"
       for name in TEST_DATA},
    f"{PART_1}/conf/core/fc-timeStamp": "no timeStamp is given: the Date header tells it",
    f"{PART_3}/conf/filter/get-functions": "there are no custom functions",
    f"{PART_5}/conf/returnables-and-receivables/response-2": "nothing can be written",
}  # fmt: skip
"""Abstract tests of declared classes that are not run, and why."""


def conf(standard: str, *tests: str) -> Callable[[Any], Any]:
    """Mark a function as the abstract tests `/conf/{class}/{name}` of a standard, each given as `class/name`."""

    def mark(function: Any) -> Any:
        ids = [f"{standard}/conf/{test}" for test in tests]
        for each in ids:
            class_, _, name = each.rpartition("/")
            COVERED.setdefault(SPEC + class_, []).append(name)
        function.conf = [*getattr(function, "conf", []), *ids]
        return function

    return mark
