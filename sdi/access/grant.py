"""What one agency may do with one layer: which fields, rows and area, how exactly, for how long, on which ground."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Literal, get_args

from sdi.contract.layer import Privacy
from sdi.contract.query import Precision

Action = Literal["read", "export", "statistics", "load", "edit", "approve"]
"""`statistics`: to have features counted that are not shown themselves (`rule.counted`). `load`: to collect the layer,
by any delivery, and to take it back. `edit`: to deliver in part, which adds, changes and ends single features.
`approve`: to decide in its steward's place: to let findings pass, and to answer who asks for the layer."""
ACTIONS: tuple[Action, ...] = get_args(Action)
WRITING: frozenset[Action] = frozenset({"load", "edit", "approve"})
"""The actions by which a layer, or who sees it, changes; none of them shows anything."""


@dataclass(frozen=True)
class Grant:
    """One permission; several of one agency for one layer add up, feature by feature."""

    grant_id: int
    agency: str
    layer: str
    classes: frozenset[Privacy] = frozenset({"open"})
    """The privacy classes of the attributes that it shows. With `restricted` it also shows the features that the
    contract withholds from the public."""
    attributes: tuple[str, ...] | None = None
    """Of these classes only these attributes; None: all."""
    rows: str | None = None
    """CQL2 text that a feature must fulfil; it may name every stored attribute. None: every feature."""
    communes: tuple[str, ...] | None = None
    """Codes of the administrative units in which a feature must lie; None: anywhere."""
    meant: str | None = None
    """CQL2 text: what these codes mean today in a layer whose features bear codes of units."""
    outline: str | None = None
    """GeoJSON in CRS84: the ground of these units, for a layer whose features bear none."""
    polygon: str | None = None
    """GeoJSON geometry in CRS84 (x = longitude, degrees) that a feature must meet; None: anywhere."""
    precision: Precision = "exact"
    metres: float = 0.0
    """For `generalised`: the step of the grid, metres."""
    actions: frozenset[Action] = frozenset({"read"})
    valid_from: date | None = None
    """The first day, in Viet Nam; None: since ever."""
    valid_to: date | None = None
    """The first day on which it holds no longer; None: until it is revoked."""
    legal_basis: str | None = None
    purpose: str | None = None

    @property
    def narrowed(self) -> bool:
        """Whether it shows less than all of a layer: of a coverage nothing less can be shown."""
        lessened = (self.attributes, self.rows, self.communes, self.polygon)
        return self.precision != "exact" or any(each is not None for each in lessened)

    def holds(self, day: date) -> bool:
        """Whether the day lies in its time."""
        return (self.valid_from is None or self.valid_from <= day) and (self.valid_to is None or day < self.valid_to)
