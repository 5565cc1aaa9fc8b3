"""Ask pip-audit whether a locked dependency is known to be vulnerable.

Exit code 0: the database was asked of each, and knows nothing bad; 1: one is known to be vulnerable; 4: nobody could be
asked of all of them, so there was no audit. What is told behind the name of this script goes to pip-audit.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

LOCK = Path(__file__).resolve().parents[1] / "requirements-dev.lock"
"""It has all that stands in requirements.lock."""
KNOWN = "jinja2==3.1.5"
"""A version that is known to be vulnerable (CVE-2025-27516). pip-audit takes it for no fault where a mirror has the
packages and not what is known of them: who does not know this one knows nothing of ours."""
SECONDS = 10
"""Waited for each answer."""


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        known = Path(folder) / "known.txt"
        known.write_text(f"{KNOWN}\n", encoding="utf-8")
        answer = asked(known, "--no-deps")
    if not any(each.get("vulns") for each in answer):
        return unaudited(f"nobody who knows what is wrong with {KNOWN} could be asked")
    answer = asked(LOCK, "--require-hashes")
    bad = [(each, fault) for each in answer for fault in each.get("vulns", ())]
    for each, fault in bad:
        mended = ", ".join(fault["fix_versions"]) or "no version"
        print(f"audit: {each['name']} {each['version']}: {fault['id']}, mended in {mended}", file=sys.stderr)
    if bad:
        return 1
    skipped = [each["name"] for each in answer if "vulns" not in each]
    if skipped or not answer:
        return unaudited(f"nothing could be learnt of {', '.join(skipped) or LOCK.name}")
    print(f"audit: nothing bad is known of {len(answer)} dependencies")
    return 0


def asked(file: Path, *more: str) -> list[dict[str, Any]]:
    """What pip-audit tells of each requirement in a file; nothing where it could ask nobody."""
    command = [sys.executable, "-m", "pip_audit", "--format", "json", "--disable-pip", "--progress-spinner", "off",
               "--timeout", str(SECONDS), "--requirement", str(file), *more, *sys.argv[1:]]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        print(done.stderr.strip()[-1000:], file=sys.stderr)
        return []
    return found


def unaudited(why: str) -> int:
    print(f"audit: NOT AUDITED: {why}", file=sys.stderr)
    return 4


if __name__ == "__main__":
    sys.exit(main())
