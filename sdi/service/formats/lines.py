"""Pages of features as lines, GeoJSONSeq (RFC 8142) and CSV (RFC 4180): text made in PostGIS, sent on as it comes.

What GeoJSON has in its body stands in headers here: the links to the pages around (`Link`), the number of features on
the page (`OGC-NumberReturned`), and of all that match where that is known anyway (`OGC-NumberMatched`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace

from starlette.requests import Request
from starlette.responses import Response

from sdi.contract.layer import Layer
from sdi.contract.query import FeatureQuery
from sdi.service import items, links
from sdi.service.asked import Asked
from sdi.service.formats import ITEMS, disposition
from sdi.service.hangup import Stream, unsent
from sdi.service.lanes import Lane
from sdi.service.page import Page
from sdi.service.parameters import Question
from sdi.service.publications import Snapshot
from sdi.service.state import service_of
from sdi.store import forms
from sdi.store.forms import Form


@dataclass(frozen=True)
class Writing:
    """How features are put into a row: `first` before all, `between` two of them, `last` behind the last one."""

    form: Form
    between: str
    last: str
    first: str = ""
    empty: str = ""
    """The whole answer where there is no feature."""


def writing(format_: str, layer: Layer, query: FeatureQuery) -> Writing:
    """Of GeoJSONSeq or CSV. CSV is for spreadsheets: UTF-8 with a byte order mark."""
    if format_ == "geojsonseq":
        return Writing(forms.geojson, between="\n\x1e", last="\n", first="\x1e")
    head = forms.csv_head(layer, query)
    return Writing(forms.csv, between="\r\n", last="\r\n", first=head, empty=head)


async def page(
    request: Request, asked: Asked, layer: Layer, question: Question, snapshot: Snapshot, validity: dict[str, str]
) -> Response:  # fmt: skip
    """A page; one that is too large to be held is streamed, in memory of one part."""
    service, format_ = service_of(request), ITEMS[asked.format]
    if asked.format == "csv" and "skipGeometry" not in asked.parameters:
        # Rows of values, as ever; the geometry is for who says that it is not to be skipped.
        question = replace(question, query=replace(question.query, geometry=False))
    made = writing(asked.format, layer, question.query)
    media_type = format_.media_type + ("; charset=utf-8" if asked.format == "csv" else "")
    headers = {**validity, **told(asked, layer, question)}
    if question.lane is not Lane.LONG:
        found = await service.page(layer, question, made.form, made.between)
        headers |= await around(request, asked, layer, question, snapshot, found)
        return Response(_whole(made, found), headers=headers, media_type=media_type)
    found, parts = await service.reader.walk(layer, question.query, made.form, made.between)
    try:
        headers |= await around(request, asked, layer, question, snapshot, found)
        if request.method == "HEAD":
            await parts.aclose()
            return unsent(headers, media_type)
    except BaseException:
        await parts.aclose()
        raise
    return Stream(_streamed(made, parts), headers=headers, media_type=media_type)


def _whole(made: Writing, page: Page) -> bytes:
    return made.first.encode() + page.text + made.last.encode() if page.returned else made.empty.encode()


async def _streamed(made: Writing, parts: AsyncGenerator[bytes | memoryview]) -> AsyncGenerator[bytes | memoryview]:
    begun = False
    async with aclosing(parts):
        async for part in parts:
            yield part if begun else made.first.encode() + part
            begun = True
    yield (made.last if begun else made.empty).encode()


def told(asked: Asked, layer: Layer, question: Question) -> dict[str, str]:
    """The headers of a page in a format without a place for what they say."""
    return {
        "Content-Crs": f"<{question.crs.uri}>", "Content-Language": asked.language,
        **disposition(layer.id, ITEMS[asked.format]),
    }  # fmt: skip


async def around(
    request: Request, asked: Asked, layer: Layer, question: Question, snapshot: Snapshot, page: Page
) -> dict[str, str]:  # fmt: skip
    """The headers that tell of the other pages."""
    request.state.rows = page.returned
    answered = await items.page_links(service_of(request), asked, layer, question, page)
    found = {"Link": links.header(answered), "OGC-NumberReturned": str(page.returned)}
    if not question.filtered:
        found["OGC-NumberMatched"] = str(snapshot.publications[layer.id].count)
    return found
