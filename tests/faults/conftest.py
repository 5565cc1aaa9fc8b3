"""The town under siege, once for each module of tests, and a table of what became of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from _pytest.terminal import TerminalReporter

from tests.deployment import Deployment
from tests.faults.siege import GRID, Besieged, besieged
from tests.store.conftest import write_contracts

Struck = Callable[..., None]


@pytest.fixture
def struck(request: pytest.FixtureRequest) -> Struck:
    """Enter a fault that was survived: what struck, how often the old state was served afterwards, and the new."""

    def enter(what: str, old: int, new: int = 0) -> None:
        request.node.user_properties.append(("struck", (what, old, new)))

    return enter


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    passed = terminalreporter.getreports("passed")
    rows = [value for report in passed for name, value in report.user_properties if name == "struck"]
    if rows:
        terminalreporter.section(
            "faults: what was served afterwards; never a mixture, nothing left, the next load works"
        )
        terminalreporter.write_line(f"{'struck':<58} {'points':>7} {'old':>5} {'new':>5}")
        for what, old, new in rows:
            terminalreporter.write_line(f"{what:<58} {old + new:>7} {old:>5} {new:>5}")


@pytest.fixture(scope="module")
def town(new_deployment: Callable[..., Deployment], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Besieged]:
    """The town in its old state, with heights."""
    folder = tmp_path_factory.mktemp("siege")
    at = new_deployment(write_contracts(folder / "layers"), grid=GRID)
    with besieged(at, folder) as made:
        made.load("heights", made.files["heights_old"])
        made.settle()
        yield made
