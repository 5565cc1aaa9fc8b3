"""What a contract says of parents and of administrative units, held against its attributes and the other layers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from sdi.contract.layer import Attribute, Layer, Units
from sdi.errors import nearest

Place = tuple[str | int, ...]
Found = Iterator[tuple[Place, str]]


def faults(layer: Layer, layers: Mapping[str, Layer], unreadable: frozenset[str]) -> Found:
    """Every fault of the parts `genealogy`, `units` and `reform`."""
    stored = {attribute.name: attribute for attribute in layer.stored}
    for index, told in enumerate(layer.genealogy.parents if layer.genealogy else []):
        place = ("genealogy", "parents", index)
        yield from _unknown(attributes_of(told), stored, place)
        attribute = stored.get(told)
        if attribute is not None and attribute.type == "list":
            yield from _of_item(attribute, "id", place)
    if layer.genealogy is not None and layer.kind != "features":
        yield ("genealogy",), "only a layer that is delivered has a genealogy"
    if layer.units is not None:
        yield from _of_units(layer, layer.units, stored)
    if layer.reform is not None:
        yield from _of_reform(layer, layers, unreadable, stored)


def attributes_of(told: str) -> list[str]:
    """The attributes of an entry of `genealogy.parents`: a template's, or the one that it is."""
    return re.findall(r"\{(\w+)\}", told) or [told]


def _of_units(layer: Layer, units: Units, stored: Mapping[str, Attribute]) -> Found:
    if layer.frame is None or layer.temporal is None or layer.temporal.start is None or layer.temporal.end is None:
        yield ("units",), "units need 'frame', the attribute of their code, and a 'temporal' with start and end"
    yield from _unknown([units.succeeds], stored, ("units", "succeeds"))
    attribute = stored.get(units.succeeds)
    if attribute is None:
        return
    if attribute.type != "list":
        yield ("units", "succeeds"), f"'{attribute.name}' is no list"
        return
    for role, name in (("succeeds", "id"), ("code", units.code), ("share", units.share)):
        if name is not None:
            yield from _of_item(attribute, name, ("units", role))


def _of_item(attribute: Attribute, name: str, place: Place) -> Found:
    if all(item.name != name for item in attribute.items or []):
        yield place, f"the items of '{attribute.name}' have no field '{name}'"


def _of_reform(
    layer: Layer, layers: Mapping[str, Layer], unreadable: frozenset[str], stored: Mapping[str, Attribute]
) -> Found:
    reform = layer.reform
    assert reform is not None
    for role in ("attribute", "former"):
        name = getattr(reform, role)
        yield from _unknown([name], stored, ("reform", role))
        if name in stored and stored[name].type != "text":
            yield ("reform", role), f"'{name}' is of type '{stored[name].type}', not text"
    pair = [stored[name] for name in (reform.attribute, reform.former) if name in stored]
    if len({each.privacy for each in pair}) > 1:
        yield ("reform", "former"), f"who may ask for '{reform.attribute}' finds by '{reform.former}': one privacy"
    if reform.units not in layers and reform.units not in unreadable:
        yield ("reform", "units"), f"there is no layer '{reform.units}'.{nearest(reform.units, layers)}"
    elif reform.units in layers and layers[reform.units].units is None:
        yield ("reform", "units"), f"'{reform.units}' does not say which units each one succeeded ('units')"


def _unknown(names: Iterable[str], stored: Mapping[str, Attribute], place: Place) -> Found:
    for name in names:
        if name not in stored:
            yield place, f"there is no stored attribute '{name}'.{nearest(name, stored)}"
