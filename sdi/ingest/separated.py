"""Rows of a CSV that do not come out of it as they went in: a quotation mark that is missing or too many makes one row
of several, a line feed that is gone one row with too many fields, and GDAL says nothing of either.

A quotation that runs over several lines is honest where it ends before a separator or the end of a line (RFC 4180, 2.6
and 2.7); one that lost its end goes on to the next mark, which begins the text of another field.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

SEPARATORS = (b",", b";", b"\t", b"|")
MOST = 10_000
"""Rows that are told at most."""
LONGEST = 1 << 22
"""Bytes of a row beyond which its end is not looked for."""


@dataclass(frozen=True)
class Odd:
    """A row that is not what was meant, in which way `rule` says. `row`: of the table, from 0, None where it cannot be
    told; `first`, `last`: its lines in the file, from 1; `fields`: how many it has."""

    rule: str
    row: int | None
    first: int
    last: int
    fields: int


@dataclass(frozen=True)
class _Record:
    text: bytes
    first: int
    last: int
    sound: bool
    """Every quotation ends where a field does."""


def odd_rows(path: Path, columns: int, count: int) -> list[Odd]:
    """The rows of the CSV at `path` in which others are lost, or a part of themselves.

    columns, count: of the table as it was read. A text of other line ends or columns than are understood here has none.
    """
    separator = _separator(path)
    if separator is None:
        return []
    row, most, found = -1, 0, list[Odd]()
    for row, record in enumerate(_records(path, separator)):
        fields = record.text.count(separator) + 1
        if fields > min(columns, most):  # else it is neither too long nor the longest
            fields = _fields(record.text, separator)
        if row == 0 and fields > columns:
            return []  # the separator is another one
        most = max(most, fields) if row else 0
        rule = _fault(record, fields, columns)
        if rule is not None:
            found.append(Odd(rule, row, record.first, record.last, fields))
        if len(found) == MOST:
            return [replace(odd, row=None) for odd in found]
    head = row + 1 - count
    found = [replace(odd, row=odd.row - head if odd.row and head in (0, 1) else None) for odd in found]
    if row > 0 and head != 0 and most > 2 and columns >= 2 * most - 1:  # as many as a head and a row have together
        found.append(Odd("file.header_long", None, 1, 1, most))
    return found


def _fault(record: _Record, fields: int, columns: int) -> str | None:
    if b"\0" in record.text:
        return "file.zero_byte"
    if record.last > record.first and not record.sound:
        return "file.rows_merged"
    return "file.fields_lost" if fields > columns else None


def _separator(path: Path) -> bytes | None:
    with path.open("rb") as file:
        first = file.readline(LONGEST)
    if not first.endswith(b"\n") or b"\r" in first[:-2]:
        return None
    return max(SEPARATORS, key=first.count)


def _records(path: Path, separator: bytes) -> Iterator[_Record]:
    """The rows of the file, lines without anything left out; a row of a size that none has ends them."""
    field = rb'(?:"(?:[^"]|"")*+"|(?!")[^%s\n]*)' % re.escape(separator)
    sound = re.compile(rb"%s(?:%s%s)*" % (field, re.escape(separator), field))
    with path.open("rb") as file:
        lines = enumerate(chain([file.readline().removeprefix(b"\xef\xbb\xbf")], file), 1)
        for first, line in lines:
            text, last = line.rstrip(b"\r\n"), first
            if not text:
                continue
            if b'"' not in text or sound.fullmatch(text):
                yield _Record(text, first, last, sound=True)
                continue
            parts, size, is_open = [text], len(text), _is_open(text, separator)
            while is_open:
                last, line = next(lines, (0, b""))
                size += len(line)
                if not line or size > LONGEST:
                    return
                parts.append(line.rstrip(b"\r\n"))
                is_open = _is_open(parts[-1], separator, inside=True)
            text = b"\n".join(parts)
            yield _Record(text, first, last, sound=sound.fullmatch(text) is not None)


_TO_ITS_END = re.compile(rb'(?:[^"]|"")*+"')


def _is_open(text: bytes, separator: bytes, *, inside: bool = False) -> bool:
    """Whether a line ends in a quotation. Only what a field begins with opens one. inside: it begins in one."""
    at = 0
    while at >= 0:
        if inside or text[at : at + 1] == b'"':
            found = _TO_ITS_END.match(text, at if inside else at + 1)
            if found is None:
                return True
            at, inside = found.end(), False
        at = text.find(separator, at)
        at = at + 1 if at >= 0 else at
    return False


def _fields(text: bytes, separator: bytes) -> int:
    """How many fields a row has, empty ones at its end left out."""
    plain = re.sub(rb'(?:(?<=%s)|^)"(?:[^"]|"")*+"' % re.escape(separator), b"q", text)
    return plain.rstrip(separator + b" \t").count(separator) + 1
