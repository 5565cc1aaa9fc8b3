"""What an operator sees of each request: one line of JSON, a histogram by route, and a number to find both by."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import sys
import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sdi.contract.registry import Registry
from sdi.errors import SdiError
from sdi.service import problems
from sdi.service.reader import Reader
from sdi.service.wall.book import Book
from sdi.service.wall.headers import Headers
from sdi.settings import Settings
from sdi.store import indexes
from sdi.store.logins import service as login

_VARY = [(b"vary", b"Accept, Accept-Language, Authorization, X-API-Key"), (b"vary", b"Accept-Encoding")]
"""A cache in front keeps a page and its JSON, the two languages, who asks, and what is compressed, apart."""
_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
STATIC = "/static/{path:path}"
QUIET = ("/health", "/metrics", STATIC)
"""Routes that are counted but not logged when they succeed."""

log = structlog.get_logger("sdi.service")
_written = json.JSONEncoder(ensure_ascii=False).encode


def set_up_logs(level: int = logging.INFO) -> None:
    """Log JSON lines of a level and above to stderr; of standard-library loggers (uvicorn's) warnings and above."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        # Asked for at each line: whoever redirects the process redirects its log.
        logger_factory=lambda *_: structlog.WriteLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )


async def warn_of_indexes(reader: Reader, registry: Registry) -> None:
    """Warn, at the start, of indexes that the queries need and the database lacks.

    A service that refused to start would serve nothing at all where it could serve slowly; `sdi doctor` tells the cure.
    """
    try:
        absent = await reader.missing_indexes(registry)
    except SdiError:
        return  # the store is away; the service starts all the same, and says so
    if absent:
        log.warning("indexes are missing", indexes=absent, cure=indexes.CURE)


async def warn_of_login(reader: Reader) -> None:
    """Warn, at the start, of a login that could change what is served: a fault of the service would have its rights."""
    try:
        more = await reader.login_beyond()
    except SdiError:
        return
    if more:
        log.warning("the login may do more than serve", may_be=more, cure=login.CURE)


def share(book: Book, settings: Settings) -> None:
    """Count callers together with the machine's other workers of this service."""
    name = hashlib.sha256(settings.url.encode()).hexdigest()[:16]
    try:
        book.open(settings.data / "callers" / name)
    except OSError:
        log.warning("workers count callers each for itself", folder=str(settings.data))


class Metrics:
    """The Prometheus metrics of one application."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.seconds = Histogram(
            "sdi_request_seconds", "Time until a response was sent whole.", ["method", "route", "status"],
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30), registry=self.registry,
        )  # fmt: skip
        self.rows = Counter("sdi_features_total", "Features sent.", ["collection"], registry=self.registry)
        # To find a series takes longer than to count in it. Routes and statuses are few, methods are whatever is sent.
        self.took = lru_cache(maxsize=1000)(lambda *labels: self.seconds.labels(*map(str, labels)))


class Observe:
    """ASGI middleware, outermost: numbers, times, logs and counts requests, and turns bugs into problems.

    `headers`: what every answer tells.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, headers: Headers) -> None:
        self._app, self._metrics, self._headers = app, metrics, headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"x-request-id"), "")
        request_id = given if _ID.fullmatch(given) else os.urandom(16).hex()
        began, status = time.perf_counter(), 0
        more = [(b"x-request-id", request_id.encode()), *_VARY, *self._headers.of(scope)]

        async def numbered(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), *more]
            await send(message)

        scope.setdefault("state", {})["request"] = request_id
        structlog.contextvars.bind_contextvars(request=request_id)  # nothing else is ever bound
        try:
            await self._app(scope, receive, numbered)
        except ClientDisconnect:
            status = 499
        except Exception:
            log.exception("bug", path=scope["path"])
            if status:
                # The answer has begun: cutting the connection is the only way left to say that it is not whole.
                status = 500
                raise
            await problems.of_bug(Request(scope, receive), request_id)(scope, receive, numbered)
        finally:
            self._finish(scope, request_id, status or 499, time.perf_counter() - began)

    def _finish(self, scope: Scope, request_id: str, status: int, seconds: float) -> None:
        route, method = getattr(scope.get("route"), "path", "none"), scope["method"]
        if scope["path"].startswith("/static/"):
            route = STATIC  # what is mounted leaves no route
        self._metrics.took(method, route, status).observe(seconds)
        state: dict[str, Any] = scope.get("state", {})
        collection, rows = scope.get("path_params", {}).get("collection"), state.get("rows")
        if rows and collection:
            self._metrics.rows.labels(collection).inc(rows)
        if route in QUIET and status < 400:
            return
        line: dict[str, Any] = {"method": method, "path": scope["path"], "status": status,
                                "ms": round(seconds * 1000, 1)}  # fmt: skip
        if collection is not None:
            line["collection"] = collection
        if rows is not None:
            line["rows"] = rows
        at = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        line |= {"event": "request", "request": request_id, "level": "info", "timestamp": at}
        # As the log writes all others; by its processors this line would take as long as four of the layers before it.
        sys.stderr.write(_written(line) + "\n")
