"""Who asks, and what of a layer they may see: the one rule behind lists, items, counts, schemas and filters."""

from __future__ import annotations

from dataclasses import dataclass, field

from sdi.contract.layer import Layer, Privacy


@dataclass(frozen=True)
class Agency:
    """Who asks. `classes`: the privacy classes of attributes and layers that they may see."""

    id: str
    classes: frozenset[Privacy] = field(default=frozenset({"open"}))

    @property
    def public(self) -> bool:
        return self.classes == frozenset({"open"})


PUBLIC = Agency("public")
"""Everybody: open layers, open attributes, and no withheld feature (NĐ 194/2025, Luật 91/2025/QH15)."""


def sees(agency: Agency, layer: Layer) -> bool:
    """Whether the layer exists for who asks; what is the steward's alone, for an agency that showed its key."""
    if layer.sharing.level == "steward":
        return agency != PUBLIC and agency.id == layer.steward.id
    return layer.sharing.level in agency.classes


def visible(agency: Agency, layer: Layer) -> tuple[str, ...]:
    """The names of the attributes that exist for who asks, in the contract's order; personal ones exist for nobody."""
    return tuple(attribute.name for attribute in layer.stored if attribute.privacy in agency.classes)


def row_filter(agency: Agency, layer: Layer) -> str | None:
    """CQL2 text that a feature must fulfil to exist for who asks; None: every feature does.

    The contract's `withhold` names what the public does not see. Where an empty attribute leaves it open whether a
    feature is withheld, the feature is not shown.
    """
    withhold = layer.sharing.withhold
    return f"NOT ({withhold})" if withhold and agency.public else None
