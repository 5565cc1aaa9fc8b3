"""The query parameters of `items`, checked strictly, as one FeatureQuery (OGC API Features Parts 1, 2 and 3)."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any, cast

from sdi.access import Agency, Itself, visible
from sdi.contract.layer import Attribute, Layer
from sdi.contract.query import Area, FeatureQuery, Interval, as_of
from sdi.errors import BadRequest, nearest
from sdi.service import crs
from sdi.service.cursors import Cursors
from sdi.service.lanes import HELD, Lane, lane_of
from sdi.service.rights import seen
from sdi.settings import Settings
from sdi.store import cql, search
from sdi.store.ledger import Publication

RESERVED = (
    "limit", "offset", "bbox", "bbox-crs", "crs", "datetime", "as-of", "properties", "sortby", "filter", "filter-lang",
    "filter-crs", "skipGeometry", "cursor", "q", "key",
)  # fmt: skip
"""Parameters of `items` besides f, lang and the queryables; `key` is read at the door."""
FILTER_LANGUAGES = ("cql2-text", "cql2-json")
REPEATED = 1000
"""Characters of a filter up to which it is kept as it was read."""
LARGEST = 2**63 - 1
MOST_KEYS = 8
"""Attributes to sort by."""


@dataclass(frozen=True)
class Question:
    """A checked request to one layer: the query, the CRS of the answer, and whether anything was filtered."""

    query: FeatureQuery
    crs: crs.Crs
    filtered: bool
    """False: numberMatched is the publication's count."""
    searched: bool
    """Features were chosen by something else than an id or a box."""
    passed: int = 0
    """How many features lie before the page, or before the place that it ends at; as far as is known."""
    few: bool = False
    """Whether it is known that no more match than a page that is held has, whatever limit is asked."""

    @property
    def lane(self) -> Lane:
        limited = replace(self.query, limit=HELD) if self.few else self.query
        return lane_of(limited, searched=self.searched)


def known(agency: Agency, layer: Layer) -> tuple[str, ...]:
    """The parameters that `items` of this layer takes, besides f and lang."""
    return _known(agency, Itself(layer))


@lru_cache(maxsize=500)
def _known(agency: Agency, of: Itself) -> tuple[str, ...]:
    layer = of.layer
    absent = {name for name, there in (("as-of", layer.sharing.level != "steward"), ("q", searched(agency, layer)))
              if not there}  # fmt: skip
    reserved = [name for name in RESERVED if name not in absent]
    return (*reserved, "id", *(a.name for a in comparable(agency, layer) if a.name not in RESERVED))


def comparable(agency: Agency, layer: Layer) -> tuple[Attribute, ...]:
    """The attributes that may be compared as `attribute=value`."""
    return _comparable(agency, Itself(layer))


def searched(agency: Agency, layer: Layer) -> tuple[str, ...]:
    """The attributes that `q` looks into; none: it is no parameter of this layer."""
    shown = visible(agency, layer)
    return tuple(name for name in layer.search if name in shown)


def question(
    layer: Layer, publication: Publication, agency: Agency, settings: Settings, parameters: Mapping[str, str],
    default_limit: int | None = None,
) -> Question:  # fmt: skip
    """What `items` is asked. Raises BadRequest naming the parameter and what would be right."""
    names = visible(agency, layer)
    answered = crs.resolve(parameters["crs"], publication.grids, "crs") if "crs" in parameters else crs.DEFAULT
    area = _place(parameters, publication)
    filters = _filter(layer, agency, publication, parameters)
    equals = _equals(layer, agency, parameters)
    # An empty one is passed over, as Records requires it of its own (/req/record-core-query-parameters/empty-value);
    # Features' draft of `q` (24-031) says nothing of it, and forms send it.
    words = search.groups(parameters["q"]) if parameters.get("q", "").strip() else ()
    ids = (parameters["id"],) if "id" in parameters else None
    interval = _interval(layer, names, parameters)
    known_at = record_time(parameters)
    shown = seen(agency, layer)
    query = FeatureQuery(
        layer=layer.id,
        attributes=_properties(parameters, names),
        ids=ids,
        area=area,
        interval=interval,
        equals=equals,
        search=words,
        searched=searched(agency, layer) if words else (),
        filters=(*shown.filters, *filters),
        as_of=known_at,
        latest=shown.latest if known_at else (),
        sight=shown.sight,
        sort=_sort(layer, agency, parameters),
        crs=answered.epsg,
        north_first=answered.north_first,
        geometry=not truth(parameters, "skipGeometry"),
        limit=limited(parameters, default_limit or settings.default_limit, settings.max_limit),
        offset=whole_number(parameters, "offset", 0, minimum=0),
    )
    looked = bool(interval or equals or words or filters or known_at)
    filtered = bool(ids or area or looked)
    return Question(query, answered, filtered=filtered, searched=looked, passed=query.offset)


def placed(asked: Question, agency: Agency, cursors: Cursors, parameters: Mapping[str, str]) -> Question:
    """The question with the place of its `cursor`. Raises BadRequest for one that was not given for it."""
    if "cursor" not in parameters:
        return asked
    if "offset" in parameters:
        raise BadRequest("cursor and offset stand together.", hint="A cursor tells the place already.")
    cursor = cursors.open(parameters["cursor"], asked.query, agency)
    return replace(asked, query=replace(asked.query, place=cursor.place), passed=cursor.passed)


def record_time(parameters: Mapping[str, str]) -> datetime | None:
    """`as-of`: the instant whose knowledge is asked for; None: now. Raises BadRequest."""
    return as_of(parameters["as-of"]) if "as-of" in parameters else None


@lru_cache(maxsize=500)
def _comparable(agency: Agency, of: Itself) -> tuple[Attribute, ...]:
    names = visible(agency, of.layer)
    return tuple(a for a in of.layer.stored if a.name in names and a.queryable and a.type != "list")


def _place(parameters: Mapping[str, str], publication: Publication) -> Area | None:
    if "bbox" not in parameters:
        if "bbox-crs" in parameters:
            raise BadRequest("bbox-crs stands without bbox.")
        return None
    uri = parameters.get("bbox-crs")
    box_crs = crs.resolve(uri, publication.grids, "bbox-crs") if uri is not None else crs.DEFAULT
    return crs.area(crs.box(parameters["bbox"], box_crs), box_crs)


def _filter(
    layer: Layer, agency: Agency, publication: Publication, parameters: Mapping[str, str]
) -> tuple[dict[str, Any], ...]:
    language = parameters.get("filter-lang", "cql2-text")
    if language not in FILTER_LANGUAGES:
        raise BadRequest(
            f"filter-lang: '{language}' is not spoken here.", hint=f"One of: {', '.join(FILTER_LANGUAGES)}"
        )
    uri = parameters.get("filter-crs")
    literals = crs.resolve(uri, publication.grids, "filter-crs") if uri is not None else crs.DEFAULT
    if "filter" not in parameters:
        return ()
    literal_crs = cql.FilterCrs(literals.epsg, literals.north_first)
    parse = _parsed if len(parameters["filter"]) <= REPEATED else _parsed.__wrapped__
    return (parse(parameters["filter"], cast("cql.Language", language), Itself(layer), agency, literal_crs),)


@lru_cache(maxsize=200)
def _parsed(
    text: str, language: cql.Language, of: Itself, agency: Agency, literal_crs: cql.FilterCrs
) -> dict[str, Any]:  # fmt: skip
    """A filter is asked with every box of a map that is moved; the same one is the same object each time."""
    names = tuple(name for name in visible(agency, of.layer) if of.layer[name].queryable)
    return cql.parse_filter(text, language, of.layer, names, literal_crs)


def _equals(layer: Layer, agency: Agency, parameters: Mapping[str, str]) -> tuple[tuple[str, Any], ...]:
    asked = [a for a in comparable(agency, layer) if a.name in parameters and a.name not in RESERVED]
    for attribute in asked:
        # The store compares 1.5 with a whole number and finds nothing; by its schema it is no value at all.
        if attribute.type == "integer" and not re.fullmatch(r"[+-]?\d{1,300}", parameters[attribute.name], re.ASCII):
            raise BadRequest(f"{attribute.name}: '{parameters[attribute.name][:40]}' is not a whole number.")
    return tuple((attribute.name, parameters[attribute.name]) for attribute in asked)


def _interval(layer: Layer, names: tuple[str, ...], parameters: Mapping[str, str]) -> Interval | None:
    if "datetime" not in parameters:
        return None
    asked = Interval.parse(parameters["datetime"])
    # /req/core/fc-time-response: a collection without time answers all its features. What is hidden is not there.
    return asked if is_dated(layer, names) else None


def is_dated(layer: Layer, names: Collection[str]) -> bool:
    """Whether the features of the layer have a time among these attributes."""
    temporal = layer.temporal
    told = () if temporal is None else (temporal.instant, temporal.start, temporal.end)
    return any(told) and all(name in names for name in told if name is not None)


def _properties(parameters: Mapping[str, str], names: tuple[str, ...]) -> tuple[str, ...]:
    if "properties" not in parameters:
        return names
    wanted = [name.strip() for name in parameters["properties"].split(",") if name.strip()]
    for name in wanted:
        if name not in names:
            raise BadRequest(f"properties: there is no attribute '{name}'.{nearest(name, names)}")
    return tuple(name for name in names if name in wanted)


def _sort(layer: Layer, agency: Agency, parameters: Mapping[str, str]) -> tuple[tuple[str, bool], ...]:
    sortable = ["id", *(attribute.name for attribute in comparable(agency, layer))]
    keys: list[tuple[str, bool]] = []
    for part in parameters.get("sortby", "").split(","):
        if not part.strip() and "sortby" not in parameters:
            continue
        # A '+' in a query string is a blank once it is decoded.
        name = part.strip().removeprefix("+").strip()
        descending = name.startswith("-")
        name = name.removeprefix("-")
        if name not in sortable:
            raise BadRequest(f"sortby: '{name}' cannot be sorted by.{nearest(name, sortable)}")
        keys.append((name, descending))
        if len(keys) > MOST_KEYS or name in (key for key, _ in keys[:-1]):
            raise BadRequest(f"sortby: at most {MOST_KEYS} attributes, each once.")
    return tuple(keys)


def limited(parameters: Mapping[str, str], default: int, maximum: int) -> int:
    """`limit`, or the default, at most the maximum. Raises BadRequest."""
    return min(whole_number(parameters, "limit", default, minimum=1), maximum)


def whole_number(parameters: Mapping[str, str], name: str, default: int, minimum: int) -> int:
    """A parameter that is a whole number. Raises BadRequest."""
    if name not in parameters:
        return min(default, LARGEST)
    text = parameters[name].strip()
    if not re.fullmatch(r"\d{1,1000}", text, re.ASCII) or int(text) < minimum:
        raise BadRequest(f"{name} must be a whole number, at least {minimum}.")
    return min(int(text), LARGEST)


def truth(parameters: Mapping[str, str], name: str) -> bool:
    """A parameter that is false unless it is said. Raises BadRequest for other words than true and false."""
    text = parameters.get(name, "false").lower()
    if text not in ("true", "false"):
        raise BadRequest(f"{name} must be true or false.")
    return text == "true"
