"""The form by which people find a feature on a page of them: by the words of its heading, as far as they see these."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from sdi.access import Agency
from sdi.contract.faults import fields_of
from sdi.contract.layer import Attribute, Layer
from sdi.service.asked import Asked
from sdi.service.parameters import comparable, searched
from sdi.service.publications import Snapshot
from sdi.service.state import Service
from sdi.service.statistics.documents import titles

MOST = 300
"""Administrative units of a list to choose from; where there are more, their code is asked for."""


@dataclass(frozen=True)
class Field:
    """`choices`: value -> what people call it; none: it is written."""

    attribute: Attribute
    choices: dict[str, str]


def found_by(agency: Agency, layer: Layer) -> list[Attribute]:
    """The texts and numbers of the heading, without those that `q` looks into."""
    named = [name for part in layer.heading for name in fields_of(part.vi)]
    known = {each.name: each for each in comparable(agency, layer) if each.name not in searched(agency, layer)}
    return [known[name] for name in dict.fromkeys(named) if name in known and known[name].type in ("text", "integer")]


async def fields(service: Service, snapshot: Snapshot, layer: Layer, language: str) -> list[Field]:
    """What the form asks for, besides words."""
    counted = layer.statistics.units if layer.statistics else {}
    made = []
    for attribute in found_by(service.agency, layer):
        names = await titles(service, snapshot, layer, attribute.name, language) if attribute.name in counted else {}
        fitting = {code: name for code, name in names.items() if code and re.fullmatch(attribute.pattern or ".*", code)}
        ordered = dict(sorted(fitting.items(), key=lambda each: each[1])) if len(fitting) <= MOST else {}
        made.append(Field(attribute, ordered))
    return made


def filled(asked: Asked, agency: Agency, layer: Layer) -> Asked:
    """The question without what was left empty in the form."""
    form = {"q", *(each.name for each in found_by(agency, layer))}
    return replace(
        asked, parameters={name: text for name, text in asked.parameters.items() if text or name not in form}
    )
