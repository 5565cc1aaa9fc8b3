"""A page of changes for people: what a load left added, changed or gone, each feature by what it is called.

It begins with the latest, which is what people come for; behind a `since` it goes on as the other formats do.
"""

from __future__ import annotations

import json
from itertools import groupby
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from sdi.contract.layer import Layer
from sdi.service import naming, pages
from sdi.service.asked import Asked
from sdi.service.feed import changes
from sdi.service.feed.offered import FORMATS
from sdi.service.parameters import limited
from sdi.service.state import service_of

ROWS = 100
"""Changes of a page where no limit is asked."""


async def answer(request: Request, asked: Asked, layer: Layer) -> Response:
    """The page. Raises BadRequest, Gone."""
    service = service_of(request)
    since = asked.parameters.get("since")
    limit = limited(asked.parameters, ROWS, service.settings.max_limit)
    if since is None:
        told = await changes.latest(service, layer, asked.parameters.get("cursor"), limit)
    else:
        told = await changes.read(service, layer, since, limit)
    request.state.rows = len(told.entries)
    features = [None if each.text is None else json.loads(each.text, parse_float=str) for each in told.entries]
    snapshot = await service.publications.current()
    units = await naming.units_of(service, snapshot, layer, [each["properties"] for each in features if each])
    rows = zip(told.entries, features, strict=True)
    loads: list[dict[str, Any]] = [
        {"name": told.loads[load], "at": at, "changes": [*found]}
        for (load, at), found in groupby(rows, key=lambda row: (row[0].load, row[0].at))
    ]
    answered = changes.linked(service, asked, layer, told, back=since is None)
    formats = {each.media_type: each.label for each in FORMATS.values() if each.name in ("json", "ndjson")}
    response = pages.answered(
        request, asked.language, "feed.html", layer=layer, loads=loads, units=units, links=answered, since=since,
        later="cursor" in asked.parameters, formats=formats,
    )  # fmt: skip
    response.headers.update(changes.headers_of(service, asked, layer, answered))
    return response
