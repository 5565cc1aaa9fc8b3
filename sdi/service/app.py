"""The application factory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from sdi.access import PUBLIC, Agency
from sdi.contract.registry import Registry, read_registry
from sdi.errors import SdiError
from sdi.service import agencies, heap, observe, ogc, problems, routes
from sdi.service.answers import Answers, AtHand
from sdi.service.audit.door import Audited
from sdi.service.audit.recorder import Recorder
from sdi.service.audit.refusals import Refusals
from sdi.service.compression import Compressed
from sdi.service.feed.stream import Listeners
from sdi.service.formats.export import Exports
from sdi.service.lanes import BURST
from sdi.service.pages import Pages
from sdi.service.publications import Publications
from sdi.service.reader import Reader
from sdi.service.sent import Static
from sdi.service.state import Service
from sdi.service.statistics.table import ROOM
from sdi.service.texts.shelf import Shelf
from sdi.service.tiles.cache import Kept
from sdi.service.tiles.changes import Known
from sdi.service.tiles.packing import Tiles
from sdi.service.wall.callers import Gate, Turnstile
from sdi.service.wall.headers import Headers, other_sites
from sdi.service.wall.limits import Limits
from sdi.service.wall.turns import Shares
from sdi.settings import Settings, read_settings
from sdi.store import engine

STATIC = Path(__file__).parent / "static"


def create_app(settings: Settings, registry: Registry, *, url: str | None = None, agency: Agency = PUBLIC) -> FastAPI:
    """The service over one database as one agency sees it; `url`: the database's, None: as the settings say."""
    ogc.prepare()
    observe.set_up_logs()
    shares = Shares(settings.slow_share, BURST)
    url = url or engine.service_url(settings)
    shelf = Shelf(settings, url)
    reader = Reader(url, settings, shares=shares, ready=shelf.of)
    stewards = Reader(url, settings, role=engine.STEWARD, at_hand=0, shares=shares, ready=shelf.of)
    metrics = observe.Metrics()
    publications = Publications(settings, registry, agency, reader)
    recorder = Recorder(settings, url)
    refusals = Refusals(recorder)
    answers = Answers(settings.kept_answers * 2**20) if settings.kept_answers else None

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        observe.share(shares.book, settings)
        await reader.open()
        await stewards.open()
        recorder.start()
        await observe.warn_of_indexes(reader, registry)
        if settings.service_url is not None or settings.database_url is not None:
            await observe.warn_of_login(reader)
        kept = app.state.agencies.listen(), refusals.keep_recording(), shelf.keep(publications, reader)
        beside = [asyncio.create_task(each) for each in kept]
        try:
            yield
        finally:
            for each in beside:
                each.cancel()
            refusals.record()
            app.state.exports.close()
            shelf.close()
            await reader.close()
            await stewards.close()
            await run_in_threadpool(recorder.close)
            shares.book.close()

    app = _Application(
        title=settings.title_en, lifespan=lifespan, openapi_url=None, docs_url=None, redoc_url=None,
        # A URL with a slash too many is another URL; a redirect would also lose the public address behind a proxy.
        redirect_slashes=False,
        middleware=[
            Middleware(observe.Observe, metrics=metrics, headers=Headers(settings)),
            Middleware(Limits),
            Middleware(Compressed),
            other_sites(settings),
            Middleware(Gate, settings=settings, book=shares.book),
            Middleware(agencies.Doorkeeper),
            Middleware(Turnstile, settings=settings, book=shares.book),
            *([Middleware(AtHand, answers=answers, recorder=recorder)] if answers is not None else []),
            Middleware(Audited, recorder=recorder),
        ],
    )  # fmt: skip
    app.state.service = Service(settings, agency, reader, publications)
    app.state.agencies = agencies.Agencies(app.state.service, stewards)
    app.state.pages = Pages(settings)
    app.state.metrics, app.state.recorder, app.state.refusals = metrics, recorder, refusals
    app.state.tiles, app.state.changes = Tiles(), Known(reader)
    app.state.tables = Kept(ROOM)
    app.state.exports = Exports()
    app.state.answers = answers
    app.state.listeners = Listeners()
    app.router.routes.extend(routes.addresses())
    app.mount("/static", Static(directory=STATIC), name="static")
    app.add_exception_handler(SdiError, problems.of_error)
    app.add_exception_handler(HTTPException, problems.of_error)
    return app


class _Application(FastAPI):
    """Without FastAPI's layers for what no address here has: dependencies, files that are sent in, its telemetry; and
    without Starlette's outermost, which answers bugs: `Observe` does."""

    def build_middleware_stack(self) -> ASGIApp:
        app: ASGIApp = ExceptionMiddleware(self.router, self.exception_handlers)
        for layer, given, options in reversed(self.user_middleware):
            app = layer(app, *given, **options)
        return app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await Starlette.__call__(self, scope, receive, send)


def from_environment() -> FastAPI:
    """The application of a worker process: settings from the environment, contracts from their folder."""
    heap.keep_freed()
    settings = read_settings()
    return create_app(settings, read_registry(settings.layers))
