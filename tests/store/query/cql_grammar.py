"""A grammar of filters over values, each with what it means: CQL2 text, the same in CQL2 JSON, and a function of a row.

The functions share nothing with the compiler: Python's Fraction for numbers, datetime for times, None for unknown.
Texts are written with no more parentheses than the grammar's precedence needs, so the parser is held to it as well.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

from hypothesis import strategies as st

Row = dict[str, Any]

NAMES = ["", "a", "A", "á", "Đ", "đa", "Ỷ", "a%", "a_b", "a\\", "O'DT", "Nguyễn", "NGUYEN", "nguyên", "50% b", None]
INTEGERS = [None, -7, -2, -1, 0, 1, 2, 3, 7, 100, 2**53 + 1, -(2**62)]
DECIMALS = [None, *map(Decimal, ("-2.50", "-1", "0", "0.01", "0.10", "1", "2.5", "3.33", "12345678901234567.89"))]
FLOATS = [None, -2.5, -1.0, 0.0, 0.1, 0.5, 1.0, 3.0, 1e10]
DATES = [None, *(date(2020, 1, 1) + timedelta(days) for days in (-1, 0, 1, 30, 366))]
TIMES = [None, *(datetime(2020, 1, 1, tzinfo=UTC) + timedelta(hours=hours) for hours in (-1, 0, 7, 23, 24, 9000))]
TYPES: dict[str, list[Any]] = {
    "name": NAMES,
    "floors": INTEGERS,
    "area": DECIMALS,
    "height": FLOATS,
    "lived_in": [None, True, False],
    "built": DATES,
    "ended": DATES,
    "seen": TIMES,
}


Meaning = Callable[[Row], Any]


class Filter(NamedTuple):
    text: str
    precedence: int
    """Higher binds tighter."""
    meaning: Meaning
    tree: Any
    """The same in CQL2 JSON."""


def call(op: str, *args: Any) -> dict[str, Any]:
    return {"op": op, "args": list(args)}


def denied_tree(tree: Any, negated: bool) -> Any:
    return call("not", tree) if negated else tree


OR, AND, NOT, PREDICATE, SUM, PRODUCT, POWER, ATOM = range(8)


def within(part: Filter, precedence: int) -> str:
    return part.text if part.precedence >= precedence else f"({part.text})"


def strictly(function: Callable[..., Any]) -> Callable[..., Any]:
    """Unknown as soon as an operand is."""

    def total(*operands: Any) -> Any:
        return None if any(operand is None for operand in operands) else function(*operands)

    return total


def binary(sign: str, precedence: int, function: Callable[..., Any]) -> Callable[[Filter, Filter], Filter]:
    """A left-associative operator, or a comparison, both of whose sides bind tighter."""

    def make(left: Filter, right: Filter) -> Filter:
        text = f"{within(left, precedence + (precedence == PREDICATE))} {sign} {within(right, precedence + 1)}"
        apply = strictly(function)
        tree = call(sign, left.tree, right.tree)
        return Filter(text, precedence, lambda row: apply(left.meaning(row), right.meaning(row)), tree)

    return make


def remainder(a: Fraction, b: Fraction) -> Fraction | None:
    return a - b * int(a / b) if b else None


def whole(a: Fraction, b: Fraction) -> Fraction | None:
    return Fraction(int(a / b)) if b else None


SUMS = [binary("+", SUM, lambda a, b: a + b), binary("-", SUM, lambda a, b: a - b)]
PRODUCTS = [
    binary("*", PRODUCT, lambda a, b: a * b),
    binary("%", PRODUCT, remainder),
    binary("div", PRODUCT, whole),
]
COMPARISONS = [
    binary("=", PREDICATE, lambda a, b: a == b),
    binary("<>", PREDICATE, lambda a, b: a != b),
    binary("<", PREDICATE, lambda a, b: a < b),
    binary(">", PREDICATE, lambda a, b: a > b),
    binary("<=", PREDICATE, lambda a, b: a <= b),
    binary(">=", PREDICATE, lambda a, b: a >= b),
]


def exact(value: Any) -> Fraction | None:
    return None if value is None else Fraction(str(value)) if isinstance(value, float) else Fraction(value)


def numeral(value: Any) -> Filter:
    text = format(Decimal(str(value)), "f")
    return Filter(text, ATOM if value >= 0 else POWER, lambda row: exact(value), Decimal(text))


def column(name: str, read: Callable[[Any], Any] = lambda value: value) -> Filter:
    return Filter(name, ATOM, lambda row: read(row[name]), {"property": name})


# A double column is only compared with literals and itself: beside a decimal PostgreSQL rounds, and so may we.
numbers = st.sampled_from(["floors", "area"]).map(lambda name: column(name, exact)) | st.sampled_from(
    [value for value in (*INTEGERS, *DECIMALS) if value is not None]
).map(numeral)
doubles = st.just(column("height", exact)) | st.sampled_from([*(v for v in FLOATS if v is not None), 0.3]).map(numeral)


def opposite(part: Filter) -> Filter:
    minus = strictly(lambda value: -value)
    return Filter(f"-{within(part, ATOM)}", POWER, lambda row: minus(part.meaning(row)), call("*", -1, part.tree))


def calculated(inner: st.SearchStrategy[Filter]) -> st.SearchStrategy[Filter]:
    return st.one_of(
        st.builds(lambda make, a, b: make(a, b), st.sampled_from(SUMS), inner, inner),
        st.builds(lambda make, a, b: make(a, b), st.sampled_from(PRODUCTS), inner, inner),
        inner.map(opposite),
    )


calculations = st.recursive(numbers, calculated, max_leaves=4)


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def unmarked(text: str) -> str:
    bare = "".join(letter for letter in unicodedata.normalize("NFD", text) if not unicodedata.combining(letter))
    return bare.replace("đ", "d").replace("Đ", "D")


def called(name: str, function: Callable[[str], str]) -> Callable[[Filter], Filter]:
    total = strictly(function)
    return lambda part: Filter(
        f"{name}({part.text})", ATOM, lambda row: total(part.meaning(row)), call(name.lower(), part.tree)
    )


FOLDS = [called("CASEI", str.lower), called("accenti", unmarked)]
texts = st.recursive(
    st.sampled_from(["name", "name", "id"]).map(column) | st.sampled_from([*filter(None, NAMES), "", "r07"]).map(
        lambda name: Filter(quoted(name), ATOM, lambda row: name, name)
    ),
    lambda inner: st.builds(lambda fold, part: fold(part), st.sampled_from(FOLDS), inner),
    max_leaves=2,
)  # fmt: skip


def matches(pattern: str, text: str) -> bool:
    """LIKE by trying every way."""
    if not pattern:
        return not text
    if pattern[0] == "%":
        return any(matches(pattern[1:], text[cut:]) for cut in range(len(text) + 1))
    if pattern[0] == "\\":
        return text[:1] == pattern[1] and matches(pattern[2:], text[1:])
    return bool(text) and pattern[0] in ("_", text[0]) and matches(pattern[1:], text[1:])


def like(part: Filter, pattern: str, negated: bool) -> Filter:
    def meaning(row: Row) -> Any:
        value = part.meaning(row)
        return None if value is None else matches(pattern, value) != negated

    tree = denied_tree(call("like", part.tree, pattern), negated)
    return Filter(f"{part.text} {'NOT ' * negated}LIKE {quoted(pattern)}", PREDICATE, meaning, tree)


PATTERNS = ["", "%", "_", "a%", "%a%", "_\\_%", "a\\%", "50\\% _", "%\\\\", "Ngu%", "%'%", "__%_"]


def instant_text(value: Any) -> Filter:
    if isinstance(value, datetime):
        written = value.isoformat().replace("+00:00", "Z")
        return Filter(f"TIMESTAMP('{written}')", ATOM, lambda row: value, {"timestamp": written})
    return Filter(f"DATE('{value.isoformat()}')", ATOM, lambda row: value, {"date": value.isoformat()})


instants = st.sampled_from(["built", "ended", "seen"]).map(column) | st.sampled_from(
    [value for value in (*DATES, *TIMES) if value is not None]
).map(instant_text)


def day(value: Any) -> Any:
    return value.date() if isinstance(value, datetime) else value


def is_date(part: Filter) -> bool:
    return part.text in ("built", "ended") or part.text.startswith("DATE")


def alike(parts: list[Filter]) -> list[Filter]:
    """By the day as soon as a date is among them."""
    if not any(map(is_date, parts)):
        return parts
    return [part._replace(meaning=lambda row, mean=part.meaning: day(mean(row))) for part in parts]


def compared(make: Any, left: Filter, right: Filter) -> Filter:
    left, right = alike([left, right])
    return make(left, right)  # type: ignore[no-any-return]


before = strictly(lambda a, b: a < b)
same = strictly(lambda a, b: a == b)

RELATIONS: dict[str, Callable[[Any, Any, Any, Any], Any]] = {
    "T_AFTER": lambda a, b, c, d: before(d, a),
    "T_BEFORE": lambda a, b, c, d: before(b, c),
    "T_CONTAINS": lambda a, b, c, d: both(before(a, c), before(d, b)),
    "T_DISJOINT": lambda a, b, c, d: negate(both(negate(before(d, a)), negate(before(b, c)))),
    "T_DURING": lambda a, b, c, d: both(before(c, a), before(b, d)),
    "T_EQUALS": lambda a, b, c, d: both(same(a, c), same(b, d)),
    "T_FINISHEDBY": lambda a, b, c, d: both(before(a, c), same(b, d)),
    "T_FINISHES": lambda a, b, c, d: both(before(c, a), same(b, d)),
    "T_INTERSECTS": lambda a, b, c, d: both(negate(before(d, a)), negate(before(b, c))),
    "T_MEETS": lambda a, b, c, d: same(b, c),
    "T_METBY": lambda a, b, c, d: same(a, d),
    "T_OVERLAPPEDBY": lambda a, b, c, d: both(both(before(c, a), before(a, d)), before(d, b)),
    "T_OVERLAPS": lambda a, b, c, d: both(both(before(a, c), before(c, b)), before(b, d)),
    "T_STARTEDBY": lambda a, b, c, d: both(same(a, c), before(d, b)),
    "T_STARTS": lambda a, b, c, d: both(same(a, c), before(b, d)),
}
CAMEL = {
    "T_FINISHEDBY": "t_finishedBy", "T_METBY": "t_metBy", "T_OVERLAPPEDBY": "t_overlappedBy",
    "T_STARTEDBY": "t_startedBy",
}  # fmt: skip
NEVER, EVER = (0, 0, 0), (9999, 0, 0)


class Span(NamedTuple):
    text: str
    ends: list[Filter | None]
    tree: Any


def key(value: Any) -> tuple[int, ...]:
    return tuple(value.timetuple()[:6])


def span_of(ends: tuple[Filter | None, Filter | None]) -> Span:
    texts = [part.text.replace("DATE(", "").replace("TIMESTAMP(", "").rstrip(")") if part else "'..'" for part in ends]
    trees = [end_tree(part.tree) if part else ".." for part in ends]
    return Span(f"INTERVAL({', '.join(texts)})", list(ends), {"interval": trees})


def end_tree(tree: Any) -> Any:
    """An interval's end: a text where it is written out."""
    return tree.get("date") or tree.get("timestamp") or tree


def in_order(ends: tuple[Filter | None, Filter | None]) -> bool:
    written = [part.meaning({}) for part in ends if part is not None and part.text not in TYPES]
    return len(written) < 2 or key(written[0])[:3] <= key(written[1])[:3]


spans = st.one_of(
    instants.map(lambda part: Span(part.text, [part], part.tree)),
    st.tuples(st.none() | instants, st.none() | instants).filter(in_order).map(span_of),
)


def related(name: str, left: Span, right: Span) -> Filter:
    by_day = any(is_date(part) for span in (left, right) for part in span.ends if part is not None)

    def bounds(span: Span, row: Row) -> tuple[Any, Any]:
        values = [part.meaning(row) if part else None for part in span.ends]
        keys = [None if value is None else key(day(value) if by_day else value) for value in values]
        if len(keys) == 1:
            return keys[0], keys[0]
        return keys[0] or NEVER, keys[1] or EVER

    return Filter(
        f"{name}({left.text}, {right.text})",
        ATOM,
        lambda row: RELATIONS[name](*bounds(left, row), *bounds(right, row)),
        call(CAMEL.get(name, name.lower()), left.tree, right.tree),
    )


def is_null(part: Filter, negated: bool) -> Filter:
    text = f"{within(part, PREDICATE + 1)} IS {'NOT ' * negated}NULL"
    tree = denied_tree(call("isNull", part.tree), negated)
    return Filter(text, PREDICATE, lambda row: (part.meaning(row) is None) != negated, tree)


def between(parts: list[Filter], negated: bool) -> Filter:
    value, low, high = alike(parts)
    text = f"{within(value, SUM)} {'NOT ' * negated}BETWEEN {within(low, SUM)} AND {within(high, SUM)}"

    def meaning(row: Row) -> Any:
        x, a, b = value.meaning(row), low.meaning(row), high.meaning(row)
        return negate(both(strictly(lambda x, a: x >= a)(x, a), strictly(lambda x, b: x <= b)(x, b)), negated)

    tree = denied_tree(call("between", value.tree, low.tree, high.tree), negated)
    return Filter(text, PREDICATE, meaning, tree)


def one_of(value: Filter, options: list[Filter], negated: bool) -> Filter:
    parts = alike([value, *options])
    text = f"{within(value, SUM)} {'NOT ' * negated}IN ({', '.join(option.text for option in options)})"

    def meaning(row: Row) -> Any:
        first, *others = (part.meaning(row) for part in parts)
        answer: Any = False
        for other in others:
            answer = negate(both(negate(answer), negate(strictly(lambda a, b: a == b)(first, other))))
        return negate(answer, negated)

    tree = denied_tree(call("in", value.tree, [option.tree for option in options]), negated)
    return Filter(text, PREDICATE, meaning, tree)


def negate(value: Any, really: bool = True) -> Any:
    return value if value is None or not really else not value


def both(a: Any, b: Any) -> Any:
    return False if a is False or b is False else None if a is None or b is None else True


def joined(word: str, precedence: int, parts: list[Filter]) -> Filter:
    def meaning(row: Row) -> Any:
        answer: Any = True
        for part in parts:
            answer = both(answer, negate(part.meaning(row), precedence == OR))
        return negate(answer, precedence == OR)

    text = f" {word} ".join(within(part, precedence + 1) for part in parts)
    return Filter(text, precedence, meaning, call(word.lower(), *(part.tree for part in parts)))


def denied(part: Filter) -> Filter:
    return Filter(f"NOT {within(part, NOT)}", NOT, lambda row: negate(part.meaning(row)), call("not", part.tree))


comparing = st.sampled_from(COMPARISONS)
flags = st.booleans()
predicates = st.one_of(
    st.builds(lambda make, a, b: make(a, b), comparing, calculations, calculations),
    st.builds(lambda make, a, b: make(a, b), comparing, doubles, doubles),
    st.builds(lambda make, a, b: make(a, b), comparing, texts, texts),
    st.builds(compared, comparing, instants, instants),
    st.builds(lambda make, truth: make(column("lived_in"), Filter(str(truth), ATOM, lambda row: truth, truth)),
              comparing, flags),
    st.builds(like, texts, st.sampled_from(PATTERNS), flags),
    st.builds(is_null, st.one_of(calculations, texts, instants, st.just(column("height"))), flags),
    st.builds(between, st.one_of(st.lists(calculations, min_size=3, max_size=3),
                                 st.lists(instants, min_size=3, max_size=3)), flags),
    st.builds(one_of, calculations, st.lists(calculations, min_size=1, max_size=3), flags),
    st.builds(one_of, texts, st.lists(texts, min_size=1, max_size=3), flags),
    st.builds(one_of, instants, st.lists(instants, min_size=1, max_size=3), flags),
    st.builds(related, st.sampled_from(sorted(RELATIONS)), spans, spans),
    st.just(column("lived_in")),
)  # fmt: skip
