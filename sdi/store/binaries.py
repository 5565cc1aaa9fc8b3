"""Where the distribution put PostgreSQL's programs, and whether PostGIS stands beside them."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from sdi.errors import StoreError

_DEBIAN = Path("/usr/lib/postgresql")


@dataclass(frozen=True)
class Binaries:
    """One installed PostgreSQL."""

    folder: Path
    major: int
    postgis: bool

    def __truediv__(self, program: str) -> str:
        return str(self.folder / program)


def find(major: int | None = None) -> Binaries:
    """The newest PostgreSQL with PostGIS, or the one of a major version that existing data need.

    Raises StoreError naming the Debian package to install.
    """
    installed = _installed()
    if major is not None:
        installed = [binaries for binaries in installed if binaries.major == major]
    if not installed:
        package = f"postgresql-{major} postgresql-{major}-postgis-3" if major else "postgresql postgis"
        why = f"of version {major}, which the existing data need," if major else "server"
        raise StoreError(
            f"No PostgreSQL {why} is installed on this machine.",
            hint=f"Run 'apt-get install {package}', or set SDI_DATABASE_URL to a server with PostGIS.",
        )
    ready = [binaries for binaries in installed if binaries.postgis]
    if not ready:
        newest = installed[0].major
        raise StoreError(
            f"PostgreSQL {newest} is installed without PostGIS.",
            hint=f"Run 'apt-get install postgresql-{newest}-postgis-3'.",
        )
    return ready[0]


def client(program: str, server: int) -> Path:
    """`pg_dump` or `pg_restore` for a server of a major version: of that version, else the next newer one.

    An older pg_dump refuses a newer server. Raises StoreError naming the Debian package to install.
    """
    folders = [path / "bin" for path in _DEBIAN.glob("*")] if _DEBIAN.is_dir() else []
    on_path = shutil.which(program)
    found = {folder / program for folder in folders} | ({Path(on_path)} if on_path else set())
    versions = sorted((_major(path), str(path)) for path in found if path.is_file())
    fitting = [path for major, path in versions if major >= server]
    if not fitting:
        newest = f"is of version {versions[-1][0]}" if versions else "is not installed"
        raise StoreError(
            f"{program} {newest}; the server is PostgreSQL {server}.",
            hint=f"Run 'apt-get install postgresql-client-{server}' on this machine.",
        )
    return Path(fitting[0])


def _installed() -> list[Binaries]:
    """Every PostgreSQL with `initdb` and `pg_ctl`, newest first."""
    folders = [path / "bin" for path in _DEBIAN.glob("*")] if _DEBIAN.is_dir() else []
    on_path = shutil.which("pg_ctl")
    if on_path:
        folders.append(Path(on_path).resolve().parent)
    found = {}
    for folder in folders:
        if all((folder / program).is_file() for program in ("initdb", "pg_ctl", "postgres")):
            found[folder.resolve()] = _describe(folder)
    return sorted(found.values(), key=lambda binaries: binaries.major, reverse=True)


def _describe(folder: Path) -> Binaries:
    major = _major(folder / "postgres")
    return Binaries(folder, major, _has_postgis(folder, major))


def _major(program: Path) -> int:
    version = re.search(r"\)\s+(\d+)", _output(program, "--version"))
    return int(version.group(1)) if version else 0


def _has_postgis(folder: Path, major: int) -> bool:
    shares = [Path(f"/usr/share/postgresql/{major}"), folder.parent / "share", folder.parent / "share" / "postgresql"]
    if (folder / "pg_config").is_file():
        shares.insert(0, Path(_output(folder / "pg_config", "--sharedir").strip()))
    return any((share / "extension" / "postgis.control").is_file() for share in shares)


def _output(program: Path, option: str) -> str:
    return subprocess.run([program, option], capture_output=True, text=True, check=True, timeout=30).stdout
