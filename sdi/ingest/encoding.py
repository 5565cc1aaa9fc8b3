"""How the text of a delivery is encoded: told by its content, for what files declare is often not true."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sdi.ingest import octets
from sdi.ingest.findings import Findings
from sdi.ingest.source import Facts
from sdi.national import text

LEGACY = ("TCVN3", "VNI", "CP1258")
DOUBT = 0.5
"""Share of Vietnamese words in a legacy reading from which a western reading is no longer taken without a word."""
SAMPLE = 5000
"""Different values of a column that its encoding is told from."""
_ANY = 1 << 32
"""Above every checksum."""


def is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def by_value(column: pa.ChunkedArray | pa.Array, function: Callable[[list[str]], list[str | None]]) -> pa.Array:
    """Apply a function of texts to the different values of a text column only."""
    coded = _one(pc.dictionary_encode(column))
    made = pa.array(function(coded.dictionary.to_pylist()), pa.string())
    return made.take(coded.indices)


def _one(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


@dataclass(frozen=True)
class Encodings:
    """How the text of one delivery is encoded, decided once for all of it: every part is decoded alike."""

    label: str
    """Of the delivery as a whole."""
    columns: Mapping[str, str]
    """Column as the file names it -> encoding; the others stay as they are."""
    names: Mapping[str, str]
    """Column as the file names it -> its name as Unicode."""
    latin1: bool = False
    """Text came as one character a byte (a DBF)."""

    def decode(self, table: pa.Table, findings: Findings) -> pa.Table:
        """A part with all its text as Unicode, column names too."""
        table = _as_text(table)
        for name in table.column_names:
            if name not in self.columns:
                continue
            encoding, index = self.columns[name], table.column_names.index(name)
            made, changed = (_decode_bytes if self.latin1 else _reread)(table[name], encoding)
            findings.tally("text.converted", changed, attribute=self.names[name], limit=encoding)
            table = table.set_column(index, name, made)
        return table.rename_columns([self.names[name] for name in table.column_names])


_BYTES = bytes(range(256))


class Evidence:
    """What is seen of a delivery's text, part by part, to tell its encoding from.

    Of a column with more different values than can be kept, those whose checksums are lowest: the same ones whatever
    the parts are, from all over the file. What must hold for every value is asked of every value.
    """

    def __init__(self, facts: Facts, columns: Sequence[str]) -> None:
        self.facts = facts
        self.columns = list(columns)
        self._seen: dict[str, dict[str, int]] = {}
        self._limits: dict[str, int] = {}
        self._first: dict[str, str] = {}
        hints = [hint for hint in (facts.encoding, facts.code_page) if hint is not None and _codec(hint) != "UTF-8"]
        self._possible = dict.fromkeys(["UTF-8", *hints], True)
        self._whole_letters = False

    def see(self, table: pa.Table) -> None:
        """Look at a part, its columns named as in the file."""
        table = _as_text(table)
        for name in table.column_names:
            if not is_text(table.schema.field(name).type):
                continue
            values = _not_ascii(table[name])
            if len(values):
                self._first.setdefault(name, values[0].as_py())
                self._keep(name, values)
                if self.facts.latin1:
                    self._ask(values.to_pylist())

    def _keep(self, name: str, values: pa.Array) -> None:
        """Keep the values whose checksums are low enough so far."""
        numbers = np.fromiter(map(crc32, values.cast(pa.large_binary()).to_pylist()), np.int64, len(values))
        low = np.flatnonzero(numbers <= self._limits.get(name, _ANY))
        seen = self._seen.setdefault(name, {})
        seen.update(zip(values.take(pa.array(low)).to_pylist(), numbers[low].tolist(), strict=True))
        if len(seen) > 2 * SAMPLE:
            self._seen[name] = seen = _lowest(seen)
            self._limits[name] = max(seen.values())

    def _ask(self, values: Sequence[str]) -> None:
        """Which encodings all values so far can be in: bytes of a DBF."""

        def raws() -> Iterator[bytes]:
            return (value.encode("latin-1", "replace") for value in values)

        # Old letters at the ends of all values might be cut UTF-8: only a whole letter of it shows that it is UTF-8.
        self._whole_letters = self._whole_letters or any(not _whole(raw).isascii() for raw in raws())
        lines = "\n".join(values).encode("latin-1", "replace")
        for name, possible in self._possible.items():
            self._possible[name] = possible and (
                _strict_in_lines(lines, name)
                or all(_strict(_whole(raw) if name == "UTF-8" else raw, name) for raw in raws())
            )

    def decide(self, override: str | None, findings: Findings) -> Encodings:
        """`override` is what the steward says (`--encoding`). Raises UsageError for an encoding that nobody knows."""
        foreign = {name: list(_lowest(self._seen[name])) for name in self.columns if name in self._seen}
        return self._of_bytes(foreign, override, findings) if self.facts.latin1 else self._of_texts(
            foreign, override, findings)  # fmt: skip

    # --- a DBF: bytes

    def _of_bytes(self, foreign: dict[str, list[str]], override: str | None, findings: Findings) -> Encodings:
        strange = [name for name in self.columns if not name.isascii()]
        self._ask(strange)
        raws = [value.encode("latin-1", "replace") for values in (strange, *foreign.values()) for value in values]
        encoding = text.encoding_name(override) if override is not None else self._tell(raws, findings)
        names = {name: _read(name, encoding) or name for name in self.columns}
        return Encodings(encoding, dict.fromkeys(foreign, encoding), names, latin1=True)

    def _tell(self, raws: list[bytes], findings: Findings) -> str:
        """The encoding of a DBF by its content, and a finding when the .cpg says something else."""
        declared = self.facts.encoding
        if not raws:
            return declared or "UTF-8"
        encoding = self._by_content(raws, findings)
        if declared is not None and _codec(declared) != _codec(encoding):
            findings.add("file.encoding", value=encoding, limit=declared)
        return encoding

    def _by_content(self, raws: list[bytes], findings: Findings) -> str:
        if self._possible["UTF-8"] and self._whole_letters:
            return "UTF-8"
        verdict = text.detect(raws)
        if verdict.sure and verdict.encoding in LEGACY:
            return verdict.encoding
        if max(verdict.scores.get(name, 0.0) for name in LEGACY) >= DOUBT:
            findings.add("text.unsure", attribute="*", value=text.decode(raws[0], "CP1252"))
        return next((hint for hint, holds in self._possible.items() if hint != "UTF-8" and holds), "CP1252")

    # --- all other formats: texts

    def _of_texts(self, foreign: dict[str, list[str]], override: str | None, findings: Findings) -> Encodings:
        """Texts are Unicode by their format; what was legacy text before it came into the format is read again."""
        if override is not None:
            chosen = dict.fromkeys(foreign, text.encoding_name(override))
        else:
            chosen = self._by_column(foreign, findings)
        used = next((encoding for encoding in chosen.values() if encoding != text.UNICODE), "UTF-8")
        names = text.convert(self.columns, used) if used != "UTF-8" else self.columns
        changed = {name: encoding for name, encoding in chosen.items() if encoding != text.UNICODE}
        return Encodings(used, changed, dict(zip(self.columns, names, strict=True)))

    def _by_column(self, foreign: dict[str, list[str]], findings: Findings) -> dict[str, str]:
        """Column -> encoding; a column that does not tell goes with the whole file, where that does."""
        verdicts = {name: text.detect(values) for name, values in foreign.items()}
        if all(verdict.sure and verdict.encoding == text.UNICODE for verdict in verdicts.values()):
            return {}
        whole = text.detect([value for values in foreign.values() for value in values])
        chosen: dict[str, str] = {}
        for name, verdict in verdicts.items():
            judge = verdict if verdict.sure else whole
            if judge.sure:
                chosen[name] = judge.encoding
            else:
                findings.add("text.unsure", attribute=name, value=self._first[name])
        return chosen


def _lowest(seen: dict[str, int]) -> dict[str, int]:
    """The values of the lowest checksums, in the order in which they came."""
    if len(seen) <= SAMPLE:
        return seen
    limit = sorted(seen.values())[SAMPLE - 1]
    return {value: number for value, number in seen.items() if number <= limit}


def _as_text(table: pa.Table) -> pa.Table:
    """Make what is not UTF-8 though it is called text (charset `Neutral`, CSV) one Latin-1 character a byte."""
    for index, field in enumerate(table.schema):
        if not is_text(field.type):
            continue
        column = table.column(index)
        try:
            column.validate(full=True)
        except pa.ArrowInvalid:
            raw = column.cast(pa.binary() if pa.types.is_string(field.type) else pa.large_binary()).to_pylist()
            made = pa.array([None if value is None else _loose(value) for value in raw], pa.string())
            table = table.set_column(index, field.name, made)
    return table


def _loose(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _not_ascii(column: pa.ChunkedArray) -> pa.Array:
    """The different values that are not ASCII."""
    return pc.unique(column.filter(pc.invert(pc.fill_null(pc.string_is_ascii(column), True))))


# --- values -------------------------------------------------------------------------------------------------------


def _decode_bytes(column: pa.ChunkedArray, encoding: str) -> tuple[pa.Array, int]:
    """Text of bytes, and how many values were Vietnamese of an old encoding."""
    if encoding == "UTF-8":
        return _utf8(_one(column)), 0
    foreign = pc.invert(pc.fill_null(pc.string_is_ascii(column), True))
    made = by_value(column, lambda texts: [_read(value, encoding) for value in texts])
    return made, pc.sum(foreign).as_py() or 0 if encoding in LEGACY else 0


def _utf8(column: pa.Array) -> pa.Array:
    """Text of bytes that are UTF-8: of all values at once where that says the same, which takes a fifth of the time."""

    def each(values: pa.Array) -> pa.Array:
        return by_value(values, lambda texts: [_read(value, "UTF-8") for value in texts])

    told = octets.utf8(column)
    if told is None:
        return each(column)
    made, right = told
    return made if right.all() else pc.replace_with_mask(made, pa.array(~right), each(column.filter(pa.array(~right))))


def _reread(column: pa.ChunkedArray, encoding: str) -> tuple[pa.Array, int]:
    """Text that was read as what it is not, and how many values changed."""
    made = by_value(column, partial(_convert, encoding=encoding))
    return made, pc.sum(pc.not_equal(made, _one(column).cast(pa.string()))).as_py() or 0


def _convert(values: list[str], encoding: str) -> list[str | None]:
    return [None if value is None else text.convert([value], encoding)[0] for value in values]


def _read(value: str | None, encoding: str) -> str | None:
    if value is None or value.isascii():
        return value
    raw = value.encode("latin-1", "replace")
    # A DBF cuts a text at 254 bytes, which may fall inside a letter: that letter goes, no � is left behind.
    return text.decode(_whole(raw) if encoding == "UTF-8" and not _strict(raw, encoding) else raw, encoding)


def _whole(raw: bytes) -> bytes:
    for length in range(4):
        try:
            raw[: len(raw) - length].decode("utf-8")
        except UnicodeDecodeError:
            continue
        return raw[: len(raw) - length]
    return raw


def _codec(name: str) -> str:
    return text.encoding_name(name)


def _strict_in_lines(lines: bytes, encoding: str) -> bool:
    """Whether each line surely is of an encoding in which no letter reaches over a line's end: UTF-8, or one byte a
    letter."""
    bytes_each = re.fullmatch(r"CP\d+|ISO-8859-\d+", encoding) and len(_BYTES.decode(encoding, "replace")) == 256
    return bool(encoding == "UTF-8" or bytes_each) and _strict(lines, encoding)


def _strict(raw: bytes, encoding: str) -> bool:
    try:
        raw.decode(encoding)
    except (UnicodeDecodeError, LookupError):
        return False
    return True
