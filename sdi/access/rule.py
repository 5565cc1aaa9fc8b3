"""The rule: what of a layer exists for an agency, put together from the contract's sharing and the agency's grants."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import get_args

from sdi.access.agency import Agency
from sdi.access.grant import Action, Grant
from sdi.contract.layer import Layer, Privacy
from sdi.contract.query import Precision

NOTHING = "id IS NULL"
"""CQL2 text that no feature fulfils."""
CLASSES: tuple[Privacy, ...] = get_args(Privacy)
"""From what everybody sees to what nobody does."""


@dataclass(frozen=True)
class Part:
    """What one permission shows: of which features, which attributes, how exactly their place."""

    attributes: frozenset[str]
    rows: tuple[str, ...] = ()
    """CQL2 texts that a feature must fulfil, all of them; an unknown answer shows nothing."""
    areas: tuple[str, ...] = ()
    """GeoJSON geometries in CRS84 that a feature must meet, each of them."""
    precision: Precision = "exact"
    metres: float = 0.0

    @property
    def everywhere(self) -> bool:
        """Whether it shows every feature."""
        return not self.rows and not self.areas


@dataclass(frozen=True)
class Rule:
    """`parts`: a feature exists for who asks if one of them shows it. None: neither does the layer."""

    attributes: tuple[str, ...]
    """Those that some part shows, in the contract's order."""
    parts: tuple[Part, ...]
    actions: frozenset[Action]

    @property
    def whole(self) -> bool:
        """Whether every feature exists with every one of the attributes, and is where it is."""
        return any(part.everywhere and part.precision == "exact" and part.attributes >= set(self.attributes)
                   for part in self.parts)  # fmt: skip


def rule_of(agency: Agency, layer: Layer) -> Rule:
    """What of the layer exists for who asks."""
    return _rule(agency, Itself(layer))


def counted(agency: Agency, layer: Layer) -> Rule:
    """What of the layer is counted in statistics for who asks: what they see; where they see nothing of it, what the
    grants cover that let them have statistics. Never both together: who knows the ones would count the others.
    """
    return _counted(agency, Itself(layer))


def sees(agency: Agency, layer: Layer) -> bool:
    """Whether the layer exists for who asks; what is the steward's alone, for an agency that showed its key."""
    if layer.sharing.level == "steward":
        return not agency.public and agency.id == layer.steward.id
    return bool(rule_of(agency, layer).parts)


def visible(agency: Agency, layer: Layer) -> tuple[str, ...]:
    """The names of the attributes that exist for who asks, in the contract's order; personal ones exist for nobody."""
    return rule_of(agency, layer).attributes


def row_filter(agency: Agency, layer: Layer) -> str | None:
    """CQL2 text that a feature must fulfil to exist for who has no grant for the layer; None: every feature does.

    The contract's `withhold` names what the public does not see. Where an empty attribute leaves it open whether a
    feature is withheld, the feature is not shown.
    """
    withhold = layer.sharing.withhold
    return _unless(layer) if withhold and agency.ungranted else None


def told_by(agency: Agency, layer: Layer, rule: Rule, other: Layer) -> bool:
    """Whether `withhold` of a derived layer hides from who asks whatever its rows would tell of what they may not see
    of its subject or input `other`: they see all that `other` does not withhold, and no row that `layer` withholds.

    rule: by which they see `layer`.
    """
    if other.id not in layer.sharing.withholds_with or layer.sharing.withhold is None:
        return False
    beyond = any(_unless(layer) not in part.rows for part in rule.parts)
    return not beyond and _shows_unless_withheld(rule_of(agency, other), other)


def exported(agency: Agency, layer: Layer) -> Rule:
    """What a file of the layer holds for who asks: what the contract shows them, and of what they were granted to read
    what they were also granted to export. Without parts there is none.
    """
    return _exported(agency, Itself(layer))


def may_export(agency: Agency, layer: Layer) -> bool:
    """Whether who asks may have the layer as one file; what is the steward's alone never becomes one."""
    return bool(exported(agency, layer).parts)


def approves(agency: Agency, layer: Layer) -> bool:
    """Whether who asks answers the requests for a layer: its steward does, and who was granted to approve."""
    return agency.id == layer.steward.id or any("approve" in grant.actions for grant in _of(agency, layer))


def may_give(agency: Agency, layer: Layer, grant: Grant) -> bool:
    """Whether who asks may give this grant of a layer to another agency: its steward anything, who was granted to
    approve no class and no action that they were not granted there themselves, and nobody the approving."""
    if agency.id == layer.steward.id:
        return True
    own = [each for each in _of(agency, layer) if "approve" in each.actions]
    classes = frozenset[Privacy]().union(*(each.classes for each in own))
    actions = frozenset[Action]().union(*(each.actions for each in own)) - {"approve"}
    return grant.agency != agency.id and grant.classes <= classes and grant.actions <= actions


def _of(agency: Agency, layer: Layer) -> list[Grant]:
    return [grant for grant in agency.grants if grant.layer == layer.id]


def announced(layer: Layer) -> bool:
    """Whether the release plan names the layer to everybody: its steward wrote a planned day into the contract."""
    return layer.sharing.release is not None and layer.sharing.level != "open"


@dataclass(frozen=True, eq=False)
class Itself:
    """A layer as a key: equal to itself alone, for contracts that are read again are other ones."""

    layer: Layer

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Itself) and other.layer is self.layer

    def __hash__(self) -> int:
        return id(self.layer)


@lru_cache(maxsize=2000)
def _rule(agency: Agency, of: Itself) -> Rule:
    layer = of.layer
    if layer.id in agency.withdrawn:
        return Rule((), (), frozenset())
    parts, granted, actions = _default(agency, layer), _telling(agency, layer), set[Action]()
    if parts:
        # What is the steward's alone never becomes a file of the service.
        actions |= {"read"} if layer.sharing.level == "steward" else {"read", "export"}
    for grant in granted:
        actions |= grant.actions
        if "read" in grant.actions:
            parts.append(_granted(layer, grant))
    return _put_together(agency, layer, parts, actions)


@lru_cache(maxsize=2000)
def _exported(agency: Agency, of: Itself) -> Rule:
    rule, layer = _rule(agency, of), of.layer
    if layer.sharing.level == "steward" or "export" not in rule.actions:
        return Rule((), (), frozenset())
    granted = _telling(agency, layer)
    parts = _default(agency, layer) + [_granted(layer, each) for each in granted if each.actions >= {"read", "export"}]
    shown, taken = ([_granted(layer, each) for each in granted if each.actions & {"read", "export"} == {action}]
                    for action in ("read", "export"))  # fmt: skip
    parts += [_common(one, other) for one in shown for other in taken]
    return _put_together(agency, layer, parts, rule.actions)


def _telling(agency: Agency, layer: Layer) -> list[Grant]:
    """Less than the whole of a coverage cannot be told."""
    return [each for each in _of(agency, layer) if layer.coverage is None or not each.narrowed]


def _common(one: Part, other: Part) -> Part:
    """What both show, its place as the less exact of them tells it."""
    exact = get_args(Precision)
    _, precision, metres = max((exact.index(each.precision), each.precision, each.metres) for each in (one, other))
    rows, areas = (tuple(dict.fromkeys(each)) for each in (one.rows + other.rows, one.areas + other.areas))
    return Part(one.attributes & other.attributes, rows, areas, precision, metres)


@lru_cache(maxsize=2000)
def _counted(agency: Agency, of: Itself) -> Rule:
    rule = _rule(agency, of)
    layer = of.layer
    if rule.parts or layer.sharing.level == "steward" or layer.id in agency.withdrawn:
        return rule
    parts = [_granted(layer, grant) for grant in agency.grants
             if grant.layer == layer.id and "statistics" in grant.actions]  # fmt: skip
    return _put_together(agency, layer, parts, rule.actions)


def _put_together(agency: Agency, layer: Layer, parts: list[Part], actions: Collection[Action]) -> Rule:
    hidden = _made_from_hidden(agency, layer, parts)
    parts = [replace(part, attributes=part.attributes - hidden) for part in parts] if hidden else parts
    shown = frozenset[str]().union(*(part.attributes for part in parts))
    names = tuple(attribute.name for attribute in layer.stored if attribute.name in shown)
    return Rule(names, tuple(dict.fromkeys(parts)), frozenset(actions))


def _made_from_hidden(agency: Agency, layer: Layer, parts: Sequence[Part]) -> frozenset[str]:
    """The attributes of a derived layer in which an input tells that who asks does not see whole.

    What refers to a feature is hidden id by id, where the rows are read.
    """
    if layer.derived is None or not parts:
        return frozenset()
    beyond = any(_unless(layer) not in part.rows for part in parts)
    inputs = [layer.others[each.layer] for each in layer.derived.inputs if each.layer in layer.others]
    hidden = {
        privacy: {other.id for other in inputs if not _is_told(agency, layer, other, privacy, beyond)}
        for privacy in {attribute.privacy for attribute in layer.stored}
    }
    return frozenset(
        attribute.name for attribute in layer.stored
        if attribute.shown is None and attribute.refers_to is None
        and any(attribute.made_from is None or name in attribute.made_from for name in hidden[attribute.privacy])
    )  # fmt: skip


def told_by_id(agency: Agency, layer: Layer, rule: Rule) -> tuple[str, ...]:
    """The lists of whose items only the ids may be told: who asks does not see whole what their fields tell of, which
    is the layer that they refer to and what `made_from` names.

    rule: by which they see `layer`.
    """
    beyond = any(_unless(layer) not in part.rows for part in rule.parts)
    found = []
    for name in rule.attributes:
        of = layer[name]
        if of.type == "list" and of.refers_to is not None and of.shown is None:
            others = [layer.others[each] for each in {of.refers_to, *(of.made_from or ())} if each in layer.others]
            if not all(_is_told(agency, layer, other, of.privacy, beyond) for other in others):
                found.append(name)
    return tuple(found)


def _is_told(agency: Agency, layer: Layer, other: Layer, privacy: Privacy, beyond: bool) -> bool:
    """Whether what an attribute of `layer` of this class is made from `other` may be told: who asks sees each feature
    of it, its place and all attributes of this class and below, of which alone such an attribute may be made.

    `beyond`: some part shows rows that `layer` withholds.
    """
    rule = rule_of(agency, other)
    if other.coverage is not None:
        return bool(rule.parts)
    if _tell([part for part in rule.parts if part.everywhere], other, privacy):
        return other.derived is None or _subject_is_told(agency, other)
    unless = [part for part in rule.parts if not part.areas and part.rows in ((), (_unless(other),))]
    return other.id in layer.sharing.withholds_with and not beyond and _tell(unless, other, privacy)


def _tell(parts: Sequence[Part], layer: Layer, privacy: Privacy) -> bool:
    """Whether the parts together show the places, and the attributes of a class and below."""
    below = CLASSES[: CLASSES.index(privacy) + 1]
    shown = frozenset[str]().union(*(part.attributes for part in parts))
    told = all(attribute.name in shown for attribute in layer.stored if attribute.privacy in below)
    return told and any(part.precision == "exact" for part in parts)


def _subject_is_told(agency: Agency, layer: Layer) -> bool:
    assert layer.derived is not None
    subject = layer.others.get(layer.derived.subject)
    if subject is None or told_by(agency, layer, rule_of(agency, layer), subject):
        return True
    everywhere = any(part.everywhere for part in rule_of(agency, subject).parts)
    return everywhere and (subject.derived is None or _subject_is_told(agency, subject))


def _shows_unless_withheld(rule: Rule, layer: Layer) -> bool:
    """Whether everything that the layer does not withhold is shown where it is."""
    return any(not part.areas and part.precision == "exact" and part.rows in ((), (_unless(layer),))
               for part in rule.parts)  # fmt: skip


def _unless(layer: Layer) -> str:
    """CQL2 text: the contract does not withhold the feature."""
    return f"NOT ({layer.sharing.withhold})"


def _default(agency: Agency, layer: Layer) -> list[Part]:
    """What the contract shows to who asks, without a grant."""
    level = layer.sharing.level
    own = level == "steward" and agency.id == layer.steward.id
    if not own and level not in agency.classes:
        return []
    names = frozenset(attribute.name for attribute in layer.stored if attribute.privacy in agency.classes)
    withheld = row_filter(agency, layer)
    return [Part(names, () if withheld is None else (withheld,))]


def _granted(layer: Layer, grant: Grant) -> Part:
    named = None if grant.attributes is None else set(grant.attributes)
    names = frozenset(
        attribute.name for attribute in layer.stored
        if attribute.privacy in grant.classes and (named is None or attribute.name in named)
    )  # fmt: skip
    withhold = layer.sharing.withhold if "restricted" not in grant.classes else None
    rows, areas = covered(layer, grant)
    return Part(names, ((_unless(layer),) if withhold else ()) + rows, areas, grant.precision, grant.metres)


def covered(layer: Layer, grant: Grant) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Which features a grant is about: CQL2 texts that they fulfil, and GeoJSON geometries in CRS84 in which they lie,
    all of them; neither: every feature."""
    rows = [grant.rows] if grant.rows else []
    areas = [grant.polygon] if grant.polygon else []
    if grant.communes is not None:
        if grant.outline is not None:
            areas.append(grant.outline)
        else:
            rows.append(grant.meant if grant.meant is not None else _bearing(layer, grant.communes))
    return tuple(rows), tuple(areas)


def _bearing(layer: Layer, codes: tuple[str, ...]) -> str:
    """CQL2 text: a feature bears one of these codes as it is; one that bears none lies in no known unit."""
    if layer.reform is None or not codes:
        return NOTHING
    quoted = ", ".join("'" + code.replace("'", "''") + "'" for code in codes)
    return f"{layer.reform.attribute} IN ({quoted})"
