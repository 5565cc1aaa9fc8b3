"""Pages of features as files: FlatGeobuf, GeoPackage and GeoParquet, made of columns off the event loop.

Such a file is of use only whole, so it is made before it is sent, and its place on the lane is kept until then.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from sdi.contract.layer import Layer
from sdi.contract.query import FeatureQuery
from sdi.service.asked import Asked
from sdi.service.formats import ITEMS, lines
from sdi.service.lanes import Lane
from sdi.service.page import Page
from sdi.service.parameters import Question
from sdi.service.publications import Snapshot
from sdi.service.state import Service, service_of
from sdi.store import forms


async def page(
    request: Request, asked: Asked, layer: Layer, question: Question, snapshot: Snapshot, validity: dict[str, str]
) -> Response:  # fmt: skip
    """A page as one file; what GeoJSON has in its body stands in headers, as `lines` has it."""
    headers = {**validity, **lines.told(asked, layer, question)}
    media_type, changed_at = ITEMS[asked.format].media_type, snapshot.publications[layer.id].changed_at
    found, parts = await _found(service_of(request), layer, question)
    async with aclosing(parts):
        headers |= await lines.around(request, asked, layer, question, snapshot, found)
        if request.method == "HEAD":
            return Response(None, headers=headers, media_type=media_type)
        text = b"".join([part async for part in parts])
        body = await run_in_threadpool(_file, asked.format, layer, question.query, text, changed_at)
    return Response(body, headers=headers, media_type=media_type)


async def _found(service: Service, layer: Layer, question: Question) -> tuple[Page, AsyncGenerator[bytes]]:
    """What is known of the page, and its lines."""
    if question.lane is Lane.LONG:
        return await service.reader.walk(layer, question.query, forms.cells, "\n")
    found = await service.page(layer, question, forms.cells, "\n")
    return found, _whole(found)


async def _whole(page: Page) -> AsyncGenerator[bytes]:
    yield page.text


def _file(format_: str, layer: Layer, query: FeatureQuery, text: bytes, changed_at: datetime) -> bytes:
    # Who asks for no such file need not hold what makes one: pyarrow, GDAL and what reads deliveries.
    from sdi.ingest import write
    from sdi.store import columns, geoparquet

    wanted = columns.schema(layer, query)
    table = columns.read(text, wanted)
    if format_ == "parquet":
        sink = io.BytesIO()
        geoparquet.write(sink, columns.shape(layer, query), wanted, [table], query.crs)
        return sink.getvalue()
    kind = columns.shape(layer, query)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{layer.id}.{format_}"
        # Without an index: in the order that was asked for, and read whole anyway.
        write.write_stream(path, layer.id, table.to_reader(), query.crs, kind, changed_at, indexed=False)
        return path.read_bytes()
