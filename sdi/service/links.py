"""Links of a document, and the same in the `Link` header (RFC 8288)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

GEOJSON = "application/geo+json"
LONGEST = 3000
"""Bytes of a `Link` header with all links: proxies take 4 to 8 kB of headers, and a filter stands in each address."""


def link(rel: str, href: str, type_: str, title: str, **more: Any) -> dict[str, Any]:
    return {"rel": rel, "type": type_, "title": title, "href": href, **more}


def address(base: str, *steps: str, parameters: Mapping[str, Any] | None = None) -> str:
    """A URL below `base`; each step is one path segment, so a '/' in an id is escaped."""
    path = "/".join([base.rstrip("/"), *(quote(step, safe="") for step in steps)])
    return f"{path}?{query(parameters)}" if parameters else path


def query(parameters: Mapping[str, Any]) -> str:
    """Parameters as they stand behind the question mark."""
    return urlencode(parameters, quote_via=quote, safe=",:") if parameters else ""


def in_format(path: str, format_: str, *queries: str) -> str:
    """The address of a resource in a format, with other parameters that are written out: once for all formats."""
    return "&".join(filter(None, (f"{path}?f={format_}", *queries)))


def header(links: Iterable[Mapping[str, Any]]) -> str:
    """The value of a `Link` header; titles are left to the document, header text is ASCII.

    Where it would be too long for a proxy it is without the links to other formats.
    """
    written = [(each["rel"], f'<{each["href"]}>; rel="{each["rel"]}"; type="{each["type"]}"') for each in links]
    if sum(len(text) + 2 for _, text in written) > LONGEST:
        written = [(rel, text) for rel, text in written if rel != "alternate"]
    return ", ".join(text for _, text in written)
