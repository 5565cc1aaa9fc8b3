"""What went wrong, as RFC 9457 `application/problem+json`, or as a page where a browser asked; in the asker's language.

A machine that names no language is answered in English, a person's browser in Vietnamese.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from sdi.errors import SdiError, translated
from sdi.service import asked
from sdi.service.pages import Pages

MEDIA_TYPE = "application/problem+json"


def of_error(request: Request, error: Exception) -> Response:
    """The answer to an SdiError or to a route's HTTPException (404, 405)."""
    if isinstance(error, HTTPException):
        phrase = HTTPStatus(error.status_code).phrase
        return answer(request, error.status_code, phrase, _DETAILS.get(error.status_code, phrase), error.headers)
    assert isinstance(error, SdiError)
    language = _language(request)
    message, hint = error.in_language(language)
    # A fault of ours is logged by who raised it; the client learns the kind, not the machine.
    detail = f"{message} {hint}" if hint and error.status < 500 else message
    return _written(request, error.status, translated(error.title, language, "titles"), detail, language, {})


def of_bug(request: Request, request_id: str) -> Response:
    """The answer to an exception that nobody foresaw: its text stays in the log, under this id."""
    detail = f"Something went wrong here. Tell the operator this number: {request_id}"
    return answer(request, 500, SdiError.title, detail)


def answer(
    request: Request, status: int, title: str, detail: str, headers: Mapping[str, str] | None = None
) -> Response:  # fmt: skip
    """The answer that an English title and detail make; both are in the catalogue of the errors."""
    language = _language(request)
    title, detail = translated(title, language, "titles"), translated(detail, language)
    return _written(request, status, title, detail, language, headers or {})


def _written(
    request: Request, status: int, title: str, detail: str, language: str, headers: Mapping[str, str]
) -> Response:  # fmt: skip
    headers = {"Cache-Control": "no-store", "Content-Language": language, **headers}
    problem = {"type": "about:blank", "title": title, "status": status, "detail": detail, "instance": request.url.path}
    if asked.accepts_html(request):
        pages: Pages = request.app.state.pages
        page = pages.render("problem.html", language, request, problem=problem)
        return HTMLResponse(page, status, {**headers, "Content-Security-Policy": pages.policy})
    body = json.dumps(problem, ensure_ascii=False).encode()
    return Response(body, status, headers, MEDIA_TYPE)


def _language(request: Request) -> str:
    """As on the pages; but Vietnamese, which they have by default, only where a machine asks for it."""
    found = asked.spoken_or_asked(request)
    if found != "vi" or asked.accepts_html(request):
        return found
    wanted = [request.query_params.get("lang", ""), *request.headers.get("accept-language", "").split(",")]
    return found if any(re.match(r"\s*vi(?![a-z])", each, re.IGNORECASE) for each in wanted) else "en"


_DETAILS = {
    404: "There is no such address.",
    405: "This address does not take this method.",
}
