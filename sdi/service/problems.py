"""What went wrong, as RFC 9457 `application/problem+json`, or as a page where a browser asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from sdi.errors import SdiError
from sdi.service import asked
from sdi.service.pages import Pages

MEDIA_TYPE = "application/problem+json"


def of_error(request: Request, error: Exception) -> Response:
    """The answer to an SdiError or to a route's HTTPException (404, 405)."""
    if isinstance(error, HTTPException):
        phrase = HTTPStatus(error.status_code).phrase
        return answer(request, error.status_code, phrase, _DETAILS.get(error.status_code, phrase), error.headers)
    assert isinstance(error, SdiError)
    if error.status >= 500:
        # A fault of ours is logged by who raised it; the client learns the kind, not the machine.
        return answer(request, error.status, error.title, error.message)
    return answer(request, error.status, error.title, str(error))


def of_bug(request: Request, request_id: str) -> Response:
    """The answer to an exception that nobody foresaw: its text stays in the log, under this id."""
    detail = f"Something went wrong here. Tell the operator this number: {request_id}"
    return answer(request, 500, SdiError.title, detail)


def answer(
    request: Request, status: int, title: str, detail: str, headers: Mapping[str, str] | None = None
) -> Response:  # fmt: skip
    headers = {"Cache-Control": "no-store", **(headers or {})}
    problem = {"type": "about:blank", "title": title, "status": status, "detail": detail, "instance": request.url.path}
    if asked.accepts_html(request):
        pages: Pages = request.app.state.pages
        page = pages.render("problem.html", asked.spoken_or_asked(request), request, problem=problem)
        return HTMLResponse(page, status, {**headers, "Content-Security-Policy": pages.policy})
    body = json.dumps(problem, ensure_ascii=False).encode()
    return Response(body, status, headers, MEDIA_TYPE)


_DETAILS = {
    404: "There is no such address.",
    405: "This address does not take this method.",
}
