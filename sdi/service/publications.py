"""What is published now: looked up at most twice a second, rebuilt off the event loop when it changed, and swapped.

Each worker process keeps its own snapshot and asks the ledger's version, so several workers agree within half a second.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog
from starlette.concurrency import run_in_threadpool

from sdi import __version__
from sdi.access import Agency, sees, visible
from sdi.contract import quality
from sdi.contract.layer import Layer
from sdi.contract.query import Sight
from sdi.contract.registry import Registry, read_registry
from sdi.errors import ContractError, NotFound, StoreError, nearest
from sdi.service import links, ogc, openapi
from sdi.service.coverage import coverage_path
from sdi.service.parameters import is_dated
from sdi.service.reader import Reader, View
from sdi.service.rights import seen
from sdi.service.statistics.question import dimensions
from sdi.service.texts.ready import FORMAT
from sdi.settings import Settings
from sdi.store.engine import Connection
from sdi.store.ledger import Publication
from sdi.store.quality import Rate
from sdi.store.seen import standing

EVERY = 0.5
"""Seconds between two looks at the ledger's version."""

log = structlog.get_logger("sdi.service")


@dataclass(frozen=True)
class Snapshot:
    """The published layers that exist for one audience, and pygeoapi's view of them."""

    version: int
    layers: dict[str, Layer] = field(default_factory=dict)
    publications: Mapping[str, Publication] = field(default_factory=dict)
    """Of the layers, as who asks sees them: what changed nothing for them never was."""
    rates: Mapping[str, list[Rate]] = field(default_factory=dict)
    """Of the layers that who asks sees whole, or collects."""
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
    mark: object = field(default_factory=object, compare=False)
    """Another one for each snapshot."""
    kept: dict[Any, Any] = field(default_factory=dict, compare=False)
    """What was made from this snapshot and is asked for again, such as the catalogue; it goes with the snapshot."""
    counted: Mapping[str, Layer] = field(default_factory=dict)
    """The published layers of which there are statistics for who asks; the features of some are not shown to them."""
    stored: Mapping[str, Publication] = field(default_factory=dict)
    """As the ledger has them. Nothing of these is ever told."""

    def __getitem__(self, layer: str) -> tuple[Layer, Publication]:
        """A published layer. Raises NotFound alike for unknown, unpublished and hidden ones."""
        if layer not in self.layers:
            raise NotFound(f"There is no collection '{layer[:100]}'.{nearest(layer, self.layers)}")
        return self.layers[layer], self.publications[layer]

    def partial(self, layer: str) -> bool:
        """Whether something of a layer is hidden from who asks, so that a load may change nothing for them."""
        return self.publications[layer] is not self.stored.get(layer)

    def beside(self, sight: Sight | None) -> list[tuple[str, int, str]]:
        """Of each other layer on which it depends what a sight shows: its name, generation and last change, as seen.
        What does not exist for who asks shows nothing, whatever becomes of it.
        """
        names = () if sight is None else sight.beside
        known = [self.publications[name] for name in names if name in self.layers]
        return [(each.layer, each.generation, each.changed_at.isoformat()) for each in known]

    def stored_beside(self, sight: Sight | None) -> list[tuple[str, int, str]]:
        """The same as the ledger has it, of all of them: what is made of their rows is made anew when they change. It
        tells of hidden changes, and is never told.
        """
        names = () if sight is None else sight.beside
        known = [self.stored[name] for name in names if name in self.stored]
        return [(each.layer, each.generation, each.changed_at.isoformat()) for each in known]

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
                stored = await run_in_threadpool(self._at_hand, await self._reader.published())
                published = await self._as_seen(stored)
                counted = self._counted(stored)
                own = self._own()
                published |= await self._reader.quality_collections(own) if own else {}
                rates = self._told_rates(await self._reader.rates(), published, stored, own)
                families = await self._reader.families(self.registry.layers)
                key = await self._reader.cursor_key()
                made = await run_in_threadpool(self._build, version, published, rates, counted, key)
                self._snapshot = replace(made, families=families, stored=stored)
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

    async def _as_seen(self, published: Mapping[str, Publication]) -> dict[str, Publication]:
        """What publications tell to who asks: number, extent, grids and time of what exists for them, and the load that
        changed it last as far as they see. Looked up once for each generation, and contract. Nothing of layers that
        they do not see.
        """
        told: dict[str, Publication] = {}
        views: dict[str, View] = {}
        for name, publication in published.items():
            layer = self.registry.layers.get(name)
            if layer is None or not sees(self._agency, layer):
                continue
            view = _view(self._agency, layer)
            if view is None:
                told[name] = publication
            elif self._snapshot.layers.get(name) is layer and self._stands({name, *view[1].beside}, published):
                told[name] = self._snapshot.publications[name]
            else:
                views[name] = view
        for name, facts in (await self._reader.standing(views)).items():
            told[name] = _told(published[name], facts, counted=views[name][3])
        return told

    def _at_hand(self, published: Mapping[str, Publication]) -> dict[str, Publication]:
        """The publications without the coverages whose file is not there: they take no other layer with them."""
        kept = {}
        for name, publication in published.items():
            layer = self.registry.layers.get(name)
            path = coverage_path(publication, self._settings.data) if layer is not None and layer.coverage else None
            if path is None or Path(path).is_file():
                kept[name] = publication
            else:
                cure = f"Bring the file back, then run 'sdi publish {name}'."
                log.error("a coverage's file is not there", layer=name, path=path, cure=cure)
        return kept

    def _stands(self, names: Iterable[str], published: Mapping[str, Publication]) -> bool:
        """Whether these layers are stored as they were at the last look."""
        before = self._snapshot.stored
        return all(_standing(before.get(name)) == _standing(published.get(name)) for name in names)

    def _own(self) -> dict[str, Layer]:
        """The layers that who asks collects, and of which they see the quality collections."""
        if self._agency.public:
            return {}
        return {name: layer for name, layer in self.registry.layers.items() if layer.steward.id == self._agency.id}

    def _told_rates(
        self, known: Mapping[str, list[Rate]], published: Mapping[str, Publication], stored: Mapping[str, Publication],
        own: Mapping[str, Layer],
    ) -> dict[str, list[Rate]]:  # fmt: skip
        """The rates of the layers that who asks sees whole, or collects: they count every row and attribute, and what
        is in quarantine. Of the others they would tell what happens to what is hidden.
        """
        return {name: rates for name, rates in known.items()
                if name in published and (published[name] is stored[name] or name in own)}  # fmt: skip

    def _counted(self, published: Iterable[str]) -> dict[str, Layer]:
        """The published layers of which there are statistics for who asks."""
        known = self.registry.layers
        return {name: known[name] for name in sorted(published)
                if name in known and dimensions(self._agency, known[name])}  # fmt: skip

    def _build(
        self, version: int, published: Mapping[str, Publication], rates: Mapping[str, list[Rate]],
        counted: Mapping[str, Layer], key: bytes,
    ) -> Snapshot:  # fmt: skip
        beside = {view.id: view for layer in self._own().values() for view in quality.beside(layer)}
        known = {**self.registry.layers, **beside}
        layers = {name: known[name] for name in sorted(published) if name in known and sees(self._agency, known[name])}
        folder = Path(self._settings.data)
        config = ogc.configuration(self._settings, layers, published, self._agency, folder)
        collects = any(layer.steward.id == self._agency.id for layer in self.registry.layers.values())
        document = openapi.document(config, self._settings, layers, self._agency, counted, collects=collects)
        edition = _edition(self._settings, [*map(Path, self._contracts)], key)
        since = self._since(published, edition)
        made = Snapshot(version, layers, published, rates, ogc.api(config, document), document, edition, since)
        return replace(made, counted=counted)

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


def _view(agency: Agency, layer: Layer) -> View | None:
    """What who asks sees of a layer, all of it told by one sight; None: everything."""
    if layer.coverage is not None:
        return None
    names, shown = visible(agency, layer), seen(agency, layer)
    counted = bool(shown.filters) or shown.sight is not None
    if not counted and len(names) == len(layer.stored):
        return None
    rows = {"op": "and", "args": list(shown.filters)} if shown.filters else None
    return layer, shown.sight or Sight(names, rows), is_dated(layer, names), counted


def told_of(connection: Connection, agency: Agency, layer: Layer) -> tuple[str, int, str]:
    """What `Snapshot.beside` tells of a layer that is seen in part, without a snapshot."""
    view = _view(agency, layer)
    assert view is not None
    facts = standing(connection, *view)
    generation, changed_at = (0, _NEVER) if facts is None else (facts["load_id"], facts["changed_at"])
    return layer.id, generation, changed_at.isoformat()


def _standing(publication: Publication | None) -> tuple[int, datetime] | None:
    return None if publication is None else (publication.generation, publication.changed_at)


def _told(publication: Publication, facts: dict[str, Any] | None, *, counted: bool) -> Publication:
    """A publication as it is told; of a layer that never showed anything to who asks, nothing is."""
    if facts is None:
        unknown: dict[str, Any] = {"count": 0, "extent": None, "grids": (), "time_start": None, "time_end": None}
        unknown = unknown if counted else {}
        return replace(publication, generation=0, load_id=None, loaded_at=_NEVER, changed_at=_NEVER, **unknown)
    return replace(publication, generation=facts["load_id"], loaded_at=facts["changed_at"], **facts)


_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


def _contracts(folder: Path) -> dict[str, int]:
    """The files that the contracts are read from, each with the time of its last change."""
    files = [*folder.glob("*.yaml"), *folder.glob("code_lists/*.csv"), *folder.glob("code_lists/*.yaml")]
    return {str(file): file.stat().st_mtime_ns for file in files}


def _edition(settings: Settings, contracts: list[Path], key: bytes) -> str:
    """What is answered besides the data. A tag that is made of it cannot be guessed without the `key`: who guessed it
    would know the number of a load in it, and so how many others there were."""
    shown = settings.model_dump_json(exclude={"database_url", "layers", "data"})
    digest = hashlib.blake2b(f"{__version__} {FORMAT}\n{shown}".encode(), key=key[:64], digest_size=15)
    for file in sorted(contracts):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
