"""The catalogue's entries of who asks, gathered once for each snapshot and language."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sdi.catalog.entry import Checksum, Entry, Publisher
from sdi.contract.layer import Text
from sdi.service import documents
from sdi.service.formats import EXPORTS, export
from sdi.service.publications import Snapshot
from sdi.service.records.linked import listed
from sdi.service.state import Service

Entries = Mapping[str, Entry]


def publisher(service: Service) -> Publisher:
    """Who runs the service."""
    settings = service.settings
    return Publisher(Text(vi=settings.title_vi, en=settings.title_en), settings.contact, service.url)


async def entries(service: Service, snapshot: Snapshot, language: str) -> Entries:
    """An entry for each layer that exists for who asks, by the layer's id; the links' titles are in the language."""
    kept: Entries | None = snapshot.kept.get(("entries", language))
    if kept is None:
        kept = snapshot.kept[("entries", language)] = await _gathered(service, snapshot, language)
    return kept


async def _gathered(service: Service, snapshot: Snapshot, language: str) -> Entries:
    known = await documents.collections(service, snapshot, language, "json")
    links: dict[str, list[dict[str, Any]]] = {each["id"]: each["links"] for each in known["collections"]}
    first = await service.reader.first_loads()
    by = publisher(service)
    found = {}
    for name, layer in snapshot.layers.items():
        # A coverage whose file went away is in no document until it is back.
        if listed(layer) and name in links:
            publication, rates = snapshot.publications[name], snapshot.rates.get(name, ())
            # A layer that never showed anything was never loaded, as far as who asks can tell.
            shown = publication.load_id is not None
            created = first.get(name, publication.loaded_at) if shown else publication.loaded_at
            found[name] = Entry(layer, publication, created, links[name], by, rates)
    return found


async def with_files(service: Service, snapshot: Snapshot, of: Entries) -> list[Entry]:
    """The entries with the checksums of those whole layers that lie prepared as files, as they are handed out."""
    return await asyncio.to_thread(lambda: [_with_files(service, snapshot, entry) for entry in of.values()])


def _with_files(service: Service, snapshot: Snapshot, entry: Entry) -> Entry:
    if entry.layer.coverage is not None:
        return entry
    made: dict[str, Checksum] = {}
    for link in entry.links:
        if link["rel"] != "enclosure":
            continue
        format_ = next((each for each in EXPORTS.values() if each.media_type == link["type"]), None)
        if format_ is None:
            continue
        prepared: tuple[str, Path] | None = export.prepared(service, *snapshot[entry.layer.id], snapshot, format_)
        if prepared is not None:
            made[str(link["href"])] = Checksum(prepared[0], prepared[1].stat().st_size)
    return replace(entry, files=made)
