"""The rules by which changes were told, kept by the name that their cursors bear.

A rule says which features and attributes are seen, and how exactly; it is kept when a cursor is given under it. Nothing
of it is ever told: it serves to find out what a copy holds.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from psycopg import sql

from sdi.contract.layer import Layer
from sdi.contract.query import FeatureQuery, Sight
from sdi.store import sight
from sdi.store.engine import Connection
from sdi.store.statement import Parameters, Statement

_PLACE = {"id", "geometry"}
"""What an expression may name besides attributes."""


def told(layer: Layer, view: FeatureQuery) -> dict[str, Any]:
    """A view of a layer as JSON: equal views are told equally."""
    names = dict.fromkeys([*view.attributes, *sorted(_named(view) - _PLACE)])
    return {
        "attributes": list(view.attributes), "types": {name: layer[name].type for name in names},
        "filters": list(view.filters), "sight": view.sight and view.sight.to_json(),
        "meant": view.meant and sorted(map(list, view.meant)),
    }  # fmt: skip


def view_of(layer: Layer, rule: dict[str, Any], readable: Collection[str]) -> FeatureQuery | None:
    """The view that `told` told; None: it cannot be asked for any more, the layer's attributes are others.

    readable: the attributes that the connection's role may read.
    """
    known = {attribute.name: attribute.type for attribute in layer.stored}
    if any(known.get(name) != type_ or name not in readable for name, type_ in rule["types"].items()):
        return None
    shown = None if rule["sight"] is None else Sight.of_json(rule["sight"])
    meant = None if rule["meant"] is None else tuple((asked, role, code) for asked, role, code in rule["meant"])
    return FeatureQuery(
        layer.id, tuple(rule["attributes"]), filters=tuple(rule["filters"]), sight=shown, meant=meant, limit=None
    )


def select_kept(layer: Layer, name: str) -> Statement:
    """One row: the rule that is kept under a name, as `told` told it; NULL: none is."""
    parameters = Parameters()
    statement = sql.SQL("SELECT sdi.kept_rule({}, {})")
    return parameters.statement(statement.format(parameters.bind(layer.id, "text"), parameters.bind(name, "text")))


def keep(connection: Connection, layer: Layer, name: str, rule: dict[str, Any]) -> None:
    """Keep a rule under a name, or say that it was used again."""
    with connection.transaction():
        connection.execute("SET TRANSACTION READ WRITE")
        connection.execute("SELECT sdi.keep_rule(%s, %s, %s)", [layer.id, name, json.dumps(rule)])


def _named(view: FeatureQuery) -> set[str]:
    """What the expressions of a view name."""
    found = sight.properties(view.filters)
    return found if view.sight is None else found | sight.properties(list(sight.expressions(view.sight)))
