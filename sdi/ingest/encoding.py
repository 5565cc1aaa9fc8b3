"""How the text of a delivery is encoded: told by its content, for what files declare is often not true."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from sdi.ingest.findings import Findings
from sdi.ingest.source import Facts, Source
from sdi.national import text

LEGACY = ("TCVN3", "VNI", "CP1258")
DOUBT = 0.5
"""Share of Vietnamese words in a legacy reading from which a western reading is no longer taken without a word."""


@dataclass(frozen=True)
class Decoded:
    table: pa.Table
    encoding: str


def text_columns(table: pa.Table) -> list[str]:
    kinds = (pa.types.is_string, pa.types.is_large_string)
    return [name for name in table.column_names if any(kind(table.schema.field(name).type) for kind in kinds)]


def by_value(column: pa.ChunkedArray | pa.Array, function: Callable[[list[str]], list[str | None]]) -> pa.Array:
    """Apply a function of texts to the different values of a text column only."""
    coded = _one(pc.dictionary_encode(column))
    made = pa.array(function(coded.dictionary.to_pylist()), pa.string())
    return made.take(coded.indices)


def _one(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def decode(source: Source, override: str | None, findings: Findings) -> Decoded:
    """Return the table with all text as Unicode, column names too, and the encoding that was found.

    `override` is what the steward says (`--encoding`). Raises UsageError for an encoding that nobody knows.
    """
    table = _as_text(source.table)
    if source.facts.latin1:
        return _decode_bytes(table, source.facts, override, findings)
    return _decode_texts(table, override, findings)


def _as_text(table: pa.Table) -> pa.Table:
    """Make what is not UTF-8 though it is called text (charset `Neutral`, CSV) one Latin-1 character a byte."""
    for index, field in enumerate(table.schema):
        if not (pa.types.is_string(field.type) or pa.types.is_large_string(field.type)):
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


def _not_ascii(column: pa.ChunkedArray) -> list[str]:
    values = pc.unique(column).drop_null()
    return list(values.filter(pc.invert(pc.string_is_ascii(values))).to_pylist())


# --- a DBF: bytes -------------------------------------------------------------------------------------------------


def _decode_bytes(table: pa.Table, facts: Facts, override: str | None, findings: Findings) -> Decoded:
    names = text_columns(table)
    values = [name for name in table.column_names if not name.isascii()]
    values += [value for name in names for value in _not_ascii(table[name])]
    if override is not None:
        encoding = text.encoding_name(override)
    else:
        encoding = _tell([value.encode("latin-1", "replace") for value in values], facts, findings)
    if not values:
        return Decoded(table, encoding)

    def read(texts: list[str]) -> list[str | None]:
        return [_read(value, encoding) for value in texts]

    for name in names:
        if foreign := _not_ascii(table[name]):
            if encoding in LEGACY:
                count = pc.sum(pc.is_in(table[name], pa.array(foreign, table[name].type))).as_py()
                findings.add("text.converted", attribute=_read(name, encoding), value=count, limit=encoding)
            table = table.set_column(table.column_names.index(name), name, by_value(table[name], read))
    return Decoded(table.rename_columns([_read(name, encoding) or name for name in table.column_names]), encoding)


def _read(value: str | None, encoding: str) -> str | None:
    if value is None or value.isascii():
        return value
    raw = value.encode("latin-1", "replace")
    # A DBF cuts a text at 254 bytes, which may fall inside a letter: that letter goes, no � is left behind.
    cut = _whole(raw) if encoding == "UTF-8" else raw
    return text.decode(cut, encoding)


def _whole(raw: bytes) -> bytes:
    for length in range(4):
        try:
            raw[: len(raw) - length].decode("utf-8")
        except UnicodeDecodeError:
            continue
        return raw[: len(raw) - length]
    return raw


def _tell(raws: list[bytes], facts: Facts, findings: Findings) -> str:
    """The encoding of a DBF by its content, and a finding when the .cpg says something else."""
    declared = facts.encoding
    if not raws:
        return declared or "UTF-8"
    encoding = _by_content(raws, facts, findings)
    if declared is not None and _codec(declared) != _codec(encoding):
        findings.add("file.encoding", value=encoding, limit=declared)
    return encoding


def _codec(name: str) -> str:
    return text.encoding_name(name)


def _by_content(raws: list[bytes], facts: Facts, findings: Findings) -> str:
    if all(_strict(_whole(raw), "UTF-8") for raw in raws):
        return "UTF-8"
    verdict = text.detect(raws)
    if verdict.sure and verdict.encoding in LEGACY:
        return verdict.encoding
    if max(verdict.scores.get(name, 0.0) for name in LEGACY) >= DOUBT:
        example = text.decode(raws[0], "CP1252")
        findings.add("text.unsure", attribute="*", value=example)
    for hint in (facts.encoding, facts.code_page):
        if hint is not None and _codec(hint) != "UTF-8" and all(_strict(raw, hint) for raw in raws):
            return hint
    return "CP1252"


def _strict(raw: bytes, encoding: str) -> bool:
    try:
        raw.decode(encoding)
    except (UnicodeDecodeError, LookupError):
        return False
    return True


# --- all other formats: texts -------------------------------------------------------------------------------------


def _decode_texts(table: pa.Table, override: str | None, findings: Findings) -> Decoded:
    """Texts are Unicode by their format; what was legacy text before it came into the format is read again."""
    foreign = {name: values for name in text_columns(table) if (values := _not_ascii(table[name]))}
    if override is not None:
        chosen = dict.fromkeys(foreign, text.encoding_name(override))
    else:
        chosen = _tell_by_column(foreign, findings)
    for name, encoding in chosen.items():
        if encoding == text.UNICODE:
            continue
        index = table.column_names.index(name)
        made = by_value(table[name], partial(_convert, encoding=encoding))
        changed = pc.sum(pc.not_equal(made, _one(table[name]).cast(pa.string()))).as_py() or 0
        if changed:
            findings.add("text.converted", attribute=name, value=changed, limit=encoding)
        table = table.set_column(index, name, made)
    used = next((encoding for encoding in chosen.values() if encoding != text.UNICODE), "UTF-8")
    if used == "UTF-8" or all(name.isascii() for name in table.column_names):
        return Decoded(table, used)
    return Decoded(table.rename_columns(text.convert(table.column_names, used)), used)


def _convert(values: list[str], encoding: str) -> list[str | None]:
    return [None if value is None else text.convert([value], encoding)[0] for value in values]


def _tell_by_column(foreign: dict[str, list[str]], findings: Findings) -> dict[str, str]:
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
            findings.add("text.unsure", attribute=name, value=foreign[name][0])
    return chosen
