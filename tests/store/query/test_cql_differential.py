"""Filters made by chance: PostGIS and a small evaluator of our own must let the same features through.

The evaluator shares nothing with the compiler: Python's Fraction for numbers, datetime for times, None for unknown.
Filters are written as CQL2 text with no more parentheses than the grammar's precedence needs, so the parser is held to
it as well.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sdi.errors import BadRequest
from sdi.store import cql

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
COUNT = 97


def make_rows() -> list[Row]:
    """Rows in which the values of each attribute meet those of every other."""
    steps = dict(zip(TYPES, (1, 5, 7, 11, 13, 17, 19, 23), strict=True))
    return [
        {"id": f"r{n:02}", **{name: values[n * steps[name] % len(values)] for name, values in TYPES.items()}}
        for n in range(COUNT)
    ]


@pytest.fixture(scope="module")
def sample(make_store: Callable[..., Any], places: Any) -> Any:
    return make_store(places.layer, make_rows())


# --- filters and what they mean -----------------------------------------------------------------------------------

Meaning = Callable[[Row], Any]
Filter = tuple[str, int, Meaning]
"""Text, precedence (higher binds tighter), meaning."""

OR, AND, NOT, PREDICATE, SUM, PRODUCT, POWER, ATOM = range(8)


def within(part: Filter, precedence: int) -> str:
    return part[0] if part[1] >= precedence else f"({part[0]})"


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
        return text, precedence, lambda row: apply(left[2](row), right[2](row))

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
    return text, ATOM if value >= 0 else POWER, lambda row: exact(value)


def column(name: str, read: Callable[[Any], Any] = lambda value: value) -> Filter:
    return name, ATOM, lambda row: read(row[name])


# A double column is only compared with literals and itself: beside a decimal PostgreSQL rounds, and so may we.
numbers = st.sampled_from(["floors", "area"]).map(lambda name: column(name, exact)) | st.sampled_from(
    [value for value in (*INTEGERS, *DECIMALS) if value is not None]
).map(numeral)
doubles = st.just(column("height", exact)) | st.sampled_from([*(v for v in FLOATS if v is not None), 0.3]).map(numeral)


def opposite(part: Filter) -> Filter:
    return f"-{within(part, ATOM)}", POWER, lambda row: strictly(lambda value: -value)(part[2](row))


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
    return lambda part: (f"{name}({part[0]})", ATOM, lambda row: strictly(function)(part[2](row)))


FOLDS = [called("CASEI", str.lower), called("accenti", unmarked)]
texts = st.recursive(
    st.just(column("name")) | st.sampled_from([name for name in NAMES if name is not None]).map(
        lambda name: (quoted(name), ATOM, lambda row: name)
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
        value = part[2](row)
        return None if value is None else matches(pattern, value) != negated

    return f"{part[0]} {'NOT ' * negated}LIKE {quoted(pattern)}", PREDICATE, meaning


PATTERNS = ["", "%", "_", "a%", "%a%", "_\\_%", "a\\%", "50\\% _", "%\\\\", "Ngu%", "%'%", "__%_"]


def instant_text(value: Any) -> Filter:
    if isinstance(value, datetime):
        return f"TIMESTAMP('{value.isoformat().replace('+00:00', 'Z')}')", ATOM, lambda row: value
    return f"DATE('{value.isoformat()}')", ATOM, lambda row: value


instants = st.sampled_from(["built", "ended", "seen"]).map(column) | st.sampled_from(
    [value for value in (*DATES, *TIMES) if value is not None]
).map(instant_text)


def day(value: Any) -> Any:
    return value.date() if isinstance(value, datetime) else value


def is_date(part: Filter) -> bool:
    return part[0] in ("built", "ended") or part[0].startswith("DATE")


def alike(parts: list[Filter]) -> list[Filter]:
    """By the day as soon as a date is among them."""
    if not any(map(is_date, parts)):
        return parts
    return [(text, precedence, lambda row, mean=mean: day(mean(row))) for text, precedence, mean in parts]


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
NEVER, EVER = (0, 0, 0), (9999, 0, 0)
Span = tuple[str, list[Filter | None]]


def key(value: Any) -> tuple[int, ...]:
    return tuple(value.timetuple()[:6])


def span_of(ends: tuple[Filter | None, Filter | None]) -> Span:
    texts = [part[0].replace("DATE(", "").replace("TIMESTAMP(", "").rstrip(")") if part else "'..'" for part in ends]
    return f"INTERVAL({', '.join(texts)})", list(ends)


def in_order(ends: tuple[Filter | None, Filter | None]) -> bool:
    written = [part[2]({}) for part in ends if part is not None and part[0] not in TYPES]
    return len(written) < 2 or key(written[0])[:3] <= key(written[1])[:3]


spans = st.one_of(
    instants.map(lambda part: (part[0], [part])),
    st.tuples(st.none() | instants, st.none() | instants).filter(in_order).map(span_of),
)


def related(name: str, left: Span, right: Span) -> Filter:
    by_day = any(is_date(part) for _, ends in (left, right) for part in ends if part is not None)

    def bounds(span: Span, row: Row) -> tuple[Any, Any]:
        values = [part[2](row) if part else None for part in span[1]]
        keys = [None if value is None else key(day(value) if by_day else value) for value in values]
        if len(keys) == 1:
            return keys[0], keys[0]
        return keys[0] or NEVER, keys[1] or EVER

    return (
        f"{name}({left[0]}, {right[0]})",
        ATOM,
        lambda row: RELATIONS[name](*bounds(left, row), *bounds(right, row)),
    )


def is_null(part: Filter, negated: bool) -> Filter:
    text = f"{within(part, PREDICATE + 1)} IS {'NOT ' * negated}NULL"
    return text, PREDICATE, lambda row: (part[2](row) is None) != negated


def between(parts: list[Filter], negated: bool) -> Filter:
    value, low, high = alike(parts)
    text = f"{within(value, SUM)} {'NOT ' * negated}BETWEEN {within(low, SUM)} AND {within(high, SUM)}"

    def meaning(row: Row) -> Any:
        x, a, b = value[2](row), low[2](row), high[2](row)
        return negate(both(strictly(lambda x, a: x >= a)(x, a), strictly(lambda x, b: x <= b)(x, b)), negated)

    return text, PREDICATE, meaning


def one_of(value: Filter, options: list[Filter], negated: bool) -> Filter:
    parts = alike([value, *options])
    text = f"{within(value, SUM)} {'NOT ' * negated}IN ({', '.join(option[0] for option in options)})"

    def meaning(row: Row) -> Any:
        first, *others = (part[2](row) for part in parts)
        answer: Any = False
        for other in others:
            answer = negate(both(negate(answer), negate(strictly(lambda a, b: a == b)(first, other))))
        return negate(answer, negated)

    return text, PREDICATE, meaning


def negate(value: Any, really: bool = True) -> Any:
    return value if value is None or not really else not value


def both(a: Any, b: Any) -> Any:
    return False if a is False or b is False else None if a is None or b is None else True


def joined(word: str, precedence: int, parts: list[Filter]) -> Filter:
    def meaning(row: Row) -> Any:
        answer: Any = True
        for part in parts:
            answer = both(answer, negate(part[2](row), precedence == OR))
        return negate(answer, precedence == OR)

    return f" {word} ".join(within(part, precedence + 1) for part in parts), precedence, meaning


def denied(part: Filter) -> Filter:
    return f"NOT {within(part, NOT)}", NOT, lambda row: negate(part[2](row))


comparing = st.sampled_from(COMPARISONS)
flags = st.booleans()
predicates = st.one_of(
    st.builds(lambda make, a, b: make(a, b), comparing, calculations, calculations),
    st.builds(lambda make, a, b: make(a, b), comparing, doubles, doubles),
    st.builds(lambda make, a, b: make(a, b), comparing, texts, texts),
    st.builds(compared, comparing, instants, instants),
    st.builds(lambda make, truth: make(column("lived_in"), (str(truth), ATOM, lambda row: truth)),
              st.sampled_from(COMPARISONS[:2]), flags),
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
filters = st.recursive(
    predicates,
    lambda inner: st.one_of(
        st.builds(lambda parts: joined("AND", AND, parts), st.lists(inner, min_size=2, max_size=3)),
        st.builds(lambda parts: joined("OR", OR, parts), st.lists(inner, min_size=2, max_size=3)),
        inner.map(denied),
    ),
    max_leaves=8,
)

VOCABULARY = """
a = 1 OR floors = 2 AND NOT lived_in ( ) , ' " '' % \\ < <> <= . - + * / ^ div name area built seen LIKE IN BETWEEN IS
NULL CASEI( ACCENTI( S_INTERSECTS( geometry POINT(1 2) POLYGON(( BBOX( T_DURING( INTERVAL( DATE( '2020-01-01' '..'
TIMESTAMP( A_CONTAINS( uses 1e5 99999999999999999999 true Đ ỷ \x02 \x00
"""
WORDS = VOCABULARY.split(" ")


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(filters)
@example(joined("OR", OR, [is_null(column("name"), True), denied(column("lived_in"))]))
def test_postgis_and_an_evaluator_of_our_own_agree(sample: Any, made: Filter) -> None:
    text, _, meaning = made
    expected = [row["id"] for row in make_rows() if meaning(row) is True]
    assert sample.ids(filters=(cql.parse_filter(text, "cql2-text", sample.layer, TYPES),)) == expected, text


@settings(max_examples=1500, deadline=None)
@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(WORDS), max_size=25).map(" ".join)))
def test_no_text_does_more_than_be_refused(places: Any, text: str) -> None:
    for language in ("cql2-text", "cql2-json"):
        try:
            checked = cql.parse_filter(text, language, places.layer, TYPES)  # type: ignore[arg-type]
        except BadRequest:
            continue
        places.ids(filters=(checked,))


scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))
operations = st.sampled_from(["=", "<", "and", "not", "in", "like", "between", "isNull", "casei", "+", "^", "s_within",
                              "t_during", "a_equals", "nope"])  # fmt: skip
objects = st.recursive(
    scalars | st.sampled_from([*TYPES, "geometry"]).map(lambda name: {"property": name}),
    lambda inner: st.one_of(
        st.builds(lambda op, args: {"op": op, "args": args}, operations, st.lists(inner, max_size=3) | inner),
        st.dictionaries(st.sampled_from(["op", "property", "date", "interval", "bbox", "type", "coordinates"]), inner),
        st.lists(inner, max_size=4),
    ),
    max_leaves=12,
)


@settings(max_examples=1500, deadline=None)
@given(objects)
def test_no_object_does_more_than_be_refused(places: Any, tree: Any) -> None:
    try:
        checked = cql.parse_filter(tree, "cql2-json", places.layer, TYPES)
    except BadRequest:
        return
    places.ids(filters=(checked,))
