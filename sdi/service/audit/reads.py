"""What an answer was made of, told where the rows come from: whatever is answered, and however, it was read there."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache

FEW = 20
"""Ids that are found by an index; more stand in the entry as the versions of a page."""

OPENED: ContextVar[list[Read] | None] = ContextVar("OPENED", default=None)
"""What the request that runs has read and what is not recorded yet; None: it is not recorded."""

_FEATURE = b'{"type":"Feature","id":"'


_ESCAPED = bytes({*range(0x20), 0x22, 0x5C} - {0x0A})
"""What JSON writes otherwise than it is, but for line feeds."""
write = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Read:
    """Features of one layer. `fields`: the attributes that were answered. `ids`, or `versions` (a line each: load,
    blank, id), where they are told."""

    layer: str
    fields: tuple[str, ...]
    count: int | None = None
    ids: tuple[str, ...] = ()
    versions: bytes = b""

    @property
    def written(self) -> str:
        """As JSON. The versions of a page are its bulk: what need not be escaped is not looked at sign by sign."""
        parts = [_about(self.layer, self.fields)]
        if self.count is not None:
            parts.append(f'"count":{self.count}')
        if self.ids:
            parts.append(f'"ids":{write(self.ids)}')
        if self.versions:
            plain = len(self.versions.translate(None, _ESCAPED)) == len(self.versions)
            lines = self.versions.decode()
            parts.append('"versions":"' + lines.replace("\n", "\\n") + '"' if plain else f'"versions":{write(lines)}')
        return f"{{{','.join(parts)}}}"


@lru_cache(maxsize=1000)
def _about(layer: str, fields: tuple[str, ...]) -> str:
    return f'"layer":{write(layer)},"fields":{write(fields)}'


def told(layer: str, fields: tuple[str, ...], count: int | None = None, ids: Iterable[str] = ()) -> None:
    """Of features whose ids are known, or of which no ids are told."""
    opened = OPENED.get()
    if opened is not None:
        opened.append(_read(layer, fields, count, list(ids)))


def told_versions(layer: str, fields: tuple[str, ...], lines: bytes | None, count: int) -> None:
    """Of a page by the versions of its features (`versions.select_versions`)."""
    opened = OPENED.get()
    if opened is None:
        return
    if count > FEW:
        opened.append(Read(layer, fields, count, versions=lines or b""))
        return
    ids = [line.partition(" ")[2] for line in lines.decode().split("\n")] if lines else []
    opened.append(Read(layer, fields, count, tuple(ids)))


def told_text(layer: str, fields: tuple[str, ...], text: bytes, count: int) -> None:
    """Of features as they were written: GeoJSON or JSON-FG, a line each, or CSV with the id first."""
    opened = OPENED.get()
    if opened is None:
        return
    if not text:
        opened.append(Read(layer, fields, count))
        return
    written = text.removeprefix(b"\x1e").startswith(_FEATURE)
    opened.append(_read(layer, fields, count, _of_features(text) if written else _of_lines(text)))


def _read(layer: str, fields: tuple[str, ...], count: int | None, ids: list[str]) -> Read:
    if len(ids) <= FEW:
        return Read(layer, fields, count, tuple(ids))
    # Which load a feature is of is not known here.
    return Read(layer, fields, count, versions="\n".join(f"? {name}" for name in ids).encode())


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
