"""The SQL of the bare route alone, by pgbench: what PostgreSQL does of a case when nothing stands before it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import psycopg
from cases import Case

SCRIPTS = 100
"""Questions that are asked at random; pgbench takes no more than 128 files."""


def pgbench(
    url: str, statements: Mapping[str, str], case: Case, clients: int, seconds: float, folder: Path
) -> float | None:  # fmt: skip
    """Requests/s, each statement prepared once by each client; None without pgbench, or where the server has no
    connections left for so many clients beside the other servers' pools."""
    program = shutil.which("pgbench")
    if program is None:
        return None
    with psycopg.connect(url) as connection:
        files = []
        for number, question in enumerate(case.questions[:SCRIPTS]):
            text = psycopg.ClientCursor(connection).mogrify(statements[case.kind].encode(), question)
            file = folder / f"pgbench_{number}.sql"
            # pgbench ends a statement with its line's semicolon and reads :name as a variable; there is none in these.
            file.write_text(f"{' '.join(text.split())};\n", encoding="utf-8")
            files += ["-f", str(file)]
    command = [program, "-n", "-M", "prepared", "-c", str(clients), "-j", "1", "-T", str(max(1, round(seconds)))]
    ran = subprocess.run([*command, *files, url], capture_output=True, text=True, check=False)
    found = None if ran.returncode else re.search(r"tps = ([\d.]+)", ran.stdout)
    return float(found[1]) if found else None
