"""`make conformance`: run the abstract tests, keep a report, and OGC's executable test suite where its jar is given.

    python tests/conformance/report.py [--iut URL] [--ets JAR] [--to FOLDER]

The folder (build/conformance) gets `abstract-tests.xml` (JUnit) and `report.md`, a table by conformance class. The
second half was never run by us: OGC's suite `ets-ogcapi-features10` is not on Maven Central.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from pathlib import Path
from xml.sax.saxutils import escape

from abstract import LEFT_OUT

ROOT = Path(__file__).resolve().parents[2]
PROPERTIES = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE properties SYSTEM "http://java.sun.com/dtd/properties.dtd">
<properties version="1.0"><entry key="iut">{iut}</entry><entry key="noofcollections">-1</entry></properties>
"""


def main() -> int:
    parser = argparse.ArgumentParser(description="The abstract tests of the declared standards, with a report.")
    parser.add_argument("--iut", help="landing page of a service that runs; left out: a test town is served")
    parser.add_argument("--ets", type=Path, help="ets-ogcapi-features10-…-aio.jar; needs --iut and Java")
    parser.add_argument("--to", type=Path, default=ROOT / "build" / "conformance")
    said = parser.parse_args()
    if said.ets and not said.iut:
        parser.error("--ets needs --iut: a service that runs, e.g. by `make demo`")
    said.to.mkdir(parents=True, exist_ok=True)
    code = abstract_tests(said.to / "abstract-tests.xml", said.iut)
    table = written(said.to / "abstract-tests.xml", said.iut)
    (said.to / "report.md").write_text(table, encoding="utf-8")
    print(table)
    return code or (executable_tests(said.ets, said.iut, said.to) if said.ets else 0)


def abstract_tests(junit: Path, iut: str | None) -> int:
    """pytest's exit code."""
    environment = os.environ | ({"SDI_TEST_IUT": iut} if iut else {})
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:logging", "--show-capture=no", f"--junitxml={junit}",
               "-o", "junit_logging=no", str(Path(__file__).parent)]  # fmt: skip
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def written(junit: Path, iut: str | None) -> str:
    """The outcomes by conformance class, as a table."""
    outcomes: dict[str, set[str]] = defaultdict(set)
    for case in ElementTree.parse(junit).iter("testcase"):
        outcome = next((each.tag for each in case if each.tag in ("failure", "error", "skipped")), "passed")
        for each in case.iter("property"):
            if each.get("name") == "conf":
                outcomes[str(each.get("value"))].add(outcome)
    classes: dict[str, list[str]] = defaultdict(list)
    for test in [*outcomes, *LEFT_OUT]:
        classes[test.rpartition("/")[0]].append(test)
    rows = []
    for class_, tests in sorted(classes.items()):
        passed = [test for test in tests if outcomes.get(test) == {"passed"}]
        failed = [test.rpartition("/")[2] for test in tests if outcomes.get(test, {"passed"}) != {"passed"}]
        left = [f"{test.rpartition('/')[2]} ({LEFT_OUT[test]})" for test in tests if test in LEFT_OUT]
        rows.append(f"| {class_} | {len(passed)} | {', '.join(failed) or '0'} | {'; '.join(left)} |")
    head = ["# Abstract tests", "", f"Run against {iut or 'the test town'}; not OGC's own suite.", "",
            "| conformance class | passed | failed | left out |", "|---|---|---|---|"]  # fmt: skip
    return "\n".join([*head, *rows, ""])


def executable_tests(jar: Path, iut: str, folder: Path) -> int:
    """OGC's suite by its TestNGController, whose results it writes below the folder. 1: something failed."""
    asked = folder / "test-run-props.xml"
    asked.write_text(PROPERTIES.format(iut=escape(iut.rstrip("/") + "/")), encoding="utf-8")
    results = folder / "ets"
    results.mkdir(exist_ok=True)
    code = subprocess.run(["java", "-jar", str(jar), "-o", str(results), str(asked)], check=False).returncode
    reports = sorted(results.rglob("testng-results.xml"), key=lambda path: path.stat().st_mtime)
    if not reports:
        print(f"The suite wrote no testng-results.xml below {results}.")
        return code or 1
    told = ElementTree.parse(reports[-1]).getroot()
    print(", ".join(f"{name}: {told.get(name)}" for name in ("total", "passed", "failed", "skipped")), reports[-1])
    return code or int(told.get("failed") != "0")


if __name__ == "__main__":
    sys.exit(main())
