"""Pages of features as files: FlatGeobuf, GeoPackage and GeoParquet, made of columns off the event loop.

Such a file is of use only whole, so it is made before it is sent. What comes of the store is put aside on the disk,
part by part, and so is the file: memory holds one part, whatever the limit.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import datetime
from pathlib import Path
from typing import IO

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from sdi.contract.layer import Layer
from sdi.contract.query import FeatureQuery
from sdi.service.asked import Asked
from sdi.service.formats import ITEMS, lines
from sdi.service.hangup import Stream, unsent
from sdi.service.lanes import Lane
from sdi.service.page import Page
from sdi.service.parameters import Question
from sdi.service.publications import Snapshot
from sdi.service.state import Service, service_of
from sdi.store import forms

PIECE = 256 * 1024
"""Bytes of a file that are sent at a time."""
SMALL = 4 * 1024 * 1024
"""Bytes of a page's text up to which it needs no disk."""
GROUP = 10_000
"""Features of a row group of GeoParquet."""


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
            return unsent(headers, media_type)
        with tempfile.SpooledTemporaryFile(SMALL) as aside:
            sizes = [await run_in_threadpool(aside.write, part) async for part in parts]
            file = await run_in_threadpool(_file, asked.format, layer, question.query, aside, sizes, changed_at)
    headers["Content-Length"] = str(os.fstat(file.fileno()).st_size)
    return Stream(_pieces(file), headers=headers, media_type=media_type)


async def _found(service: Service, layer: Layer, question: Question) -> tuple[Page, AsyncGenerator[bytes | memoryview]]:
    """What is known of the page, and its lines."""
    if question.lane is Lane.LONG:
        return await service.reader.walk(layer, question.query, forms.cells, "\n")
    found = await service.page(layer, question, forms.cells, "\n")
    return found, _whole(found)


async def _whole(page: Page) -> AsyncGenerator[bytes | memoryview]:
    yield bytes(page.text)


def _file(
    format_: str, layer: Layer, query: FeatureQuery, aside: IO[bytes], sizes: Sequence[int], changed_at: datetime
) -> IO[bytes]:  # fmt: skip
    """The page's file, opened and without a name, so that it goes with who reads it; `sizes`: bytes of its parts."""
    # Who asks for no such file need not hold what makes one: pyarrow, GDAL and what reads deliveries.
    from sdi.ingest import write
    from sdi.store import columns, geoparquet

    wanted, kind = columns.schema(layer, query), columns.shape(layer, query)
    aside.seek(0)
    tables = (columns.read(aside.read(size), wanted) for size in sizes or (0,))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{layer.id}.{format_}"
        if format_ == "parquet":
            geoparquet.write(str(path), kind, wanted, columns.grouped(tables, GROUP), query.crs)
        else:
            # Without an index: in the order that was asked for, and read whole anyway.
            reader = columns.reader(wanted, tables)
            write.write_stream(path, layer.id, reader, query.crs, kind, changed_at, indexed=False)
        return path.open("rb")


async def _pieces(file: IO[bytes]) -> AsyncGenerator[bytes]:
    with file:
        while piece := await run_in_threadpool(file.read, PIECE):
            yield piece
