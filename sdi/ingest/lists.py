"""List attributes: several uses of one parcel in one text, or one item a row, become a JSON list."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sdi.contract.layer import Attribute, Item
from sdi.ingest.cast import Style, cast, clean, to_text
from sdi.ingest.encoding import by_value

_PART = re.compile(r"^([^\W\d_][\w/]*?)\s*(\*)?\s*(?:[(:=]\s*([\d.,\s]+?)\s*(?:m2|m²)?\s*\)?)?$")
_REFERENCE = re.compile(r"^\{(\w+)\}$")
_ABSENT, _BETWEEN = "\x00", "\x1f"
_SEPARATOR = re.compile(r"\s*[;+|\n]\s*|,\s+(?=[^\W\d])|,(?=[^\W\d])")


def from_text(column: pa.Array, attribute: Attribute) -> pa.Array:
    """JSON of the items in a clean text column; null where there are none or they cannot be read."""
    texts = to_text(column)
    return by_value(texts, lambda values: [None if value is None else _list(value, attribute) for value in values])


def _list(value: str, attribute: Attribute) -> str | None:
    items = _from_json(value, attribute) if value.startswith("[") else None
    if items is None and attribute.parse == "coded_amounts":
        items = coded_amounts(value, attribute.items or [])
    return None if items is None else dump(items)


def dump(items: list[dict[str, Any]]) -> str:
    return json.dumps(items, ensure_ascii=False, separators=(",", ":"))


def _from_json(value: str, attribute: Attribute) -> list[dict[str, Any]] | None:
    """JSON passes when it is a list of objects with plain values; what the contract does not name is left out."""
    try:
        items = json.loads(value)
    except ValueError:
        return None
    names = [item.name for item in attribute.items or []]
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        return None
    found = [{name: item[name] for name in names if item.get(name) is not None} for item in items]
    return None if any(isinstance(value, list | dict) for item in found for value in item.values()) else found


def coded_amounts(value: str, fields: list[Item]) -> list[dict[str, Any]] | None:
    """`ONT(1782.60);CLN(2754.70)`, `ONT+CLN`, `ODT*` as items: the code goes to the first field of type code (else
    text), the amount to the first of type decimal or number, the star to the first boolean."""
    code, amount, star = (_first(fields, kinds) for kinds in (("code", "text"), ("decimal", "number"), ("boolean",)))
    if code is None:
        return None
    items = []
    for part in filter(None, _SEPARATOR.split(value.strip())):
        found = _PART.match(part)
        if found is None:
            return None
        item: dict[str, Any] = {code: found[1]}
        if found[3] and amount is not None:
            number = cast(clean(pa.array([found[3]])), "number")[0][0].as_py()
            if number is None:
                return None
            item[amount] = number
        if star is not None and found[2]:
            item[star] = True
        items.append(item)
    return items or None


def _first(fields: list[Item], kinds: tuple[str, ...]) -> str | None:
    return next((field.name for kind in kinds for field in fields if field.type == kind), None)


def from_columns(columns: dict[str, pa.Array], attribute: Attribute, styles: dict[str, Style | None]) -> pa.Array:
    """A one-item list a row from clean columns by item name; null where all are empty. `styles`: of their numbers.

    A code column that holds several codes at once is read as coded amounts, and the other columns then belong to the
    first item.
    """
    fields = {field.name: field for field in attribute.items or []}
    names = list(columns)
    typed = [cast(columns[name], fields[name].type, style=styles.get(name))[0] for name in names]
    texts = [pc.fill_null(to_text(column), _ABSENT) for column in typed]
    keys = pc.binary_join_element_wise(*texts, _BETWEEN)

    def build(rows: list[str]) -> list[str | None]:
        return [_item_list(dict(zip(names, row.split(_BETWEEN), strict=True)), attribute, fields) for row in rows]

    return by_value(keys, build)


def reference(name: str, column: pa.Array) -> pa.Array:
    """What stands in the quarantine for an item field that came in the column of attribute `name`: `{name}`, so that
    whoever corrects the attribute has corrected the list."""
    return pc.if_else(pc.is_valid(column), f"{{{name}}}", pa.scalar(None, pa.string()))


def followed(column: pa.Array, attributes: Mapping[str, pa.Array]) -> pa.Array:
    """A column of an item field with its references replaced by the attributes' own texts, as delivered."""
    texts = to_text(column)
    for text in pc.unique(texts).to_pylist():
        found = None if text is None else _REFERENCE.match(text)
        if found and found[1] in attributes:
            texts = pc.if_else(pc.fill_null(pc.equal(texts, text), False), to_text(attributes[found[1]]), texts)
    return texts


def _item_list(texts: dict[str, str], attribute: Attribute, fields: dict[str, Item]) -> str | None:
    item = {name: _typed(text, fields[name].type) for name, text in texts.items() if text != _ABSENT}
    code = _first(attribute.items or [], ("code", "text"))
    if not item:
        return None
    if attribute.parse == "coded_amounts" and code in item:
        parsed = coded_amounts(item[code], attribute.items or [])
        if parsed is not None:
            return dump([item | parsed[0], *parsed[1:]])
    return dump([item])


def _typed(text: str, kind: str) -> Any:
    if kind == "boolean":
        return text == "true"
    return int(text) if kind == "integer" else float(text) if kind in ("decimal", "number") else text


def main_code(text: str, attribute: Attribute) -> str | None:
    """The code with the largest amount in a text of coded amounts, the first where amounts are absent."""
    items = coded_amounts(text, attribute.items or [])
    code, amount = (_first(attribute.items or [], kinds) for kinds in (("code", "text"), ("decimal", "number")))
    if items is None or code is None:
        return None
    return str(max(items, key=lambda item: item.get(amount, 0.0) if amount else 0.0)[code])


def codes_in(text: str, field: str) -> list[str]:
    """The values of one field in a list attribute's JSON."""
    return [str(item[field]) for item in json.loads(text) if item.get(field) is not None]
