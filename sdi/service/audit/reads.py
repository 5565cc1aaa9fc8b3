"""What an answer was made of, told where the rows come from: whatever is answered, and however, it was read there."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from contextvars import ContextVar
from functools import lru_cache
from json.encoder import encode_basestring
from typing import NamedTuple

FEW = 20
"""Ids that are found by an index; more stand in the entry as the versions of a page."""

OPENED: ContextVar[list[Read] | None] = ContextVar("OPENED", default=None)
"""What the request that runs has read and what is not recorded yet; None: it is not recorded."""

_FEATURE = b'{"type":"Feature","id":"'
quoted = encode_basestring
"""A text as JSON; `write` does it too, and everything else, and takes longer."""
write = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Read(NamedTuple):
    """Features of one layer. `text`: what the entry says of them, JSON: the layer, the attributes that were answered,
    how many features (`count`), and which: `ids`, or `versions` (a line each: load, blank, id), where they are told."""

    layer: str
    text: bytes


def told(layer: str, fields: tuple[str, ...], count: int | None = None, ids: Iterable[str] = ()) -> None:
    """Of features whose ids are known, or of which no ids are told."""
    opened = OPENED.get()
    if opened is not None:
        opened.append(_of_ids(layer, fields, count, list(ids)))


def told_versions(layer: str, fields: tuple[str, ...], versions: list[bytes], text: bytes | None) -> None:
    """Of a page by the versions of its features (load, blank, id). `text`: as JSON writes them, where that is known."""
    opened = OPENED.get()
    if opened is None:
        return
    count = len(versions)
    if count <= FEW:
        ids = [version.partition(b" ")[2].decode() for version in versions]
        opened.append(_of_ids(layer, fields, count, ids))
        return
    written = quoted(b"\n".join(versions).decode()).encode() if text is None else b'"%b"' % text
    opened.append(_read(layer, fields, count, b"versions", written))


def told_text(layer: str, fields: tuple[str, ...], text: bytes, count: int) -> None:
    """Of features as they were written: GeoJSON or JSON-FG, a line each, or CSV with the id first."""
    opened = OPENED.get()
    if opened is None:
        return
    written = text.removeprefix(b"\x1e").startswith(_FEATURE)
    opened.append(_of_ids(layer, fields, count, _of_features(text) if written else _of_lines(text)))


def _of_ids(layer: str, fields: tuple[str, ...], count: int | None, ids: list[str]) -> Read:
    if not ids:
        return _read(layer, fields, count)
    if len(ids) <= FEW:
        return _read(layer, fields, count, b"ids", f"[{','.join(map(quoted, ids))}]".encode())
    # Which load a feature is of is not known here.
    return _read(layer, fields, count, b"versions", quoted("\n".join(f"? {name}" for name in ids)).encode())


def _read(layer: str, fields: tuple[str, ...], count: int | None, name: bytes = b"", which: bytes = b"") -> Read:
    about = _about(layer, fields)
    if count is not None:
        about += b',"count":%d' % count
    return Read(layer, b'{%b,"%b":%b}' % (about, name, which) if which else b"{%b}" % about)


@lru_cache(maxsize=1000)
def _about(layer: str, fields: tuple[str, ...]) -> bytes:
    return f'"layer":{write(layer)},"fields":{write(fields)}'.encode()


def _of_features(text: bytes) -> list[str]:
    """PostgreSQL writes a feature on one line: what is a line feed in a value is escaped."""
    begin, found = len(_FEATURE), []
    for line in text.split(b"\n"):
        line = line.removeprefix(b"\x1e")
        end = line.find(b'"', begin)
        name = line[begin:end]
        if not line.startswith(_FEATURE) or b"\\" in name:
            found.append(str(json.loads(line.rstrip(b","))["id"]))
        else:
            found.append(name.decode())
    return found


def _of_lines(text: bytes) -> list[str]:
    return [row[0] for row in csv.reader(io.StringIO(text.decode(), newline="")) if row]
