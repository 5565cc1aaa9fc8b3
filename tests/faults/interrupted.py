"""Loads that are broken off at their n-th step: a process that reads orders, one JSON line each, and forks for each.

It is run by the tests (`Breaker` in conftest.py) and is no part of the product. An order names a layer, a file, a clock
that counts the load's steps, the step, and what happens there. Two clocks run: `call` ticks when a function of `sdi`
begins, in whatever thread; `wire` ticks before each exchange with the database (statements, COPY data, BEGIN, COMMIT).
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import psycopg

import sdi
from sdi import pipeline
from sdi.contract.delivery import Request
from sdi.contract.registry import Registry, read_registry
from sdi.errors import SdiError
from sdi.settings import Settings
from sdi.store import engine

HOUSE = str(Path(sdi.__file__).parent)


class Clock:
    """Counts steps; at one of them something happens. `sites`: where each step was, when they are asked for."""

    def __init__(self, name: str, at: int, act: Callable[[psycopg.Connection[Any] | None], None]) -> None:
        self.name, self.at, self.act = name, at, act
        self.sites: list[str] = []
        self._lock = threading.Lock()

    def tick(self, site: str, connection: psycopg.Connection[Any] | None = None) -> None:
        with self._lock:
            self.sites.append(site)
            due = len(self.sites) == self.at
        if due:
            self.act(connection)

    def start(self) -> None:
        if self.name == "call":
            self._watch_calls()
        else:
            self._watch_wire()

    def _watch_calls(self) -> None:
        watch = sys.monitoring
        watch.use_tool_id(watch.DEBUGGER_ID, "faults")

        def began(code: CodeType, _: int) -> object:
            if not code.co_filename.startswith(HOUSE):
                return watch.DISABLE
            self.tick(site_of(code))
            return None

        watch.register_callback(watch.DEBUGGER_ID, watch.events.PY_START, began)
        watch.set_events(watch.DEBUGGER_ID, watch.events.PY_START)

    def _watch_wire(self) -> None:
        wait = psycopg.Connection.wait

        def counted(connection: psycopg.Connection[Any], *args: Any, **more: Any) -> Any:
            self.tick(next(callers()), connection)
            return wait(connection, *args, **more)

        psycopg.Connection.wait = counted  # type: ignore[method-assign]


def callers() -> Iterator[str]:
    """The functions of the house that are running, the innermost first."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename.startswith(HOUSE):
            yield site_of(frame.f_code)
        frame = frame.f_back
    yield "outside"


def site_of(code: CodeType) -> str:
    return f"{code.co_filename[len(HOUSE) + 1 :].removesuffix('.py')}:{code.co_qualname}"


# --- what happens -------------------------------------------------------------------------------------------------


def act_of(order: dict[str, Any]) -> Callable[[psycopg.Connection[Any] | None], None]:
    def kill(_: object = None) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def kill_soon(_: object) -> None:
        threading.Timer(0.003, kill).start()  # the server is at the statement by then

    def terminate(_: object) -> None:
        with psycopg.connect(order["url"], autocommit=True, application_name="faults") as other:
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = 'sdi'"
            )

    def cut(connection: psycopg.Connection[Any] | None) -> None:
        assert connection is not None
        with socket.socket(fileno=os.dup(connection.pgconn.socket)) as line:
            line.shutdown(socket.SHUT_RDWR)

    def pause(_: object) -> None:
        Path(order["paused"]).touch()
        while Path(order["paused"]).exists():
            time.sleep(0.01)

    acts = {"kill": kill, "kill_soon": kill_soon, "terminate": terminate, "cut": cut, "pause": pause}
    return acts.get(order.get("act", ""), lambda _: None)


def run(order: dict[str, Any], registry: Registry) -> dict[str, Any]:
    """One load; what became of it."""
    settings = Settings(
        database_url=order["url"], layers=Path(order["layers"]), data=Path(order["data"]), grid=order["grid"]
    )
    clock = Clock(order["clock"], order["at"], act_of(order))
    if "file_size" in order:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["file_size"], resource.RLIM_INFINITY))
    answer: dict[str, Any] = {"error": None}
    try:
        with engine.connect(order["url"], engine.LOADER) as connection:
            clock.start()
            work(order, settings, registry, connection)
    except SdiError as error:
        answer["error"] = type(error).__name__
        answer["said"] = str(error)
    answer["sites"] = clock.sites
    return answer


def work(order: dict[str, Any], settings: Settings, registry: Registry, connection: engine.Connection) -> None:
    if "rollback" in order:
        from sdi.pipeline.history import rollback

        rollback(connection, settings, registry, order["layer"], order["rollback"], steward=order["steward"])
        return
    request = Request(Path(order["path"]), steward=order["steward"])
    pipeline.deliver(connection, settings, registry, order["layer"], request, wait=order.get("wait", 20.0))


def main() -> None:
    registries: dict[str, Registry] = {}
    for line in sys.stdin:
        order = json.loads(line)
        registry = registries.setdefault(order["layers"], read_registry(Path(order["layers"])))
        answer = Path(order["answer"])
        answer.unlink(missing_ok=True)
        child = os.fork()
        if not child:
            text = json.dumps(run(order, registry))
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            half = answer.with_suffix(".half")  # the blow may fall while this is written
            half.write_text(text)
            half.replace(answer)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        print(json.dumps({"status": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    main()
