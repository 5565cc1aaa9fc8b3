"""`since`: where in a layer's changes to begin, as a cursor, a load, an instant, `now`, or not at all.

A cursor says up to which change of those that who asks could see they have replayed them, and by which rule. It is
sealed for the layer and for who asks, and nothing in it tells of changes that they did not see.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import astuple
from typing import Any

from sdi.access import Agency, visible
from sdi.contract.layer import Layer
from sdi.contract.query import FeatureQuery, as_of
from sdi.errors import BadRequest, Gone
from sdi.service.cursors import Cursors
from sdi.service.rights import seen
from sdi.store.feed import page
from sdi.store.feed.page import Place, Steps

_LOAD = re.compile(r"\d{1,19}", re.ASCII)
_TIME = re.compile(r"\d{4}-\d\d-\d\d.*", re.ASCII)
AGAIN = "Begin again, without 'since'."


def view(agency: Agency, layer: Layer) -> FeatureQuery:
    """The layer's features as they exist for who asks, in CRS84."""
    shown = seen(agency, layer)
    names = visible(agency, layer)
    return FeatureQuery(layer.id, attributes=names, filters=shown.filters, sight=shown.sight, limit=None)


def rule(layer: Layer, view: FeatureQuery) -> str:
    """Tells apart what is seen of a layer, and how it is written."""
    shown = [(name, layer[name].type) for name in view.attributes]
    about = json.dumps([shown, view.filters, view.sight and view.sight.key], sort_keys=True, default=str)
    return hashlib.sha256(about.encode()).hexdigest()[:16]


def begun(layer: Layer, view: FeatureQuery, since: str | None, cursors: Cursors, agency: Agency) -> Steps[Place]:
    """The place that `since` means. Raises BadRequest for what means none, Gone for one under another rule."""
    if since is None:
        return Place()
    if since == "now":
        return (yield from page.at_load(layer, view, page.LAST))
    if _LOAD.fullmatch(since):
        return (yield from page.at_load(layer, view, int(since)))
    if _TIME.fullmatch(since):
        return (yield from page.at_moment(layer, view, as_of(since)))
    content = cursors.opened(since, _about(layer, agency))
    if content is None:
        raise BadRequest("since: it is no cursor that was given for these changes, no load, and no time.", hint=AGAIN)
    under, *told = content
    if under != rule(layer, view):
        raise Gone("What may be seen of this collection is not what it was.", hint=AGAIN)
    return Place(*told)


def cursor(layer: Layer, view: FeatureQuery, place: Place, cursors: Cursors, agency: Agency) -> str:
    """The text of a place."""
    return cursors.sealed([rule(layer, view), *astuple(place)], _about(layer, agency))


def _about(layer: Layer, agency: Agency) -> list[Any]:
    return ["changes", agency.id, layer.id]
