"""A backup: one file with the database, the coverages' files, and a manifest of hashes by which it is verified.

The file is a tar: `manifest.json`, `database.dump` (pg_dump's custom format), `data/coverages/…`. Database and hashes
are of one snapshot, whatever is loaded meanwhile. It is written beside its name as `.part` and renamed when whole, so
whatever bears the name is a whole backup. The contracts are not in it: they are under version control.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from time import perf_counter
from typing import IO, Any

from sdi import __version__
from sdi.contract.registry import Registry
from sdi.errors import NotFound, SourceError, StoreError
from sdi.ingest.scratch import Scratch
from sdi.pipeline.coverages import COVERAGES
from sdi.pipeline.turn import room
from sdi.settings import Settings
from sdi.store import cluster, dump, engine, ledger
from sdi.store.audit import carried, chain
from sdi.store.engine import Connection

FORMAT, READ = 2, (1, 2)
"""What is written, and what can be read: backups of format 1 have no audit trail."""
_MANIFEST, _DATABASE, _AUDIT, _DATA = "manifest.json", "database.dump", "audit", "data"
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Backup:
    """What was written or read. `seconds`: of making, verifying or restoring it. `trail`: what became of the audit
    trail.
    """

    path: Path
    size: int
    manifest: dict[str, Any]
    seconds: float
    trail: str

    @property
    def rows(self) -> int:
        return sum(table["count"] for table in self.manifest["tables"].values())


# --- out ----------------------------------------------------------------------------------------------------------


def backup(connection: Connection, settings: Settings, registry: Registry, target: Path) -> Backup:
    """Write a backup to a file, or under a name of the time into a folder. `connection`: an owner's, autocommit.

    Raises StoreError when pg_dump is missing or older than the server, a disk is full, or another backup writes there.
    """
    begun = perf_counter()
    path = target / f"sdi-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.tar" if target.is_dir() else target
    if not path.parent.is_dir():
        raise NotFound(f"There is no folder {path.parent}.")
    # In a folder one name for all, so that a killed one's remains are written over by the next.
    part = target / "sdi-backup.part" if target.is_dir() else path.with_name(f"{path.name}.part")
    with room(), _part(part) as file, dump.snapshot(connection) as snapshot:
        manifest = _manifest(connection, registry, settings.data)
        _add(file, _MANIFEST, json.dumps(manifest, ensure_ascii=False, indent=1).encode())
        with _member(file, _DATABASE):
            dump.write(connection, snapshot, file)
        if manifest["audit"] is not None:
            for name in carried.PARTS:
                with _member(file, f"{_AUDIT}/{name}"):
                    carried.write(connection, name, file)
        for name in manifest["files"]:
            with _member(file, f"{_DATA}/{name}"), (settings.data / name).open("rb") as source:
                shutil.copyfileobj(source, file, _BLOCK)
        file.write(b"\0" * 2 * tarfile.BLOCKSIZE)
        file.flush()
        os.fsync(file.fileno())
        part.replace(path)
        _sync_folder(path.parent)
    chain.write(connection, "backup", {"file": path.name, "layers": sorted(manifest["layers"])})
    return Backup(path, path.stat().st_size, manifest, perf_counter() - begun, f"saved; {manifest['audit']}")


@contextmanager
def _part(part: Path) -> Iterator[IO[bytes]]:
    """The file while it is written: one writer at a time, gone after an error. A killed one's is written over."""
    with os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(f"Another backup is writing {part.name}.", hint="Wait until it has ended.") from None
        file.truncate(0)
        try:
            yield file
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def _manifest(connection: Connection, registry: Registry, data: Path) -> dict[str, Any]:
    """What the snapshot holds."""
    tables = dump.contents(connection)
    known = ledger.publications(connection)
    layers = {}
    for layer in registry:
        last = [each for each in ledger.history(connection, layer.id, 20) if each.status == "done"][:1]
        now, past = ".".join(layer.table), f"{'.'.join(layer.table)}__past"
        layers[layer.id] = {
            "version": layer.version, "now": now if now in tables else None, "past": past if past in tables else None,
            "last_load": {
                "load_id": last[0].load_id, "steward": last[0].steward, "file": last[0].file_name,
                "finished_at": str(last[0].finished_at),
            } if last else None,
        }  # fmt: skip
    files = {name: _file(data / name) for each in known.values() if (name := each.facts.get("file"))}
    return {
        "format": FORMAT, "made_at": datetime.now(UTC).isoformat(timespec="seconds"), "sdi": __version__,
        **dump.versions(connection), "ledger": ledger.version(connection), "migrations": dump.migrations(connection),
        "roles": dump.roles(connection), "audit": None if (head := carried.head(connection)) is None else str(head),
        "layers": layers, "tables": {name: asdict(content) for name, content in tables.items()}, "files": files,
    }  # fmt: skip


def _file(path: Path) -> dict[str, Any]:
    """A coverage's file; it never changes under its name."""
    if not path.is_file():
        raise StoreError(f"{path} is published and not there.", hint="Load the coverage again, then back up.")
    with path.open("rb") as file:
        return {"size": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


@contextmanager
def _member(file: IO[bytes], name: str) -> Iterator[None]:
    """A member whose size is known only once it is written: its header is put in front of it then."""
    head = file.tell()
    file.write(b"\0" * tarfile.BLOCKSIZE)
    yield
    end = file.tell()
    file.write(b"\0" * (-end % tarfile.BLOCKSIZE))
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = end - head - tarfile.BLOCKSIZE, 0o600, int(datetime.now(UTC).timestamp())
    rest = file.tell()
    file.seek(head)
    file.write(info.tobuf(tarfile.GNU_FORMAT))
    file.seek(rest)


def _add(file: IO[bytes], name: str, content: bytes) -> None:
    with _member(file, name):
        file.write(content)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# --- in -----------------------------------------------------------------------------------------------------------


def restore(connection: Connection, settings: Settings, path: Path, *, replace: bool = False) -> Backup:
    """Restore a backup into a database and a data folder, and compare every table with the manifest before it counts.

    replace: what the database holds is lost; otherwise it must be empty. After any failure it is as it was before.
    """
    begun = perf_counter()
    with room(), _open(path) as archive:
        manifest = _read_manifest(archive, path)
        dump.prepare(connection, manifest["roles"], replace=replace)
        good = False
        try:
            trail = _restore(connection, archive, manifest, settings.data)
            good = True
        finally:
            dump.settle(connection, keep=good)
    about = {"file": path.name, "made_at": manifest["made_at"], "layers": sorted(manifest["layers"])}
    chain.write(connection, "restore", about | {"trail": trail})
    return Backup(path, path.stat().st_size, manifest, perf_counter() - begun, trail)


def verify(path: Path) -> Backup:
    """Restore a backup into a fresh cluster of its own, compare, and remove it again."""
    begun = perf_counter()
    with room(), Scratch("verify") as name, _open(path) as archive:
        manifest = _read_manifest(archive, path)
        folder = Path(name) / "data"
        try:
            with engine.connect(cluster.start(folder)) as connection:
                dump.prepare(connection, manifest["roles"], replace=False)
                trail = _restore(connection, archive, manifest, folder)
        finally:
            cluster.remove(folder)
    return Backup(path, path.stat().st_size, manifest, perf_counter() - begun, trail)


@contextmanager
def _open(path: Path) -> Iterator[tarfile.TarFile]:
    if not path.is_file():
        raise NotFound(f"There is no file {path}.", hint="Look at the path: 'sdi backup' says what it has written.")
    try:
        with tarfile.open(path, "r:") as archive:
            yield archive
    except tarfile.TarError as error:
        raise _broken(path) from error


def _broken(path: Path) -> SourceError:
    return SourceError(f"{path.name} is not a whole backup.", hint="Copy it again and compare its size.")


def _read_manifest(archive: tarfile.TarFile, path: Path) -> dict[str, Any]:
    first = archive.next()
    if first is None or first.name != _MANIFEST:
        raise _broken(path)
    file = archive.extractfile(first)
    assert file is not None
    try:
        manifest: dict[str, Any] = json.loads(file.read())
    except ValueError:
        raise _broken(path) from None
    if manifest.get("format") not in READ:
        raise SourceError(f"{path.name} is of another version of sdi ({manifest.get('sdi')}).",
                          hint="Restore it with that version.")  # fmt: skip
    return manifest


def _restore(connection: Connection, archive: tarfile.TarFile, manifest: dict[str, Any], data: Path) -> str:
    """Bring the members to their places, then compare; what became of the trail. The coverages' files are new names:
    none is written over.
    """
    seen = set()
    for member in archive:
        file = archive.extractfile(member)
        if file is None or member.name == _MANIFEST:
            continue
        with file:
            if member.name == _DATABASE:
                dump.read(connection, file, member.size)
            elif not member.name.startswith(f"{_AUDIT}/"):
                _place(file, member.name, manifest, data)
        seen.add(member.name)
    wanted = {_DATABASE, *(f"{_DATA}/{name}" for name in manifest["files"])}
    wanted |= {f"{_AUDIT}/{name}" for name in carried.PARTS if manifest.get("audit")}
    if wanted - seen:
        raise StoreError(f"The backup lacks {', '.join(sorted(wanted - seen))}.", hint="Use another one.")
    found = {name: asdict(content) for name, content in dump.contents(connection).items()}
    differing = sorted(name for name in found.keys() | manifest["tables"].keys()
                       if found.get(name) != manifest["tables"].get(name))  # fmt: skip
    if differing:
        raise StoreError(f"What was restored is not what was backed up: {', '.join(differing[:5])} differ.",
                         hint="Use another backup.")  # fmt: skip
    return _bring_trail(connection, archive, manifest.get("audit"))


def _bring_trail(connection: Connection, archive: tarfile.TarFile, told: str | None) -> str:
    """The trail where there is none yet, proven; one that is there stays. Raises StoreError where it does not hold."""
    if told is None:
        return "the backup has none"
    anchor = chain.Anchor.parse(told)
    with engine.translated(), connection.transaction():
        here = carried.head(connection)
        if here is None or here.seq:
            goes_on = here is not None and carried.goes_on(connection, anchor)
            return f"stayed; {'it goes on from' if goes_on else 'it is another than'} the backup's {told}"
        for name in carried.PARTS:
            file = archive.extractfile(f"{_AUDIT}/{name}")
            assert file is not None
            with file:
                carried.read(connection, name, file)
        return f"restored; {carried.settle(connection, anchor)} entries, {told}"


def _place(file: IO[bytes], name: str, manifest: dict[str, Any], data: Path) -> None:
    """A coverage's file below the data folder. Only names that the manifest has are written."""
    relative = PurePosixPath(name).relative_to(_DATA) if name.startswith(f"{_DATA}/") else PurePosixPath(name)
    if str(relative) not in manifest["files"] or ".." in relative.parts or relative.parts[0] != COVERAGES:
        raise StoreError(f"The backup holds '{name}', which no backup has.", hint="Use another one.")
    target = data / relative
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    with part.open("w+b") as out:
        shutil.copyfileobj(file, out, _BLOCK)
        out.seek(0)
        whole = hashlib.file_digest(out, "sha256").hexdigest() == manifest["files"][str(relative)]["sha256"]
    if not whole:
        part.unlink()
        raise StoreError(f"'{name}' of the backup is not what was backed up.", hint="Use another backup.")
    part.replace(target)
