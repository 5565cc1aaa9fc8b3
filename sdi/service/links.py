"""Links of a document, and the same in the `Link` header (RFC 8288)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

GEOJSON = "application/geo+json"


def link(rel: str, href: str, type_: str, title: str, **more: Any) -> dict[str, Any]:
    return {"rel": rel, "type": type_, "title": title, "href": href, **more}


def address(base: str, *steps: str, parameters: Mapping[str, Any] | None = None) -> str:
    """A URL below `base`; each step is one path segment, so a '/' in an id is escaped."""
    path = "/".join([base.rstrip("/"), *(quote(step, safe="") for step in steps)])
    query = urlencode(parameters or {}, quote_via=quote, safe=",:")
    return f"{path}?{query}" if query else path


def header(links: Iterable[Mapping[str, Any]]) -> str:
    """The value of a `Link` header; titles are left to the document, header text is ASCII."""
    return ", ".join(f'<{each["href"]}>; rel="{each["rel"]}"; type="{each["type"]}"' for each in links)
