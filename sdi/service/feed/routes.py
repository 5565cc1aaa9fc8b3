"""The address of a layer's changes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from sdi.errors import NotFound
from sdi.service.asked import asked, checked_path, format_, read_parameters
from sdi.service.feed import changes, page, stream
from sdi.service.feed.offered import FORMATS, are_told
from sdi.service.state import service_of

Endpoint = Callable[..., Awaitable[Response]]
PARAMETERS = ("since", "limit")


def addresses() -> list[tuple[str, Endpoint]]:
    """Paths and their endpoints."""
    return [("/collections/{collection}/changes", changes_of)]


async def changes_of(request: Request, collection: str) -> Response:
    service = service_of(request)
    snapshot = await service.publications.current()
    layer, _ = snapshot[checked_path(collection)]
    if not are_told(layer):
        raise NotFound(f"Collection '{layer.id}' has no changes.")
    parameters = read_parameters(request)
    # Of the page alone, on which the latest stands first and earlier ones follow.
    back = "since" not in parameters and format_(request, parameters, [*FORMATS]) == "html"
    ask = asked(request, FORMATS, (*PARAMETERS, "cursor") if back else PARAMETERS)
    told = {"events": stream.answer, "html": page.answer}.get(ask.format, changes.answer)
    return await told(request, ask, layer)
