"""What users' programs make of the servers: GDAL reads a whole layer, QGIS opens one; each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from cases import Contender
from process import watched

SYSTEM_PYTHON = "/usr/bin/python3"
"""QGIS lives in the distribution's Python."""
QGIS = Path(__file__).with_name("qgis_reading.py")


def gdal(contenders: Sequence[Contender], seconds: float) -> list[list[str]]:
    """A line for each server: GDAL's OAPIF driver, pages of 10,000, to the end or until the time is over."""
    lines = []
    for each in contenders:
        if each.prefix:
            root, _, name = each.prefix.partition("/collections/")
            url = f"OAPIF:http://127.0.0.1:{each.port}{root}"
            lines.append(_line(each.name, [sys.executable, __file__, url, name, str(seconds)], seconds))
    return lines


def qgis(contenders: Sequence[Contender], features: int, seconds: float, home: Path) -> list[list[str]]:
    """A line for each server: QGIS opens the layer and takes so many features. Empty without Debian's python3-qgis."""
    if subprocess.run([SYSTEM_PYTHON, "-c", "import qgis.core"], capture_output=True).returncode:
        return []
    lines = []
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "XDG_", "PROJ_"))}
    plain = inherited | {"HOME": str(home), "XDG_RUNTIME_DIR": str(home), "QT_QPA_PLATFORM": "offscreen"}
    for each in contenders:
        if each.prefix:
            root, _, name = each.prefix.partition("/collections/")
            address = f"http://127.0.0.1:{each.port}{root}"
            command = ["env", "-i", *(f"{key}={value}" for key, value in plain.items()), SYSTEM_PYTHON, str(QGIS)]
            lines.append(_line(each.name, [*command, address, name, str(features), str(seconds)], seconds))
    return lines


def _line(name: str, command: Sequence[str], seconds: float) -> list[str]:
    """Run a reader and say how far it came; one that does not end by itself, waiting for an answer, is ended."""
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as program,
        watched({name: [program.pid]}) as peak,
    ):
        try:
            output, _ = program.communicate(timeout=seconds + 20)
        except subprocess.TimeoutExpired:
            program.kill()
            output, _ = program.communicate()
    said = [line for line in output.splitlines() if line.startswith("{") and line.endswith("}")]
    if not said:
        return [name, "0", "", "", "", f"{peak[name]:,.0f}", "nothing came" if program.returncode < 0 else "failed"]
    told = json.loads(said[-1])
    rate = told["features"] / max(told["seconds"], 1e-9)
    return [name, f"{told['features']:,}", f"{told['seconds']:.1f}", f"{rate:,.0f}", f"{told['first']:.2f}",
            f"{peak[name]:,.0f}", "" if told["whole"] else "stopped"]  # fmt: skip


HEADINGS = ["", "features", "s", "features/s", "first after s", "client MiB", ""]


def read(url: str, name: str, seconds: float) -> None:
    """Read a collection with GDAL, in Arrow batches, and print how far that went, again and again."""
    import pyogrio

    begun, features, first = perf_counter(), 0, 0.0
    with pyogrio.open_arrow(url, layer=name, PAGE_SIZE=10_000, use_pyarrow=True, batch_size=10_000) as (_, reader):
        for batch in reader:
            features += len(batch)
            taken = perf_counter() - begun
            first = first or taken
            told = {"features": features, "seconds": taken, "first": first}
            print(json.dumps({**told, "whole": False}), flush=True)
            if taken > seconds:
                os._exit(0)  # what is under way is not waited for
    print(json.dumps({"features": features, "seconds": perf_counter() - begun, "first": first, "whole": True}))


if __name__ == "__main__":
    read(sys.argv[1], sys.argv[2], float(sys.argv[3]))
