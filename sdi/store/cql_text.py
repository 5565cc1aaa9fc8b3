"""CQL2 text to CQL2 JSON by the cql2 package, made safe against its weaknesses.

cql2 0.6 (measured): a syntax error inside n nested parentheses costs 2^n (15 levels 0.2 s, 30 levels for ever),
number literals become floats, and WKT with an exponent is taken for a function; a few thousand signs or operators in a
row overflow its stack, which ends the process. So grouping parentheses are read from the inside out, each by a call of
its own; long numbers, boxes and geometry literals are read here; rows of operators and lists in lists have an end. What
was read already stands in the enclosing text as a quoted name that no client can write, and is put back into the tree.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

import cql2
import shapely

from sdi.errors import BadRequest

MAX_DEPTH = 40
"""Parentheses within parentheses."""
MAX_LISTS = 2
"""Lists within lists."""
MAX_ROW = 250
"""Signs and operators in a row, without AND, OR or a comma between."""
MAX_RINGS = 8
"""Parentheses within each other in a geometry."""
MAX_TEXT = 10_000
"""Characters of a filter without its geometry literals."""

_MARK = "\x02"
_TOKEN = re.compile(
    r"""(?P<text>'(?:[^']|'')*') | (?P<name>"(?:[^"]|"")*") | (?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)
      | (?P<word>[^\W\d][\w.:]*) | (?P<space>\s+) | (?P<sign>.)""",
    re.VERBOSE | re.DOTALL,
)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_OPERATORS = frozenset({"and", "or", "not", "between", "like", "div"})
"""Words before a parenthesis that groups; any other word is a function's name."""
_ROW = frozenset("+-*/%^=<>") | {"not", "div", "like", "between", "in", "is"}
_BOUND = r"\s*(?:[+-]\s*)?[\d.]+(?:[eE][+-]?\d+)?\s*"
_BOX = re.compile(rf"\({_BOUND}(?:,{_BOUND})*\)")
_SHAPES = ("point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon", "geometrycollection")
_GEOMETRIES = frozenset(shape + dimension for shape in _SHAPES for dimension in ("", "z", "m", "zm"))
_EXACT_DIGITS = 15
"""Decimal digits that survive a float."""


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str

    @property
    def word(self) -> str:
        return self.text.lower() if self.kind == "word" else ""


@dataclass
class _Reader:
    """Goes through the tokens once; `read` holds what stands for a marked name: its tree and its source text."""

    tokens: list[_Token]
    place: int = 0
    read: list[tuple[Any, str]] = field(default_factory=list)
    lists: int = 0
    """How many lists lie within each other in the parenthesis that is read."""

    def expression(self, depth: int) -> tuple[str, bool]:
        """The text up to the closing parenthesis with its groups replaced, and whether commas part it."""
        if depth > MAX_DEPTH:
            raise BadRequest(f"The filter has more than {MAX_DEPTH} parentheses within each other.")
        pieces: list[str] = []
        before, commas, row = "", False, 0
        while self.place < len(self.tokens) and self.tokens[self.place].text != ")":
            token = self.tokens[self.place]
            self.place += 1
            if token.kind == "sign" and token.text in "'\"":
                raise BadRequest(f"The filter has an opening {token.text} without its end.", hint=_HINT)
            row = _in_a_row(token, row)
            if token.word in _GEOMETRIES and self._opens():
                pieces.append(self._geometry(token.text))
            elif token.word == "bbox" and self._opens():
                pieces.append(self._box(token.text))
            elif token.text == "(":
                pieces.append(self._parenthesis(before, depth))
            elif token.kind == "number" and sum(map(str.isdigit, token.text)) > _EXACT_DIGITS:
                pieces.append(self._keep(Decimal(token.text), token.text))
            elif token.kind == "number" and token.text[0] == ".":
                pieces.append(f"0{token.text}")  # Annex B has it, cql2 not
            elif token.text == "-" and before == "not":
                pieces.append("0 + -")  # cql2 takes no sign behind NOT but a number's
            else:
                pieces.append(token.text)
            commas = commas or token.text == ","
            if token.kind != "space":
                before = token.word or f"<{token.kind}>"
        return "".join(pieces), commas

    def _parenthesis(self, before: str, depth: int) -> str:
        """A group is read now; a list and a function's arguments stay where they are."""
        start, outer = self.place, self.lists
        self.lists = 0
        inner, commas = self.expression(depth + 1)
        self._close()
        within, self.lists = self.lists, outer
        called = before == "<name>" or (before[:1] not in {"", "<"} and before not in _OPERATORS | {"in"})
        if commas or called or not inner.strip():
            self.lists = max(outer, within + (not called))
            if self.lists > MAX_LISTS:
                raise BadRequest("The filter has a list where one value is needed.")
            return f"({inner})"
        source = "".join(token.text for token in self.tokens[start : self.place - 1])
        group = self._keep(self.parse(inner), f"({source})")
        return f"({group})" if before == "in" else group

    def parse(self, text: str) -> Any:
        """One call of cql2, with what was read before put back."""
        try:
            tree = cql2.parse_text(text).to_json()
        except Exception as error:
            raise BadRequest(f"The filter cannot be read{self._near(text, str(error))}.", hint=_HINT) from None
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # the package's own crash, which is no Exception
                raise
            raise BadRequest("The filter cannot be read.", hint=_HINT) from None
        return self._restored(tree)

    def _restored(self, node: Any) -> Any:
        if isinstance(node, dict):
            name = node.get("property")
            if isinstance(name, str) and name.startswith(_MARK):
                return self.read[int(name[1:])][0]
            return {key: self._restored(value) for key, value in node.items()}
        return [self._restored(value) for value in node] if isinstance(node, list) else node

    def _near(self, text: str, message: str) -> str:
        found = re.match(r"\s*--> (\d+):(\d+)", message)
        if found is None:
            return ""
        line = text.split("\n")[int(found[1]) - 1] if int(found[1]) <= text.count("\n") + 1 else ""
        rest = line[max(int(found[2]) - 1, 0) :]
        shown = re.sub(rf'"{_MARK}(\d+)"', lambda mark: self.read[int(mark[1])][1], rest).strip()
        return f" at '{shown[:40]}'" if shown else " at its end"

    def _keep(self, tree: Any, source: str) -> str:
        self.read.append((tree, source))
        return f' "{_MARK}{len(self.read) - 1}" '

    def _opens(self) -> bool:
        """Whether a parenthesis follows, a WKT dimension between."""
        following = (token.text.lower() for token in self.tokens[self.place : self.place + 4] if token.kind != "space")
        first = next(following, "")
        return first == "(" or (first in {"z", "m", "zm"} and next(following, "") == "(")

    def _verbatim(self) -> str:
        start, open_ = self.place, 0
        while self.place < len(self.tokens):
            sign = self.tokens[self.place].text
            open_ += (sign == "(") - (sign == ")")
            self.place += 1
            if open_ > MAX_RINGS:
                raise BadRequest("A geometry of the filter is nested too deeply.")
            if sign == ")" and open_ == 0:
                return "".join(token.text for token in self.tokens[start : self.place])
        raise BadRequest("The filter has an opening parenthesis without its end.")

    def _box(self, word: str) -> str:
        bounds = self._verbatim()
        if _BOX.fullmatch(bounds) is None:
            raise BadRequest("A bbox in the filter needs four or six numbers.")
        try:
            numbers = [Decimal("".join(bound.split())) for bound in bounds[1:-1].split(",")]
        except InvalidOperation:
            raise BadRequest("A bbox in the filter needs four or six numbers.") from None
        return self._keep({"bbox": numbers}, word + bounds)

    def _geometry(self, word: str) -> str:
        wkt = word + self._verbatim()
        try:
            geometry = shapely.from_wkt(wkt)
        except shapely.errors.GEOSException:
            raise BadRequest(f"'{wkt[:60]}' is not well-formed WKT.") from None
        return self._keep(json.loads(shapely.to_geojson(geometry)), wkt)

    def _close(self) -> None:
        if self.place == len(self.tokens):
            raise BadRequest("The filter has an opening parenthesis without its end.")
        self.place += 1


_HINT = "Texts stand in 'single quotes' (doubled inside), odd names in \"double quotes\"; see OGC 21-065, Annex B."


def read_text(text: str) -> Any:
    """Read CQL2 text. Returns the tree as decoded CQL2 JSON, names and operators unchecked. Raises BadRequest."""
    if _CONTROL.search(text):
        raise BadRequest("The filter has a control character in it.")
    reader = _Reader(list(_tokens(unicodedata.normalize("NFC", text))))
    try:
        outer, _ = reader.expression(0)
        if reader.place < len(reader.tokens):
            raise BadRequest("The filter has a closing parenthesis without its beginning.")
        if len(text) - sum(len(source) for tree, source in reader.read if _is_geometry(tree)) > MAX_TEXT:
            raise BadRequest(f"The filter is longer than {MAX_TEXT:,} characters besides its geometries.")
        return reader.parse(outer)
    except RecursionError:
        raise BadRequest("The filter is nested too deeply.") from None


def _in_a_row(token: _Token, before: int) -> int:
    """How many signs and operators there are in a row with a token. Raises BadRequest."""
    if token.text == "," or token.word in ("and", "or"):
        return 0
    row = before + ((token.word or token.text) in _ROW)
    if row > MAX_ROW:
        raise BadRequest(f"The filter has more than {MAX_ROW} operators in a row.")
    return row


def _tokens(text: str) -> Iterator[_Token]:
    for found in _TOKEN.finditer(text):
        yield _Token(str(found.lastgroup), found[0])


def _is_geometry(tree: Any) -> bool:
    return isinstance(tree, dict) and "type" in tree
