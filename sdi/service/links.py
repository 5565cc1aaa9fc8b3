"""Links of a document, and the same in the `Link` header (RFC 8288)."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from secrets import token_hex
from typing import Any
from urllib.parse import quote, urlencode

GEOJSON = "application/geo+json"
LONGEST = 3000
"""Bytes of a `Link` header with all links: proxies take 4 to 8 kB of headers, and a filter stands in each address."""
FRAMES = 300
"""Kinds of links that are kept written out; each has some kilobytes."""
_MARK = token_hex(8)
"""Stands where a part of an address is to be put in; no text that was written by somebody has it."""


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
    lines = _lines(links)
    if sum(len(line) + 2 for _, line in lines) > LONGEST:
        lines = [(rel, line) for rel, line in lines if rel != "alternate"]
    return ", ".join(line for _, line in lines)


def _lines(links: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    return [(each["rel"], f'<{each["href"]}>; rel="{each["rel"]}"; type="{each["type"]}"') for each in links]


@dataclass(frozen=True)
class Written:
    """Links as a document has them, a JSON array, and as the header has them."""

    document: str
    header: str


class Frames:
    """The links of answers of a kind, written out once: from one to the next only parts of their addresses differ.

    To make the links of an item and to write them takes longer than to find the item.
    """

    def __init__(self) -> None:
        self._kept: dict[Hashable, _Frame] = {}

    def filled(self, kind: Hashable, make: Callable[..., list[dict[str, Any]]], **parts: str) -> Written:
        """What `make(**parts)` gives, `header` of it too. `parts`: as they stand in a URL; where one is empty, other
        links may be made. `kind`: what else `make` follows from.
        """
        key = (kind, *[name for name, part in parts.items() if part])
        frame = self._kept.get(key)
        if frame is None:
            frame = _framed(make(**{name: f"{_MARK}{name}{_MARK}" if part else "" for name, part in parts.items()}))
            if len(self._kept) >= FRAMES:
                self._kept.clear()
            self._kept[key] = frame
        header = _put_in(frame.header, parts)
        if len(header) + 2 > LONGEST:
            header = _put_in(frame.short, parts)
        return Written(_put_in(frame.document, parts), header)


@dataclass(frozen=True)
class _Frame:
    """Texts, each cut where a part is put in: text, name of the part, text, and so on. `short`: the header without
    links to other formats."""

    document: list[str]
    header: list[str]
    short: list[str]


def _framed(answered: list[dict[str, Any]]) -> _Frame:
    lines = _lines(answered)
    document = json.dumps(answered, ensure_ascii=False, separators=(",", ":"))
    short = ", ".join(line for rel, line in lines if rel != "alternate")
    return _Frame(document.split(_MARK), ", ".join(line for _, line in lines).split(_MARK), short.split(_MARK))


def _put_in(cut: list[str], parts: Mapping[str, str]) -> str:
    whole = cut.copy()
    whole[1::2] = [parts[name] for name in whole[1::2]]
    return "".join(whole)
