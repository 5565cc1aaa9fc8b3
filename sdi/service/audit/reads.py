"""What an answer was made of, told where the rows come from: whatever is answered, and however, it was read there."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

FEW = 100
"""Ids that are found by an index; more stand in the entry as the versions of a page."""

OPENED: ContextVar[list[Read] | None] = ContextVar("OPENED", default=None)
"""What the request that runs has read and what is not recorded yet; None: it is not recorded."""

_FEATURE = b'{"type":"Feature","id":"'


@dataclass(frozen=True, slots=True)
class Read:
    """Features of one layer. `fields`: the attributes that were answered. `ids`, or `versions` (a line each: load,
    blank, id), where they are told."""

    layer: str
    fields: tuple[str, ...]
    count: int | None = None
    ids: tuple[str, ...] = ()
    versions: str = ""

    def to_json(self) -> dict[str, Any]:
        told: dict[str, Any] = {"layer": self.layer, "fields": self.fields}
        if self.count is not None:
            told["count"] = self.count
        if self.ids:
            told["ids"] = self.ids
        if self.versions:
            told["versions"] = self.versions
        return told


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
        opened.append(Read(layer, fields, count, versions=(lines or b"").decode()))
        return
    ids = [line.partition(b" ")[2].decode() for line in lines.split(b"\n")] if lines else []
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
    return Read(layer, fields, count, versions="\n".join(f"? {name}" for name in ids))


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
