"""Whole layers as files: made once for each generation and view, by a process of its own, and sent from the disk.

While a file is being made the answer is 503 with Retry-After, not 202: a program that downloads, and a browser, takes
the body of a 2xx for the file, while curl, GDAL and urllib3 try a 503 again of themselves. What is made soon is waited
for. The process is asked for by its name: it joins the rooms of the pipeline, which is no part of the service.
"""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from sdi.access import may_export
from sdi.catalog.collection import storage_crs
from sdi.contract.layer import Layer
from sdi.errors import BadRequest, NotFound, StoreError
from sdi.service import crs, fresh, problems, sent
from sdi.service.asked import Asked
from sdi.service.audit import reads
from sdi.service.crs import Crs
from sdi.service.formats import EXPORTS, Format
from sdi.service.publications import Snapshot
from sdi.service.rights import seen_in_files
from sdi.service.state import Service, service_of
from sdi.store.audit.search import WHOLE
from sdi.store.ledger import Publication

WAIT = 3.0
"""Seconds that a request waits for its file."""
AGAIN = 5
"""Seconds after which a client may ask again."""
LOOK = 0.2
"""Seconds between two looks whether another process has made the file."""
PROCESS = [sys.executable, "-m", "sdi.pipeline.whole"]
MADE, TAKEN, SUPERSEDED = 0, 3, 4
"""How the process ends."""

log = structlog.get_logger("sdi.service")


class Exports:
    """The files of one worker process that are being made: one at a time, each once."""

    def __init__(self) -> None:
        self._making: dict[Path, asyncio.Task[int]] = {}
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._turn = asyncio.Semaphore(1)

    async def ready(self, path: Path, order: dict[str, Any]) -> bool:
        """Whether the file is there, waited for a while. Raises StoreError when it could not be made."""
        # Looked at without a pause before it is begun: it may have been ended in one.
        if _checksum(path) is not None:
            return True
        if path not in self._making:
            self._making[path] = asyncio.create_task(self._make(order))
            self._making[path].add_done_callback(lambda _: self._making.pop(path, None))
        task = self._making[path]
        await asyncio.wait({task}, timeout=WAIT)
        if not task.done():
            return False
        ended = task.result()
        if ended == TAKEN:
            with suppress(TimeoutError):
                async with asyncio.timeout(WAIT):
                    while await asyncio.to_thread(_checksum, path) is None:
                        await asyncio.sleep(LOOK)
        if ended not in (MADE, TAKEN, SUPERSEDED):
            raise StoreError("The file could not be made.", hint="Try again in a moment.")
        return await asyncio.to_thread(_checksum, path) is not None

    async def _make(self, order: dict[str, Any]) -> int:
        async with self._turn:
            process = await asyncio.to_thread(_started)
            self._processes.add(process)
            try:
                _, said = await asyncio.to_thread(process.communicate, json.dumps(order).encode())
            finally:
                self._processes.discard(process)
        if process.returncode not in (MADE, TAKEN, SUPERSEDED):
            last = said.decode(errors="replace").strip().rpartition("\n")[2]
            log.error(
                "export failed", layer=order["layer"], format=order["format"], ended=process.returncode, said=last
            )
        return int(process.returncode)

    def close(self) -> None:
        """Give up what is being made; its process is ended, and its lock with it."""
        for process in self._processes:
            process.kill()
        for task in self._making.values():
            task.cancel()


def _started() -> subprocess.Popen[bytes]:
    return subprocess.Popen(PROCESS, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def _checksum(path: Path) -> str | None:
    """The file's SHA-256 in hexadecimal digits; None: it is not there."""
    try:
        return path.with_name(f"{path.name}.sha256").read_text() if path.is_file() else None
    except OSError:
        return None


def _count(path: Path) -> int | None:
    """How many features the file holds; None: it was made before that was told beside it."""
    try:
        return int(path.with_name(f"{path.name}.count").read_text())
    except (OSError, ValueError):
        return None


async def file(
    request: Request, asked: Asked, layer: Layer, publication: Publication, snapshot: Snapshot, *, checksum: bool
) -> Response:  # fmt: skip
    """The file or, with `checksum`, the line that `sha256sum --check` reads. Raises NotFound, BadRequest, StoreError.

    A layer that only its steward sees is never put on the disk for this.
    """
    if not may_export(service_of(request).agency, layer):
        raise NotFound(f"Collection '{layer.id}' has no export.")
    service, format_ = service_of(request), EXPORTS[asked.format]
    placed = _crs(asked, publication)
    path, order = _order(service, layer, publication, snapshot, format_, placed)
    exports: Exports = request.app.state.exports
    there = await exports.ready(path, order)
    digest = await asyncio.to_thread(_checksum, path) if there else None
    if digest is None:
        told = "The file is being made; ask again in a moment."
        return problems.answer(request, 503, "Not made yet", told, {"Retry-After": str(AGAIN)})
    name = f"{layer.id}.{format_.extension}"
    if checksum:
        return PlainTextResponse(f"{digest}  {name}\n")
    count = await asyncio.to_thread(_count, path)
    reads.told(layer.id, seen_in_files(service.agency, layer).attributes, count, (WHOLE,))
    headers = {
        "Cache-Control": fresh.cache_control(service, layer),
        "Content-Crs": f"<{placed.uri}>", "Content-Language": asked.language,
        "Repr-Digest": f"sha-256=:{base64.b64encode(bytes.fromhex(digest)).decode()}:",
    }  # fmt: skip
    return sent.file(request, path, digest[:30], format_.media_type, name, headers)


def prepared(
    service: Service, layer: Layer, publication: Publication, snapshot: Snapshot, format_: Format
) -> tuple[str, Path] | None:  # fmt: skip
    """SHA-256 (hexadecimal digits) and place of the file that is handed out for this format; None: it is not made."""
    placed = crs.DEFAULT if format_.name == "json" else _standing(publication)
    path, _ = _order(service, layer, publication, snapshot, format_, placed)
    digest = _checksum(path)
    return None if digest is None else (digest, path)


def _standing(publication: Publication) -> Crs:
    """The CRS in which the layer stands."""
    return crs.resolve(storage_crs(publication.grids), publication.grids, "crs")


def _crs(asked: Asked, publication: Publication) -> Crs:
    """The grid in which the layer stands, unless another is asked for; GeoJSON files are in CRS84 (RFC 7946)."""
    uri = asked.parameters.get("crs")
    if asked.format == "json":
        if uri is not None and crs.resolve(uri, publication.grids, "crs") != crs.DEFAULT:
            raise BadRequest("crs: a GeoJSON file is in CRS84.", hint="Ask for f=gpkg, fgb, parquet or csv.")
        return crs.DEFAULT
    return crs.resolve(uri or storage_crs(publication.grids), publication.grids, "crs")


def _order(
    service: Service, layer: Layer, publication: Publication, snapshot: Snapshot, format_: Format, placed: Crs
) -> tuple[Path, dict[str, Any]]:  # fmt: skip
    """Where the file stands, and what the process is told; who sees the same shares a file."""
    shown = seen_in_files(service.agency, layer)
    view = {
        "attributes": list(shown.attributes), "filters": list(shown.filters),
        "sight": None if shown.sight is None else shown.sight.to_json(),
        "format": format_.name, "crs": placed.epsg, "north_first": placed.north_first,
    }  # fmt: skip
    # A load that changed nothing for who asks leaves their file as it is.
    moment = [snapshot.edition, publication.generation, publication.changed_at.isoformat()]
    moment += snapshot.beside(shown.sight)
    folder = Path(service.settings.data) / "exports" / layer.id / fresh.tag_of(view) / fresh.tag_of(*moment)
    path = folder / f"{layer.id}.{format_.extension}"
    stored = snapshot.stored[layer.id]
    return path, {
        **view, "database": service.reader.url, "layers": str(service.registry.folder), "layer": layer.id,
        "generation": stored.generation, "changed_at": stored.changed_at.isoformat(), "path": str(path),
        "beside": snapshot.stored_beside(shown.sight),
        "seen_at": publication.changed_at.isoformat(), "role": service.reader.role,
    }  # fmt: skip
