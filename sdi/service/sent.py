"""Files that are sent from the disk, whole or by ranges."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from sdi.service import fresh


class Sent(FileResponse):
    """A range is asked for by GET and in bytes; elsewhere the header is none (RFC 9110, 14.2)."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await super().__call__(_understood(scope), receive, send)

    def set_stat_headers(self, stat_result: os.stat_result) -> None:
        """Tag and date are told by who knows what is in the file; Starlette's date may stand for two of one second."""
        self.headers.setdefault("content-length", str(stat_result.st_size))

    def _should_use_range(self, http_if_range: str) -> bool:
        return http_if_range in (self.headers.get("etag"), self.headers.get("last-modified"))


class Static(StaticFiles):
    """The same of the files that the pages are made with."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await super().__call__(_understood(scope), receive, send)

    def is_not_modified(self, response_headers: Headers, request_headers: Headers) -> bool:
        # Starlette's date is the file's own second, ours the next one.
        before = parsedate_to_datetime(response_headers["last-modified"]) - timedelta(seconds=1)
        return fresh.Validator(response_headers["etag"].strip('"'), before).is_held(request_headers.raw)


def file(request: Request, path: Path, tag: str, media_type: str, name: str, headers: dict[str, str]) -> Response:
    """The file, to be kept under a name, or a 304 for who has it. `tag`: of what is in it, wherever it lies."""
    validator = fresh.Validator(tag, datetime.fromtimestamp(path.stat().st_mtime, UTC))
    headers = {**headers, **validator.headers}
    if validator.holds(request):
        return fresh.not_modified(headers.items())
    return Sent(path, headers=headers, media_type=media_type, filename=name)


def _understood(scope: Scope) -> Scope:
    """The request, without a range that is to be passed over."""
    given: list[Any] = scope.get("headers", [])
    foreign = [pair for pair in given if pair[0] == b"range"
               and (scope["method"] != "GET" or pair[1].partition(b"=")[0].strip().lower() != b"bytes")]  # fmt: skip
    return {**scope, "headers": [pair for pair in given if pair not in foreign]} if foreign else scope
