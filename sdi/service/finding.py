"""The form by which people find a feature on a page of them: by the words of its heading, as far as they see these."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

from sdi.access import Agency
from sdi.contract.faults import fields_of
from sdi.contract.layer import Attribute, Layer
from sdi.national.alphabet import order
from sdi.service import naming, words
from sdi.service.asked import Asked
from sdi.service.naming import Unit
from sdi.service.parameters import comparable, searched
from sdi.service.publications import Snapshot
from sdi.service.state import Service

MOST = 300
"""Administrative units of a list to choose from; where there are more, one writes, and is shown what fits."""
SHOWN = 2000
"""Units that are sent with a page, 25 kB once it is packed; where there are more, their code is asked for."""


@dataclass(frozen=True)
class Field:
    """`choices`: value -> what people choose; none: it is written."""

    attribute: Attribute
    choices: dict[str, str]

    @property
    def written(self) -> bool:
        """Whether there are too many choices to look through."""
        return not 0 < len(self.choices) <= MOST


def found_by(agency: Agency, layer: Layer) -> list[Attribute]:
    """The texts and numbers of the heading, without those that `q` looks into."""
    named = [name for part in layer.heading for name in fields_of(part.vi)]
    known = {each.name: each for each in comparable(agency, layer) if each.name not in searched(agency, layer)}
    return [known[name] for name in dict.fromkeys(named) if name in known and known[name].type in ("text", "integer")]


@dataclass(frozen=True)
class Form:
    """`words`: the attributes into which `q` looks."""

    words: tuple[str, ...]
    fields: list[Field]


async def form(service: Service, snapshot: Snapshot, layer: Layer, language: str) -> Form | None:
    """None: there is nothing that a feature is found by."""
    made = Form(tuple(searched(service.agency, layer)), await _fields(service, snapshot, layer, language))
    return made if made.words or made.fields else None


async def first(service: Service, snapshot: Snapshot, language: str) -> list[tuple[Layer, Form]]:
    """The layers that most people come for, those of which there are dossiers, each with its form."""
    subjects = {each.derived.subject for each in snapshot.layers.values() if each.dossier and each.derived}
    layers = [layer for name, layer in snapshot.layers.items() if name in subjects]
    made = [(layer, await form(service, snapshot, layer, language)) for layer in layers]
    return [(layer, each) for layer, each in made if each is not None]


async def _fields(service: Service, snapshot: Snapshot, layer: Layer, language: str) -> list[Field]:
    """What is asked for besides words."""
    coded, made = layer.coded_by_unit, []
    for attribute in found_by(service.agency, layer):
        units = snapshot.layers.get(coded.get(attribute.name, ""))
        known = {} if units is None else await naming.all_units(service, snapshot, units)
        fitting = [each for code, each in known.items() if re.fullmatch(attribute.pattern or ".*", code)]
        made.append(Field(attribute, _choices(fitting, language) if len(fitting) <= SHOWN else {}))
    return made


def _choices(units: list[Unit], language: str) -> dict[str, str]:
    """By name; those that ended come last, each with its last day."""
    today = datetime.now(UTC).date()
    ordered = sorted(units, key=lambda each: (each.ended(today), order(each.name)))
    return {each.code: f"{each.name} ({each.code}){_end(each, today, language)}" for each in ordered}


def _end(unit: Unit, today: date, language: str) -> str:
    if unit.until is None or not unit.ended(today):
        return ""
    last = words.day((unit.until - timedelta(days=1)).isoformat(), language)
    return f" – {words.translator(language)('until {day}').format(day=last)}"


def filled(asked: Asked, agency: Agency, layer: Layer) -> Asked:
    """The question without what was left empty in the form."""
    form = {"q", *(each.name for each in found_by(agency, layer))}
    return replace(
        asked, parameters={name: text for name, text in asked.parameters.items() if text or name not in form}
    )
