"""What an answer was made of, told where the rows come from: whatever is answered, and however, it was read there."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from functools import lru_cache
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Any

from sdi.store.versions import BETWEEN

if TYPE_CHECKING:
    from sdi.service.audit.kept import Kept

FEW = 20
"""Ids that are found by an index; more stand in the entry as the versions of a page."""

OPENED: ContextVar[Opened | None] = ContextVar("OPENED", default=None)
"""What the request that runs has read and what is not recorded yet; None: it is not recorded."""

csv.field_size_limit(2**31 - 1)  # a boundary of 5,000 vertices is longer than what csv takes by itself
_FEATURE = b'{"type":"Feature","id":"'
quoted = encode_basestring
"""A text as JSON; `write` does it too, and everything else, and takes longer."""
write = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Read:
    """Features of one layer. Whoever asks does not wait for what the entry says of them: it is written by `text`, from
    what the answer was made of, which is let go then."""

    __slots__ = ("_about", "_of", "_text", "_write", "layer", "size")

    def __init__(
        self, layer: str, about: tuple[tuple[str, ...], int | None], of: Any, size: int, write: _Write
    ) -> None:
        """about: the attributes that were answered, and how many features. of: which, as `write` reads it."""
        self.layer, self._about, self._of, self._write = layer, about, of, write
        self.size = size
        """Bytes that it takes, about; they stay the same."""
        self._text: bytes | None = None

    @property
    def text(self) -> bytes:
        """What the entry says, JSON: the layer, the attributes that were answered, how many features (`count`), and
        which: `ids`, or `versions` (a line each: load, blank, id), where they are told. For one thread at a time."""
        if self._text is None:
            which = self._write(self._of)
            fields, count = self._about
            about = (
                _about(self.layer, fields) if count is None else b'%b,"count":%d' % (_about(self.layer, fields), count)
            )
            self._text, self._of = b"{%b,%b}" % (about, which) if which else b"{%b}" % about, None
        return self._text


_Write = Callable[[Any], bytes]


class Opened(list[Read]):
    """What a request has read and what is not recorded yet."""

    __slots__ = ("kept",)

    def __init__(self) -> None:
        self.kept: Kept | None = None
        """The answer, where it is one that is kept, in place of what it was made of."""


def told(layer: str, fields: tuple[str, ...], count: int | None = None, ids: Iterable[str] = ()) -> None:
    """Of features whose ids are known, or of which no ids are told."""
    opened = OPENED.get()
    if opened is not None:
        known = tuple(ids)
        opened.append(Read(layer, (fields, count), known, 80 * len(known), _of_ids))


def told_versions(layer: str, fields: tuple[str, ...], count: int, lines: bytes, *, plain: bool) -> None:
    """Of a page by the versions of its features (load, blank, id), joined as PostgreSQL does it. plain: JSON writes
    them as they are."""
    opened = OPENED.get()
    if opened is not None:
        write = _of_plain if plain and count > FEW else _of_versions
        opened.append(Read(layer, (fields, count), lines, len(lines), write))


def told_text(layer: str, fields: tuple[str, ...], text: bytes | memoryview, count: int) -> None:
    """Of features as they were written: GeoJSON or JSON-FG, a line each, or CSV with the id first."""
    opened = OPENED.get()
    if opened is not None:
        opened.append(Read(layer, (fields, count), bytes(text), len(text), _of_text))


def _of_ids(ids: tuple[str, ...]) -> bytes:
    if len(ids) > FEW:
        # Which load a feature is of is not known here.
        return b'"versions":' + quoted("\n".join(f"? {name}" for name in ids)).encode("utf-8", "replace")
    return f'"ids":[{",".join(map(quoted, ids))}]'.encode("utf-8", "replace") if ids else b""


def _of_plain(lines: bytes) -> bytes:
    return b'"versions":"%b"' % lines


def _of_versions(lines: bytes) -> bytes:
    versions = lines.decode().split(BETWEEN.decode()) if lines else []
    if len(versions) > FEW:
        return b'"versions":' + quoted("\n".join(versions)).encode()
    return _of_ids(tuple([version.partition(" ")[2] for version in versions]))


def _of_text(text: bytes) -> bytes:
    written = text.removeprefix(b"\x1e").startswith(_FEATURE)
    return _of_ids(tuple(_of_features(text) if written else _of_lines(text)))


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
