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
from sdi.ingest import write
from sdi.service.asked import Asked
from sdi.service.formats import ITEMS, lines
from sdi.service.lanes import Lane
from sdi.service.page import Page
from sdi.service.parameters import Question
from sdi.service.publications import Snapshot
from sdi.service.state import Service, service_of
from sdi.store import columns, forms, geoparquet


async def page(
    request: Request, asked: Asked, layer: Layer, question: Question, snapshot: Snapshot, validity: dict[str, str]
) -> Response:  # fmt: skip
    """A page as one file; what GeoJSON has in its body stands in headers, as `lines` has it."""
    headers = {**validity, **lines.told(asked, layer, question)}
    media_type, changed_at = ITEMS[asked.format].media_type, snapshot.publications[layer.id].changed_at
    async with aclosing(_pages(service_of(request), layer, question)) as pages:
        found = await anext(pages)
        headers |= await lines.around(request, asked, layer, question, snapshot, found)
        if request.method == "HEAD":
            return Response(None, headers=headers, media_type=media_type)
        texts = [each.text async for each in pages if each.text]
        body = await run_in_threadpool(_file, asked.format, layer, question.query, b"\n".join(texts), changed_at)
    return Response(body, headers=headers, media_type=media_type)


async def _pages(service: Service, layer: Layer, question: Question) -> AsyncGenerator[Page]:
    """First what is known of the page, then its lines."""
    if question.lane is Lane.LONG:
        async with aclosing(service.reader.walk(layer, question.query, forms.cells, "\n")) as pages:
            async for each in pages:
                yield each
        return
    found = await service.page(layer, question, forms.cells, "\n")
    yield found
    yield found


def _file(format_: str, layer: Layer, query: FeatureQuery, text: bytes, changed_at: datetime) -> bytes:
    wanted = columns.schema(layer, query)
    table = columns.read(text, wanted)
    if format_ == "parquet":
        sink = io.BytesIO()
        geoparquet.write(sink, layer, wanted, [table], query.crs)
        return sink.getvalue()
    kind = layer.geometry.type if layer.geometry is not None and columns.GEOMETRY in wanted.names else None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{layer.id}.{format_}"
        # Without an index: in the order that was asked for, and read whole anyway.
        write.write_stream(path, layer.id, table.to_reader(), query.crs, kind, changed_at, indexed=False)
        return path.read_bytes()
