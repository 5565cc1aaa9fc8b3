"""The service beside a bare route over the same table: what a request costs, as a ratio, at a small size.

No time is looked at, for a busy machine makes all of them long. The ratios are of CPU time, of both servers' processes
for the same requests in turn; bytes and buffers do not depend on the machine at all. The bounds are 1.6 to 1.8 times
the greater of two runs on a busy machine (2.03, 0.84, 1.53 and 0.76), which differed by 4 to 50 % from each other: what
makes a request half as dear again may pass, what doubles it does not. bench/README.md has the real measurement.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sdi.settings import ROOT

pytestmark = pytest.mark.slow

COST = {"bbox, 100 features": 3.3, "bbox, 1,000 features": 1.4, "item by id": 2.8, "first page of 1,000": 1.3}
"""At most so many times the bare route's CPU time, which ends where PostgreSQL's begins."""
OTHERS = "pygeoapi,tipg,MapServer,pg_featureserv,pg_tileserv"


def measured(script: str, folder: Path, server: str, *options: str) -> Any:
    """The figures of a script of bench/ at a small size."""
    file = folder / "figures.json"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SDI_")}
    subprocess.run(
        [sys.executable, str(ROOT / "bench" / script), "--server", server, "--json", str(file), *options],
        check=True, env={**environment, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return json.loads(file.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def rows(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], dict[str, Any]]:
    """The rows of bench/serve.py by case and server; it has ended itself if the service's answers were not equal."""
    only = [part for case in COST for part in ("--only", case)]
    said = f"--parcels 3000 --clients 1 --rounds 3 --times 25 --workers 1 --seconds 0 --without {OTHERS}"
    figures = measured("serve.py", tmp_path_factory.mktemp("ratios"), server_url, *said.split(), *only)
    return {(row["case"], row["contender"]): row for row in figures["rows"]}


@pytest.mark.parametrize("case", COST)
def test_a_request_costs_the_service_few_times_what_it_costs_a_bare_route(
    rows: dict[tuple[str, str], dict[str, Any]], case: str
) -> None:
    ratio = rows[case, "sdi anew"]["server"] / rows[case, "bare"]["server"]
    assert ratio <= COST[case], f"{case}: {ratio:.1f} times the bare route's CPU time"


def test_every_answer_is_whole_and_none_an_error(rows: dict[tuple[str, str], dict[str, Any]]) -> None:
    assert {row["errors"] for row in rows.values()} == {0}


@pytest.mark.parametrize("case", COST)
def test_an_answer_has_few_more_bytes_than_its_features(rows: dict[tuple[str, str], dict[str, Any]], case: str) -> None:
    # What stands around the features: links, counts and times, some 3 KiB.
    assert rows[case, "sdi"]["kib"] <= rows[case, "bare"]["kib"] * 1.05 + 4


def test_what_has_not_changed_is_not_sent_again(rows: dict[tuple[str, str], dict[str, Any]]) -> None:
    held = [row for (_, contender), row in rows.items() if contender == "sdi, 304"]
    assert held
    assert {row["kib"] for row in held} == {0}


def test_the_last_page_touches_as_much_of_the_database_as_the_first(server_url: str, tmp_path: Path) -> None:
    lines = measured("paging.py", tmp_path, server_url, "--rows", "30000", "--rounds", "1")
    last = next(line for line in lines if line["order"] == "id" and line["page"].startswith("last"))
    assert float(last["buffers × first"]) <= 1.2
