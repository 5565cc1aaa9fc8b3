"""What is published now: looked up at most twice a second, rebuilt off the event loop when it changed, and swapped.

Each worker process keeps its own snapshot and asks the ledger's version, so several workers agree within half a second.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog
from starlette.concurrency import run_in_threadpool

from sdi import __version__
from sdi.access import Agency, sees
from sdi.contract import quality
from sdi.contract.layer import Layer
from sdi.contract.registry import Registry, read_registry
from sdi.errors import ContractError, NotFound, StoreError, nearest
from sdi.service import links, ogc, openapi
from sdi.service.parameters import row_filters
from sdi.service.reader import Reader
from sdi.settings import Settings
from sdi.store.ledger import Publication
from sdi.store.quality import Rate

EVERY = 0.5
"""Seconds between two looks at the ledger's version."""

log = structlog.get_logger("sdi.service")


@dataclass(frozen=True)
class Snapshot:
    """The published layers that exist for one audience, and pygeoapi's view of them."""

    version: int
    layers: dict[str, Layer] = field(default_factory=dict)
    publications: Mapping[str, Publication] = field(default_factory=dict)
    rates: Mapping[str, list[Rate]] = field(default_factory=dict)
    api: Any = None
    openapi: dict[str, Any] = field(default_factory=dict)
    edition: str = ""
    """Tells apart what answers are made with besides the rows: the contracts, the settings that show, the release."""
    since: Mapping[str, datetime] = field(default_factory=dict)
    """When this process first answered with a layer's generation and the edition; the load had ended by then."""
    families: frozenset[str] = frozenset()
    """The layers in which some feature has parents: of no other one's they have to be asked."""
    frames: links.Frames = field(default_factory=links.Frames)
    """The links of its answers, as far as they are the same."""
    kept: dict[Any, Any] = field(default_factory=dict, compare=False)
    """What was made from this snapshot and is asked for again, such as the catalogue; it goes with the snapshot."""

    def __getitem__(self, layer: str) -> tuple[Layer, Publication]:
        """A published layer. Raises NotFound alike for unknown, unpublished and hidden ones."""
        if layer not in self.layers:
            raise NotFound(f"There is no collection '{layer[:100]}'.{nearest(layer, self.layers)}")
        return self.layers[layer], self.publications[layer]

    def dossiers_of(self, named: Layer) -> list[Layer]:
        """The published derived layers that answer a dossier on a feature of this layer, their subject or row."""
        return [layer for layer in self.layers.values()
                if layer.dossier and layer.derived and named.id in (layer.derived.subject, layer.id)]  # fmt: skip

    def dossier_at(self, path: str) -> Layer:
        """The published derived layer whose dossiers stand at `/{path}/{id}/dossier`. Raises NotFound."""
        for layer in self.layers.values():
            if layer.dossier is not None and layer.dossier.path == path:
                return layer
        raise NotFound("There is no such address.")


class Publications:
    """The current snapshot of one process."""

    def __init__(self, settings: Settings, registry: Registry, agency: Agency, reader: Reader) -> None:
        self._settings, self._agency, self._reader = settings, agency, reader
        self.registry = registry
        self._contracts = _contracts(registry.folder)
        self._snapshot = Snapshot(version=-1)
        self._looked = float("-inf")
        self._lock = asyncio.Lock()

    @property
    def latest(self) -> Snapshot:
        """The snapshot as it is, without a look at the ledger."""
        return self._snapshot

    async def current(self) -> Snapshot:
        """The snapshot, at most EVERY seconds old. While the store is away the last one stands, if there is one."""
        if time.monotonic() - self._looked < EVERY:
            return self._snapshot
        if self._lock.locked() and self._snapshot.version >= 0:
            return self._snapshot
        async with self._lock:
            if time.monotonic() - self._looked >= EVERY:
                await self._look()
        return self._snapshot

    async def _look(self) -> None:
        try:
            version = await self._reader.version()
            if version != self._snapshot.version:
                await run_in_threadpool(self._read_contracts)
                published = await self._public(await self._reader.published())
                own = self._own()
                published |= await self._reader.quality_collections(own) if own else {}
                rates = await self._reader.rates()
                families = await self._reader.families(self.registry.layers)
                made = await run_in_threadpool(self._build, version, published, rates)
                self._snapshot = replace(made, families=families)
                log.info("published", version=version, layers=len(self._snapshot.layers))
        except StoreError as error:
            if self._snapshot.version < 0:
                raise
            log.warning("ledger is away", error=error.message)
        self._looked = time.monotonic()

    def _read_contracts(self) -> None:
        """Take new and changed contracts: what was loaded under them is served without a restart."""
        contracts = _contracts(self.registry.folder)
        if contracts == self._contracts:
            return
        try:
            self.registry = read_registry(self.registry.folder)
            self._contracts = contracts
        except ContractError as error:
            log.error("contracts are wrong, the old ones stand", faults=[str(fault) for fault in error.faults])

    async def _public(self, published: Mapping[str, Publication]) -> dict[str, Publication]:
        """Counts and extents without what is withheld from who asks; looked up once for each generation."""
        seen: dict[str, Publication] = {}
        for name, publication in published.items():
            layer = self.registry.layers.get(name)
            filters = row_filters(self._agency, layer) if layer is not None else ()
            if layer is not None and filters and sees(self._agency, layer):
                known = self._snapshot.publications.get(name)
                if known is not None and known.generation == publication.generation:
                    count, extent = known.count, known.extent
                else:
                    count, extent = await self._reader.measured(layer, filters)
                publication = replace(publication, count=count, extent=extent)
            seen[name] = publication
        return seen

    def _own(self) -> dict[str, Layer]:
        """The layers that who asks collects, and of which they see the quality collections."""
        if self._agency.public:
            return {}
        return {name: layer for name, layer in self.registry.layers.items() if layer.steward.id == self._agency.id}

    def _build(
        self, version: int, published: Mapping[str, Publication], rates: Mapping[str, list[Rate]]
    ) -> Snapshot:  # fmt: skip
        beside = {view.id: view for layer in self._own().values() for view in quality.beside(layer)}
        known = {**self.registry.layers, **beside}
        layers = {name: known[name] for name in sorted(published) if name in known and sees(self._agency, known[name])}
        folder = Path(self._settings.data)
        config = ogc.configuration(self._settings, layers, published, self._agency, folder)
        document = openapi.document(config, self._settings, layers, self._agency)
        edition = _edition(self._settings, [*map(Path, self._contracts)])
        since = self._since(published, edition)
        return Snapshot(version, layers, published, rates, ogc.api(config, document), document, edition, since)

    def _since(self, published: Mapping[str, Publication], edition: str) -> dict[str, datetime]:
        before, now = self._snapshot, datetime.now(UTC)
        stands = {
            name
            for name, publication in published.items()
            if edition == before.edition
            and (former := before.publications.get(name)) is not None
            and (former.generation, former.changed_at) == (publication.generation, publication.changed_at)
        }
        return {name: before.since[name] if name in stands else now for name in published}


def _contracts(folder: Path) -> dict[str, int]:
    """The files that the contracts are read from, each with the time of its last change."""
    files = [*folder.glob("*.yaml"), *folder.glob("code_lists/*.csv")]
    return {str(file): file.stat().st_mtime_ns for file in files}


def _edition(settings: Settings, contracts: list[Path]) -> str:
    shown = settings.model_dump_json(exclude={"database_url", "layers", "data"})
    digest = hashlib.blake2b(f"{__version__}\n{shown}".encode(), digest_size=15)
    for file in sorted(contracts):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
