"""The rule of who asks as a query needs it: filters where only features are withheld, else a sight of each of them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from sdi.access import (
    NOTHING,
    PUBLIC,
    WRITING,
    Agency,
    Itself,
    Part,
    Rule,
    counted,
    exported,
    rule_of,
    told_by,
    told_by_id,
)
from sdi.contract.layer import Layer
from sdi.contract.query import Existence, FeatureQuery, Precision, Sight
from sdi.store import cql, sight

Expression = dict[str, Any]
_DIMENSIONS = {"Point": 0, "LineString": 1, "Polygon": 2}


@dataclass(frozen=True, eq=False)
class Seen:
    """What to ask with. Either there are filters, or a sight, or neither: then every feature exists, as it is."""

    filters: tuple[Expression, ...] = ()
    """CQL2-JSON: what a feature must fulfil to exist."""
    sight: Sight | None = None
    attributes: tuple[str, ...] = ()
    """Those that exist for who asks."""

    @property
    def latest(self) -> tuple[Expression, ...]:
        """What must also hold of a feature's latest state where a former one is asked for; a sight asks it itself."""
        return self.filters

    @cached_property
    def tag(self) -> str:
        """Tells apart what is seen: another set of grants may show something else of the same rows."""
        about = [self.attributes, self.filters, self.sight and self.sight.key]
        return hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()[:16]


def seen(agency: Agency, layer: Layer) -> Seen:
    """What of the layer's features exists for who asks, the same object each time."""
    return _seen(agency, Itself(layer))


def seen_in_numbers(agency: Agency, layer: Layer) -> Seen:
    """What of the layer's features is counted in statistics for who asks, the same object each time."""
    return _seen_in_numbers(agency, Itself(layer))


def seen_in_files(agency: Agency, layer: Layer) -> Seen:
    """What of the layer's features files of it hold for who asks; that of `seen` where they hold everything."""
    return _seen_in_files(agency, Itself(layer))


def told_shape(agency: Agency, layer: Layer) -> str | None:
    """The type of geometry that features have for who asks, `Unknown`: several; None: they have none."""
    return sight.shape(layer, seen(agency, layer).sight)


def dimension(agency: Agency, layer: Layer) -> int | None:
    """Of the places that are told to who asks: 0 points, 1 lines, 2 areas; None: of several, or there are none."""
    return _DIMENSIONS.get((told_shape(agency, layer) or "").removeprefix("Multi"))


def open_view(layer: Layer) -> FeatureQuery | None:
    """All that the public sees of a layer, as it is answered where nothing else is asked for. None: they see nothing of
    it, or other layers and grants decide what is told of a feature."""
    shown = seen(PUBLIC, layer)
    if shown.sight is not None or not shown.attributes or layer.coverage is not None:
        return None
    return FeatureQuery(layer=layer.id, attributes=shown.attributes, filters=shown.filters)


@lru_cache(maxsize=2000)
def _seen(agency: Agency, of: Itself) -> Seen:
    return _by(rule_of(agency, of.layer), agency, of)


@lru_cache(maxsize=2000)
def _seen_in_numbers(agency: Agency, of: Itself) -> Seen:
    return _by(counted(agency, of.layer), agency, of)


@lru_cache(maxsize=2000)
def _seen_in_files(agency: Agency, of: Itself) -> Seen:
    rule = exported(agency, of.layer)
    return _seen(agency, of) if rule == rule_of(agency, of.layer) else _by(rule, agency, of)


def _by(rule: Rule, agency: Agency, of: Itself) -> Seen:
    layer = of.layer
    if not rule.parts:
        return Seen(filters=(_condition(NOTHING, of),))
    references, subject = _references(agency, layer, rule), _subject(agency, layer, rule)
    bare = told_by_id(agency, layer, rule)
    alone = not references and subject is None and not bare
    if rule.whole and alone:
        return Seen(attributes=rule.attributes)
    granted = any(grant.layer == layer.id and not grant.actions <= WRITING for grant in agency.grants)
    if not granted and alone:
        # The contract alone: what it withholds is told by a filter, in which a code means what it means that day.
        return Seen(tuple(_condition(text, of) for text in rule.parts[0].rows), attributes=rule.attributes)
    conditions = [(part, _part(part, of)) for part in rule.parts]
    rows = _either([where for _, where in conditions])
    masks = tuple(
        (name, where) for name in rule.attributes
        if (where := _either([where for part, where in conditions if name in part.attributes])) is not None
        and (rows is None or where != rows)
    )  # fmt: skip
    sight = Sight(rule.attributes, rows, masks, _places(conditions), references, subject, bare)
    return Seen(sight=sight, attributes=rule.attributes)


def _references(agency: Agency, layer: Layer, rule: Rule) -> tuple[tuple[str, Existence], ...]:
    """The attributes in which not every id may be told; none for who sees all that the layer refers to."""
    found = []
    for name in rule.attributes:
        other = layer.others.get(layer[name].refers_to or "")
        if other is None or layer[name].shown is not None or told_by(agency, layer, rule, other):
            continue
        existence = _existence(agency, other)
        if existence is not None:
            found.append((name, existence))
    return tuple(found)


def _subject(agency: Agency, layer: Layer, rule: Rule) -> Existence | None:
    subject = layer.others.get(layer.derived.subject) if layer.derived is not None else None
    return None if subject is None or told_by(agency, layer, rule, subject) else _existence(agency, subject)


def _existence(agency: Agency, layer: Layer) -> Existence | None:
    """Which features of a layer exist for who asks; None: every one does."""
    of, rule = Itself(layer), rule_of(agency, layer)
    if not rule.parts:
        return layer.id, _condition(NOTHING, of), None
    rows, subject = _either([_part(part, of) for part in rule.parts]), _subject(agency, layer, rule)
    return None if rows is None and subject is None else (layer.id, rows, subject)


def _places(
    conditions: list[tuple[Part, Expression | None]],
) -> tuple[tuple[Expression | None, Precision, float], ...]:
    """The most exact first; nothing where every place is told exactly."""
    order: dict[Precision, int] = {"exact": 0, "generalised": 1, "centroid": 2, "none": 3}
    ways: list[tuple[Expression | None, Precision, float]] = []
    for precision, metres in sorted({(part.precision, part.metres) for part, _ in conditions},
                                    key=lambda told: (order[told[0]], told[1])):  # fmt: skip
        where = _either([where for part, where in conditions if (part.precision, part.metres) == (precision, metres)])
        ways.append((where, precision, metres))
        if where is None:
            break
    if ways[0][0] is None and ways[0][1] == "exact":
        return ()
    last = ways[-1]
    # Whatever exists fulfils one of them: the last need not be asked.
    ways[-1] = (None, last[1], last[2])
    return () if len(ways) == 1 and ways[0][1] == "exact" else tuple(ways)


def _part(part: Part, of: Itself) -> Expression | None:
    """What a feature must fulfil for the part to show it; None: nothing."""
    expressions = [_condition(text, of) for text in part.rows]
    expressions += [{"op": "s_intersects", "args": [{"property": "geometry"}, json.loads(area)]} for area in part.areas]
    if not expressions:
        return None
    return expressions[0] if len(expressions) == 1 else {"op": "and", "args": expressions}


def _either(conditions: list[Expression | None]) -> Expression | None:
    """One of them holds; None: one asks for nothing. Of no conditions at all: never."""
    asked = [where for where in conditions if where is not None]
    if len(asked) < len(conditions):
        return None
    if not asked:
        return {"op": "isNull", "args": [{"property": "id"}]}
    different = [where for number, where in enumerate(asked) if where not in asked[:number]]
    return different[0] if len(different) == 1 else {"op": "or", "args": different}


@lru_cache(maxsize=2000)
def _condition(text: str, of: Itself) -> Expression:
    """A rule is read once, not with every request: that takes half a millisecond."""
    names = tuple(attribute.name for attribute in of.layer.stored)
    return cql.parse_filter(text, "cql2-text", of.layer, names)
