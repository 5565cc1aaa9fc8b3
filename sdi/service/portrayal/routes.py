"""The addresses of styles and of QGIS projects."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from sdi.access import PUBLIC
from sdi.catalog.qgis.project import MEDIA_TYPE
from sdi.contract.layer import Layer
from sdi.errors import NotFound
from sdi.service.asked import asked, checked_path
from sdi.service.portrayal import documents, project
from sdi.service.portrayal.encodings import DEFAULT, ENCODINGS, OF_DATASET
from sdi.service.publications import Snapshot
from sdi.service.state import Service, service_of

Endpoint = Callable[..., Awaitable[Response]]


def addresses() -> list[tuple[str, Endpoint]]:
    """Paths and their endpoints."""
    return [
        ("/styles", dataset_styles), ("/styles/{style}", dataset_style),
        ("/collections/{collection}/styles", styles), ("/collections/{collection}/styles/{style}", style),
        ("/qgis/{agency}.qgz", qgis_project),
    ]  # fmt: skip


async def dataset_styles(request: Request) -> Response:
    ask = asked(request, ("json",))
    return _document(documents.styles(service_of(request), None, ask.language), ask.language)


async def dataset_style(request: Request, style: str) -> Response:
    ask = asked(request, OF_DATASET)
    _known(style)
    service = service_of(request)
    snapshot = await service.publications.current()
    body = await run_in_threadpool(documents.of_dataset, service, snapshot, ask.language)
    return _stylesheet(body, ask.format, ask.language, "style")


async def styles(request: Request, collection: str) -> Response:
    ask = asked(request, ("json",))
    service, _, layer = await _styled(request, collection)
    return _document(documents.styles(service, layer, ask.language), ask.language)


async def style(request: Request, collection: str, style: str) -> Response:
    ask = asked(request, ENCODINGS)
    service, snapshot, layer = await _styled(request, collection)
    _known(style)
    body = await run_in_threadpool(documents.stylesheet, service, snapshot, layer, ask.format, ask.language)
    return _stylesheet(body, ask.format, ask.language, layer.id)


async def qgis_project(request: Request, agency: str) -> Response:
    """The project of who asks; another agency's does not exist. What is the public's is everybody's."""
    ask = asked(request, ("qgz",))
    service = service_of(request)
    if agency == PUBLIC.id:
        service = await request.app.state.agencies.anonymous()
    if agency != service.agency.id:
        raise NotFound("There is no such address.")
    snapshot = await service.publications.current()
    body = await run_in_threadpool(project.file, service, snapshot, ask.language)
    headers = {"Content-Language": ask.language, "Content-Disposition": f'attachment; filename="{agency}.qgz"'}
    return Response(body, headers=headers, media_type=MEDIA_TYPE)


async def _styled(request: Request, name: str) -> tuple[Service, Snapshot, Layer]:
    service = service_of(request)
    snapshot = await service.publications.current()
    layer, _ = snapshot[checked_path(name)]
    if layer.geometry is None:
        raise NotFound(f"Collection '{layer.id}' has no styles.")
    return service, snapshot, layer


def _known(style: str) -> None:
    if style != DEFAULT:
        raise NotFound(f"There is no style '{checked_path(style)[:100]}'.", hint=f"One of: {DEFAULT}")


def _stylesheet(body: bytes, format_: str, language: str, name: str) -> Response:
    """The media type without a charset: its parameters are part of what the draft names."""
    headers = {"Content-Language": language, "Content-Type": ENCODINGS[format_].media_type}
    if format_ != "mapbox":
        extension = {"qml": "qml", "sld11": "sld"}[format_]
        headers["Content-Disposition"] = f'attachment; filename="{name}.{extension}"'
    return Response(body, headers=headers)


def _document(content: dict[str, Any], language: str) -> Response:
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(body, headers={"Content-Language": language}, media_type="application/json")
