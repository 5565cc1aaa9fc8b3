"""Who asks: an agency with what it was granted, or the public."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from sdi.access.grant import Grant
from sdi.contract.layer import Privacy

Kind = Literal["department", "ward", "province", "utility", "public"]
"""Sở; phường, xã hoặc đặc khu; tỉnh, thành phố; đơn vị vận hành hạ tầng; công chúng."""


@dataclass(frozen=True)
class Agency:
    """Who asks. `classes`: the privacy classes of attributes and layers that they may see without any grant."""

    id: str
    classes: frozenset[Privacy] = field(default=frozenset({"open"}))
    grants: tuple[Grant, ...] = ()
    """Those that hold now."""
    withdrawn: frozenset[str] = frozenset()
    """The layers that were withdrawn: they exist for nobody, so that nothing tells of them, whoever asks."""
    names: tuple[str, str] | None = None
    """In Vietnamese and in English, as the register has it; None: it is called by its id."""
    administers: bool = False
    """Whether its keys open the administrators' page."""

    def __post_init__(self) -> None:
        # Asked for with every request: what was compiled for an agency is found by it.
        object.__setattr__(self, "_hash", hash((self.id, self.classes, self.grants, self.withdrawn)))

    def __hash__(self) -> int:
        return int(self.__dict__["_hash"])

    def name(self, language: str) -> str:
        """In `vi` or `en`."""
        return self.id if self.names is None else self.names[language == "en"]

    @property
    def public(self) -> bool:
        """Whether it is who shows no key."""
        return self.id == PUBLIC.id

    @property
    def ungranted(self) -> bool:
        """Whether it sees what everybody does, where no grant says more."""
        return self.classes == PUBLIC.classes


PUBLIC = Agency("public")
"""Everybody: open layers, open attributes, and no withheld feature (NĐ 194/2025, Luật 91/2025/QH15)."""
