"""Filters in CQL2 (OGC 21-065): text or JSON from a client to a checked expression, and that to bound SQL.

`parse_filter` is the door: whatever it lets through names only what the asker may see, compares like with like, has its
literals typed and its places in CRS84, and compiles to SQL that cannot fail. Everything else is a BadRequest.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from decimal import Decimal
from typing import Any, Literal

from sdi.contract.layer import Layer
from sdi.errors import BadRequest
from sdi.store.cql_check import Checker
from sdi.store.cql_place import FilterCrs
from sdi.store.cql_sql import compile
from sdi.store.cql_text import read_text

__all__ = ["FilterCrs", "compile", "parse_filter"]

MAX_CHARACTERS = 100_000
"""Of a whole filter, its geometry literals included."""

Language = Literal["cql2-text", "cql2-json"]


def parse_filter(
    text: str | bytes | dict[str, Any] | bool,
    lang: Language,
    layer: Layer,
    names: Collection[str],
    filter_crs: FilterCrs | None = None,
) -> dict[str, Any]:
    """Read a filter and check all of it against the layer's contract.

    text: CQL2 text, CQL2 JSON text, or a decoded CQL2 JSON object. names: the attributes that exist for the asker and
    may be asked for; `id` and the geometry (`geometry`, `geom`) always may. filter_crs: the CRS of the literals'
    coordinates (None: CRS84).

    Returns CQL2 JSON whose numbers are int or Decimal, whose instants are `{"date": …}` or `{"timestamp": …}` in UTC,
    and whose geometries are two-dimensional GeoJSON in CRS84. Raises BadRequest.
    """
    if isinstance(text, str | bytes) and len(text) > MAX_CHARACTERS:
        raise BadRequest(f"The filter is longer than {MAX_CHARACTERS:,} characters.")
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError:
            raise BadRequest("The filter is not in UTF-8.") from None
    if lang == "cql2-text":
        if not isinstance(text, str):
            raise BadRequest("A filter in cql2-text must be text.")
        tree = read_text(text)
    elif lang == "cql2-json":
        tree = _read_json(text) if isinstance(text, str) else text
    else:
        raise BadRequest(f"filter-lang '{str(lang)[:40]}' is not known.", hint="Use cql2-text or cql2-json.")
    return Checker(layer, frozenset(names), filter_crs or FilterCrs()).condition(tree)


def _read_json(text: str) -> Any:
    """Decode CQL2 JSON, every number exact.

    The cql2 package reads JSON too, but turns integers into floats, and its schema check takes a quarter of a second;
    the checker looks at every node anyway.
    """
    try:
        return json.loads(text, parse_float=Decimal, parse_constant=_refuse_constant)
    except RecursionError:
        raise BadRequest("The filter is nested too deeply.") from None
    except ValueError as error:
        where = f" at line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise BadRequest(f"The filter is not JSON{where}.", hint="For CQL2 text say filter-lang=cql2-text.") from None


def _refuse_constant(word: str) -> Any:
    raise ValueError(word)
