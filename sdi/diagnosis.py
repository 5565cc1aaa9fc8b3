"""What is wrong with a set-up, and how to mend it.

Each examination says what was looked at, what was found, and the cure.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from typing import Literal

import numpy as np

from sdi.contract.registry import Registry, read_registry
from sdi.errors import ContractError, SdiError
from sdi.ingest import confinement
from sdi.national import vn2000
from sdi.settings import Settings
from sdi.store import check, engine, indexes, ledger, migrate
from sdi.store.check import Found
from sdi.store.logins import service

LEAST_FREE = 2 * 1024**3
"""Bytes that a load of a city's parcels and its indexes may need at once."""
HOME_POINT = (588415.1135, 2326366.5101, 105.8525, 21.0287)
"""Hoàn Kiếm in EPSG:5897 and in WGS 84 by EPSG:6960: if this is off, PROJ's data are not what we tested."""


def examine(settings: Settings) -> Iterator[Found]:
    """Look at everything, the first fault or not."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield Found("Python", "ok" if sys.version_info >= (3, 12) else "error", version, None)
    yield from _transformation()
    yield from _disk(settings)
    yield reading(confinement.kept())
    registry = None
    try:
        registry = read_registry(settings.layers)
        yield Found("contracts", "ok", f"{len(registry.layers)} layers, {len(registry.code_lists)} code lists")
    except ContractError as error:
        yield Found("contracts", "error", f"{len(error.faults)} faults: {error.faults[0]}", "Run 'sdi layers check'.")
    yield from _database(settings, registry)


def _transformation() -> Iterator[Found]:
    east, north, lon, lat = HOME_POINT
    found = vn2000.to_wgs84(np.array([[east, north]]), 5897)[0]
    off = float(np.hypot((found[0] - lon) * 103_900, (found[1] - lat) * 110_700))
    state: Literal["ok", "error"] = "ok" if off < 0.001 else "error"
    yield Found(
        "VN-2000 → WGS 84 (EPSG:6960)",
        state,
        f"{off * 1000:.2f} mm",
        None if off < 0.001 else "Install the locked pyproj.",
    )


def _disk(settings: Settings) -> Iterator[Found]:
    folder = next(path for path in [settings.data, *settings.data.parents] if path.exists())
    free = shutil.disk_usage(folder).free
    cure = None if free >= LEAST_FREE else "Free space, or set SDI_DATA to a larger disk."
    yield Found("disk", "ok" if cure is None else "warning", f"{free / 1024**3:.1f} GiB free", cure)


def reading(kept: tuple[str, ...]) -> Found:
    """What the process that opens deliveries could reach; `kept` as `confinement.kept` tells it."""
    if not kept:
        return Found("reading of deliveries", "ok", "without the network and without other files")
    finding = f"the kernel does not take from it: {', '.join(kept)}"
    cure = "Allow user namespaces and Landlock (Linux 5.13 or later); until then only the list of drivers protects."
    return Found("reading of deliveries", "warning", finding, cure)


def _database(settings: Settings, registry: Registry | None) -> Iterator[Found]:
    try:
        url = engine.database_url(settings, start=False)
        with engine.connect(url) as connection:
            yield from check.examine(connection)
            if registry is None:
                return
            yield indexes.examine(connection, registry)
            yield _coverages(settings, registry, connection)
            yield _login(settings)
            pending = migrate.status(connection, registry).pending
            cure = "Run 'sdi db migrate'." if pending else None
            finding = f"{len(pending)} changes pending" if pending else "the tables are what the contracts say"
            yield Found("contracts vs database", "warning" if pending else "ok", finding, cure)
    except SdiError as error:
        yield Found("database", "error", error.message, error.hint)


def _coverages(settings: Settings, registry: Registry, connection: engine.Connection) -> Found:
    """Whether the files of the published coverages are there: without its file a coverage is not served."""
    files = {
        name: settings.data / str(publication.facts["file"])
        for name, publication in ledger.publications(connection).items()
        if name in registry.layers and registry[name].coverage is not None
    }
    absent = [name for name, path in files.items() if not path.is_file()]
    if absent:
        cure = "Bring their files back, or load them again; then run 'sdi publish'."
        return Found("files of coverages", "error", f"not there: {', '.join(absent)}", cure)
    return Found("files of coverages", "ok", f"{len(files)} there")


def _login(settings: Settings) -> Found:
    if settings.service_url is None and settings.database_url is None:
        return Found("login of the service", "ok", "the embedded cluster's, behind its socket")
    try:
        with engine.connect(engine.service_url(settings)) as connection:
            return service.examine(connection)
    except SdiError as error:
        return Found("login of the service", "error", error.message, error.hint)
