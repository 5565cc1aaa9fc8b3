"""The files of coverages: a new one for each load, and what no load needs any more is removed.

A coverage's file cannot take part in the database's transaction. It is written under a name of its own; the commit
makes it the one that is served, and the one before stays until the next load, for readers that are at it.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sdi.contract.layer import Layer
from sdi.ingest.scratch import Scratch
from sdi.settings import Settings
from sdi.store import ledger
from sdi.store.engine import Connection

COVERAGES = "coverages"
"""Folder of the published coverages, below the data folder."""
_OWNER = ".database"
"""File in that folder: which database's files these are. Another's are nothing to clear."""


@contextmanager
def new_file(connection: Connection | None, settings: Settings, layer: Layer, keep: bool) -> Iterator[Path]:
    """Where a coverage is written; gone after an error. The caller has the layer to himself.

    keep: the file is to stay; otherwise it is only looked at, and is gone when the block ends.
    """
    if not keep or connection is None:
        with Scratch("coverage") as name:
            yield Path(name) / f"{layer.id}.tif"
        return
    folder = settings.data / COVERAGES / layer.id
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(connection, folder, layer)
    out = folder / f"{uuid.uuid4().hex}.tif"
    try:
        yield out
    except BaseException:
        out.unlink(missing_ok=True)
        raise


def _sweep(connection: Connection, folder: Path, layer: Layer) -> None:
    """Remove the files of a layer but the published one: replaced ones, and those of loads that broke off."""
    mark = folder / _OWNER
    mine = ledger.identity(connection)
    found = sorted(folder.glob("*.tif"))
    if not mark.exists() and not found:
        mark.write_text(mine, encoding="utf-8")
    if not mark.exists() or mark.read_text(encoding="utf-8") != mine:
        return
    publication = ledger.publications(connection).get(layer.id)
    served = Path(publication.facts.get("file", "")).name if publication else ""
    for path in found:
        if path.name != served:
            path.unlink(missing_ok=True)
