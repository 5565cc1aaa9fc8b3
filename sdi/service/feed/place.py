"""`since`: where in a layer's changes to begin, as a cursor, a load's name, an instant, `now`, or not at all.

A cursor says up to which change of those that who asks could see they have replayed them, and by which rule. It is
sealed for the layer and for who asks, and nothing in it tells of changes that they did not see. Under another rule it
leads to what differs.

Loads are numbered over all layers. So that two of them do not tell how many there were between, hidden ones as well,
a load is told by a name, and its number means nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

from sdi.access import Agency, visible
from sdi.contract.layer import Layer
from sdi.contract.query import FeatureQuery, as_of
from sdi.errors import BadRequest
from sdi.service.cursors import Cursors
from sdi.service.rights import seen
from sdi.store.feed import page, rules, turning
from sdi.store.feed.page import Held, Mark, Place, Turn
from sdi.store.feed.walk import Steps

_TIME = re.compile(r"\d{4}-\d\d-\d\d.*", re.ASCII)
Beside = Sequence[tuple[str, int, str]]
AGAIN = "Begin again, without 'since'."


def view(agency: Agency, layer: Layer) -> FeatureQuery:
    """The layer's features as they exist for who asks, in CRS84."""
    shown = seen(agency, layer)
    names = visible(agency, layer)
    return FeatureQuery(layer.id, attributes=names, filters=shown.filters, sight=shown.sight, limit=None)


def rule(layer: Layer, view: FeatureQuery, cursors: Cursors, beside: Beside) -> str:
    """The name of the rule that a view shows a layer by. `beside`: of the other layers that decide which of their ids
    are told in it (`Snapshot.beside`): what changes there is another rule, for the rows of this layer do not change.
    """
    told = rules.told(layer, view)
    return cursors.named({**told, "beside": beside} if beside else told)


def begun(
    layer: Layer, view: FeatureQuery, since: str | None, under: str, cursors: Cursors, agency: Agency, mark: Mark
) -> Steps[Place | Turn]:  # fmt: skip
    """The place that `since` means. `under`: the name of the rule that holds now. mark: of the view. Raises BadRequest
    for what means none, Gone for what is gone.
    """
    if since is None:
        return Place()
    if since == "now":
        return (yield from page.newest(layer, view, mark=mark))
    if _TIME.fullmatch(since):
        return (yield from page.at_moment(layer, view, as_of(since)))
    content = cursors.opened(since, _about(layer, agency))
    if content is None and (load := cursors.opened(since, _loads_of(layer))) is not None:
        return (yield from page.at_load(layer, view, load[0]))
    if content is None:
        raise BadRequest("since: it is no cursor that was given for these changes, no load, and no time.", hint=AGAIN)
    return (yield from kept(layer, view, content, under, mark))


def kept(layer: Layer, view: FeatureQuery, content: list[Any], under: str, mark: Mark) -> Steps[Place | Turn]:
    """The place that `content` gave. `under`: the name of the rule that holds now. Raises Gone."""
    former, *told = content
    place = _turn(*told) if isinstance(told[0], list) else Place(*told)
    return place if former == under else (yield from turning.begin(layer, view, former, place, mark))


def content(under: str, place: Place | Turn) -> list[Any]:
    """A place under a rule as JSON values."""
    return [under, *astuple(place)]


def cursor(layer: Layer, content: list[Any], cursors: Cursors, agency: Agency) -> str:
    """The text of a place."""
    return cursors.sealed(content, _about(layer, agency))


def before(layer: Layer, place: Place, cursors: Cursors, agency: Agency) -> str:
    """The text of a place from which a page goes back. No rule is in it: it only says where to begin to look."""
    return cursors.sealed([place.load, place.id, place.at], [*_about(layer, agency), "before"])


def earlier(layer: Layer, text: str, cursors: Cursors, agency: Agency) -> Place:
    """The place of such a text. Raises BadRequest for what was not given for this page."""
    content = cursors.opened(text, [*_about(layer, agency), "before"])
    if content is None:
        raise BadRequest(
            "cursor: it was not given for this question.", hint="Follow the links 'next' and 'prev' of an answer."
        )
    return Place(*content)


def name_of(layer: Layer, load: int, cursors: Cursors) -> str:
    """What a load is called in a layer's changes, by everybody."""
    return cursors.sealed([load], _loads_of(layer))


def _turn(to: list[Any], id_: str, held: list[list[Any]], exact: bool) -> Turn:
    return Turn(Place(*to), id_, tuple(Held(*each) for each in held), exact)


def _about(layer: Layer, agency: Agency) -> list[Any]:
    return ["changes", agency.id, layer.id]


def _loads_of(layer: Layer) -> list[Any]:
    return ["loads", layer.id]
