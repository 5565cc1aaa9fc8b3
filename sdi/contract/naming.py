"""What a reader knows a contract's identifiers by: their titles, and the columns of the file that was handed in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from sdi.contract.layer import Layer

_IDENTIFIER = re.compile(r"\b(?:([a-z][a-z0-9_]*)\.)?([a-z][a-z0-9_]*)\b")
_LONGEST = 40
"""Characters of a column's name: a CSV's may be a sentence."""


@dataclass(frozen=True)
class Naming:
    """Names for one delivery. `columns`: attribute -> the file's column that it was read from, where there is one."""

    layer: Layer
    columns: Mapping[str, str] = field(default_factory=dict)
    _told: dict[tuple[str, str], str] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Once told, for there may be millions of findings."""

    def attributes(self, text: str, language: str) -> str:
        """A text in which attributes stand by their identifiers, `layer.attribute` those of another layer, with their
        titles instead."""
        key = text, language
        if key not in self._told:
            self._told[key] = _IDENTIFIER.sub(lambda found: self._attribute(found[1], found[2], language), text)
        return self._told[key]

    def of_layer(self, identifier: str, language: str) -> str:
        """The title of a layer."""
        others = self.layer.others
        return others[identifier].title.in_language(language) if identifier in others else identifier

    def _attribute(self, owner: str | None, name: str, language: str) -> str:
        if owner is not None:
            known = owner in self.layer.others and name in self.layer.others[owner].by_name
            title = self.layer.others[owner][name].title.in_language(language) if known else name
            return f"{self.of_layer(owner, language)}: {title}" if known else f"{owner}.{name}"
        if name not in self.layer.by_name:
            return name
        title, column = self.layer[name].title.in_language(language), self.columns.get(name)
        if column is None or column.casefold() == title.casefold():
            return title
        column = column if len(column) <= _LONGEST else f"{column[: _LONGEST - 1]}…"
        return f"{title} (column '{column}')" if language == "en" else f"{title} (cột «{column}»)"
