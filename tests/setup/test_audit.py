"""`.ci/audit.py`: pip-audit with a database of vulnerabilities on this machine that answers as OSV, and without."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
CANARY = "jinja2", "3.1.5"


class Database(ThreadingHTTPServer):
    """Knows of some versions that they are vulnerable, and of no others; `asked`: of which packages it was asked."""

    def __init__(self, *known: tuple[str, str]) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.known, self.asked = {*known}, set[str]()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def answer(self, package: str, version: str) -> dict[str, Any]:
        self.asked.add(package)
        if (package, version) not in self.known:
            return {}
        affected = {"package": {"name": package, "ecosystem": "PyPI"}, "versions": [version],
                    "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "999"}]}]}  # fmt: skip
        told = {"id": f"TEST-{package}", "aliases": [], "details": "for a test", "affected": [affected]}
        return {"vulns": [told | {"modified": "2026-01-01T00:00:00Z", "published": "2026-01-01T00:00:00Z"}]}


class _Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Database

    def do_POST(self) -> None:
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = json.dumps(self.server.answer(question["package"]["name"], question["version"])).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def audited(address: str, cache: Path) -> subprocess.CompletedProcess[str]:
    database = ["--vulnerability-service", "osv", "--osv-url", address, "--cache-dir", str(cache),
                "--timeout", "120"]  # fmt: skip
    command = [sys.executable, ".ci/audit.py", *database]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    with Database(*request.param) as found:
        yield found
        found.shutdown()


def pinned() -> dict[str, str]:
    lines = (ROOT / "requirements-dev.lock").read_text(encoding="utf-8").splitlines()
    return dict(line.split(" ")[0].split("==") for line in lines if "==" in line and not line.startswith((" ", "#")))


@pytest.mark.parametrize("database", [[CANARY]], indirect=True)
def test_where_nothing_bad_is_known_every_locked_dependency_was_asked_for(database: Database, tmp_path: Path) -> None:
    done = audited(f"http://127.0.0.1:{database.server_port}/v1/query", tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"nothing bad is known of {len(pinned())} dependencies" in done.stdout
    assert database.asked >= {name.lower() for name in pinned()}


@pytest.mark.parametrize("database", [[CANARY, ("fastapi", pinned()["fastapi"])]], indirect=True)
def test_a_locked_dependency_that_is_known_to_be_vulnerable_is_red(database: Database, tmp_path: Path) -> None:
    done = audited(f"http://127.0.0.1:{database.server_port}/v1/query", tmp_path)
    assert done.returncode == 1
    assert "fastapi" in done.stderr
    assert "TEST-fastapi" in done.stderr


@pytest.mark.parametrize("database", [[("fastapi", pinned()["fastapi"])]], indirect=True)
def test_a_database_that_does_not_know_what_everybody_knows_is_none(database: Database, tmp_path: Path) -> None:
    """As a mirror of the index that has the packages and not what is known of them."""
    done = audited(f"http://127.0.0.1:{database.server_port}/v1/query", tmp_path)
    assert done.returncode == 4
    assert "NOT AUDITED" in done.stderr
    assert database.asked == {CANARY[0]}


def test_where_nobody_answers_nothing_was_audited(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        done = audited(f"http://127.0.0.1:{closed.getsockname()[1]}/v1/query", tmp_path)
    assert done.returncode == 4
    assert "NOT AUDITED" in done.stderr
