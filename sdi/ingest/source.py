"""What a file holds, read by a child process that may crash, hang or run out of memory without harm to us."""

from __future__ import annotations

import json
import logging
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from sdi.contract.delivery import Request
from sdi.errors import SourceError, UsageError, nearest
from sdi.ingest import completeness, dgn, dxf, separated, shapefile
from sdi.ingest.archive import letters
from sdi.ingest.drawing import Unread
from sdi.ingest.guard import unguard
from sdi.ingest.scratch import Scratch
from sdi.ingest.stage import ArchiveLimits, Staged, staged

log = logging.getLogger(__name__)
PACKAGE_ROOT = Path(__file__).resolve().parents[2]
Progress = Callable[[int, int | None], None]
WKB = "wkb"
LONGEST = 1 << 26
"""Bytes of the longest line that the child may say: 500 layers of 5,000 columns."""
PART = 32_768
"""Features that are worked on at once."""


@dataclass(frozen=True)
class Limits:
    """What reading one delivery may cost."""

    timeout: float = 900.0
    """Seconds, of the clock and of the processor."""
    memory: int = 8 * 1024**3
    """Bytes of address space of the child."""
    archive: ArchiveLimits = field(default_factory=ArchiveLimits)


@dataclass(frozen=True)
class SourceLayer:
    """A layer of a file. `bounds` are min x, min y, max x, max y as the file has them; `crs` is `EPSG:…` or WKT."""

    name: str
    geometry_type: str | None
    feature_count: int
    fields: tuple[tuple[str, str], ...]
    """(name, OGR type)."""
    crs: str | None
    bounds: tuple[float, float, float, float] | None


@dataclass(frozen=True)
class Inspection:
    driver: str
    layers: tuple[SourceLayer, ...]
    datasets: tuple[str, ...] = ()
    """All datasets of an archive, by file name."""


@dataclass(frozen=True)
class Facts:
    """How a delivery was read; what the child says and what we saw ourselves."""

    file_name: str
    sha256: str
    size: int
    suffix: str
    driver: str
    layer: str
    geometry_type: str | None
    crs: str | None
    feature_count: int
    curves: int = 0
    """Features whose curves were made into lines."""
    latin1: bool = False
    """Text columns hold one character a byte: they are still to be decoded."""
    encoding: str | None = None
    """The encoding that a .cpg declares, if any."""
    code_page: str | None = None
    """What the DBF's language byte hints at."""
    truncated: tuple[int, int] | None = None
    """(bytes there, bytes that its header promises)."""
    isolated: bool = False
    fields: tuple[tuple[str, str], ...] = field(default=())
    unread: tuple[Unread, ...] = ()
    """What a drawing has and no feature was made of."""
    odd: tuple[separated.Odd, ...] = ()
    """Rows of a CSV in which others are lost, or a part of themselves."""


class Source:
    """A layer as it was delivered, in parts of at most so many features as were asked for, each read when it is wanted.

    A part's columns are named as in the file, binary column `wkb` (null: no geometry) comes last when the layer has
    geometry. What holds them is on disk and has no name there: it is gone when this is closed, or the process is.
    """

    def __init__(self, path: Path, facts: Facts, geometry_column: str) -> None:
        self.facts = facts
        self._geometry = geometry_column
        self._file = pa.OSFile(str(path), "rb")
        self._readers: dict[tuple[int, ...], pa.ipc.RecordBatchFileReader] = {(): pa.ipc.open_file(self._file)}
        lines = path.with_name(path.name + ".lines")
        self._lines = pa.ipc.open_file(pa.OSFile(str(lines), "rb")) if lines.exists() else None
        self.columns = _names(self._readers[()].schema, geometry_column)

    @property
    def kinds(self) -> dict[str, pa.DataType]:
        """Column -> what type its values have in the file."""
        schema = self._readers[()].schema
        return {name: _stored(schema.field(index).type) for index, name in enumerate(self.columns)}

    @property
    def parts(self) -> int:
        return int(self._readers[()].num_record_batches)

    def part(self, number: int, columns: Collection[str] | None = None) -> pa.Table:
        """The part of this number; `columns`: only these of it. One thread reads at a time."""
        chosen = [index for index, name in enumerate(self.columns) if columns is None or name in columns]
        key = () if len(chosen) == len(self.columns) else tuple(chosen)
        if key not in self._readers:
            options = pa.ipc.IpcReadOptions(included_fields=list(key))
            self._readers[key] = pa.ipc.open_file(self._file, options=options)
        batch = self._readers[key].get_batch(number)
        table = pa.table([_plain(column) for column in batch.columns], [self.columns[index] for index in chosen])
        if self.facts.driver == "CSV":
            table = unguard(table)
        if not self._geometry or WKB not in table.column_names:
            return table
        column = table[WKB].cast(pa.large_binary())
        if self._lines is not None:
            column = pa.chunked_array([self._lines.get_batch(number).column(0)])
        return table.drop_columns([WKB]).append_column(WKB, column)

    @property
    def table(self) -> pa.Table:
        """All of it at once, for what is known to be small."""
        made = [self.part(number) for number in range(self.parts)]
        return pa.concat_tables(made) if made else self._empty()

    def _empty(self) -> pa.Table:
        return pa.table({name: pa.array([], kind) for name, kind in self.kinds.items()})

    def close(self) -> None:
        self._file.close()


def inspect(path: Path, limits: Limits | None = None, dataset: str | None = None) -> Inspection:
    """Say what layers a file has. `dataset` picks one of an archive's. Raises NotFound, UsageError, SourceError."""
    limits = limits or Limits()
    with staged(path, dataset, limits.archive) as stage:
        facts = _run(_order("inspect", stage, None), Path(path).name, limits, None)
        layers = tuple(map(_layer, facts["layers"]))
        return Inspection(facts["driver"], layers, stage.datasets)


def read(request: Request, limits: Limits | None = None, progress: Progress | None = None, part: int = PART) -> Source:
    """Read one layer as it was delivered, in the file's order; `part`: features in a part of it, at most.

    Raises NotFound, UsageError, SourceError.
    """
    limits = limits or Limits()
    name = request.path.name
    with (
        staged(request.path, request.layer_in_file, limits.archive) as stage,
        Scratch("table") as folder,
    ):
        # Asked first: GDAL reads some files that are cut short as if nothing were missing, others not at all.
        truncated = shapefile.shortfall(stage.main) if stage.suffix == ".shp" else None
        if truncated is None:
            completeness.check_whole(stage.main, name)
        try:
            order, facts = _read_layer(stage, request, folder, limits, progress, part)
        except SourceError as error:
            if truncated is None:
                raise
            raise SourceError(f"{name} is cut short: {truncated[0]} bytes of {truncated[1]}.",
                              hint="Copy the file again and compare its size.") from error  # fmt: skip
        completeness.check_markup(facts["broken_line"], name)
        completeness.check_count(
            stage.main, name, facts["feature_count"], promised=facts["promised"], alone=facts["layers_in_file"] == 1
        )
        if not facts["isolated"]:
            log.info("%s was read by a process that has the network: the kernel does not take it ('sdi doctor')", name)
        shp = stage.main if stage.suffix == ".shp" else None
        declared = (shapefile.declared_encoding(shp), shapefile.code_page(shp)) if shp else (None, None)
        source = Source(Path(order["out"]), _facts(name, stage, facts, declared, truncated), facts["geometry_column"])
        source.facts = replace(source.facts, **_lost(stage.main, source))
        return source


def _facts(
    name: str, stage: Staged, facts: dict[str, Any], declared: tuple[str | None, str | None],
    truncated: tuple[int, int] | None,
) -> Facts:  # fmt: skip
    return Facts(
        file_name=name, sha256=stage.sha256, size=stage.size, suffix=stage.suffix, driver=facts["driver"],
        layer=facts["name"], geometry_type=facts["geometry_type"], crs=facts["crs"], curves=facts["curves"],
        feature_count=facts["feature_count"], latin1=stage.suffix == ".shp",
        encoding=declared[0], code_page=declared[1], truncated=truncated,
        isolated=facts["isolated"], fields=tuple((name, kind) for name, kind in facts["fields"]),
    )  # fmt: skip


def _lost(main: Path, source: Source) -> dict[str, Any]:
    """What GDAL left out without a word, as Facts say it."""
    facts = source.facts
    if facts.driver == "DXF" and dxf.HANDLE in source.columns:
        handles = (source.part(number, [dxf.HANDLE])[dxf.HANDLE] for number in range(source.parts))
        return {"unread": tuple(dxf.unread(main, handles))}
    if facts.driver == "DGN":
        types = (source.part(number, [dgn.TYPE])[dgn.TYPE] for number in range(source.parts))
        return {"unread": tuple(dgn.unread(main, types))}
    if facts.driver == "CSV":
        return {"odd": tuple(separated.odd_rows(main, len(facts.fields), facts.feature_count))}
    return {}


def _order(action: str, stage: Staged, layer: str | None) -> dict[str, Any]:
    # Latin-1 keeps every byte of a DBF: GDAL drops the last character when it decodes CP1258 or TCVN.
    encoding = "ISO-8859-1" if stage.suffix == ".shp" else None
    return {"action": action, "path": str(stage.main), "layer": layer, "encoding": encoding}


def _layer(facts: dict[str, Any]) -> SourceLayer:
    bounds = facts["bounds"]
    return SourceLayer(
        name=facts["name"], geometry_type=facts["geometry_type"], feature_count=facts["feature_count"],
        fields=tuple((name, kind) for name, kind in facts["fields"]), crs=facts["crs"],
        bounds=tuple(bounds) if bounds else None,
    )  # fmt: skip


def _read_layer(
    stage: Staged, request: Request, folder: str, limits: Limits, progress: Progress | None, part: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the layer asked for, else the only one with geometry and features. Returns the child's order and facts."""
    name, wanted = request.path.name, request.layer_in_file
    if len(stage.datasets) > 1 and wanted and letters(wanted) in (stage.main.stem, stage.main.name):
        wanted = None  # it named a dataset of the archive
    order = _order("read", stage, wanted) | {"out": str(Path(folder) / "table.arrow"), "part": part}
    facts = _run(order, name, limits, progress)
    if "layers" in facts:
        order["layer"] = _pick([_layer(layer) for layer in facts["layers"]], name, wanted)
        facts = _run(order, name, limits, progress)
    return order, facts


def _pick(layers: list[SourceLayer], name: str, wanted: str | None) -> str:
    names = [layer.name for layer in layers]
    if not layers:
        raise SourceError(f"{name} holds no layer.", hint="Open it in QGIS and compare.")
    if wanted is not None:
        raise UsageError(f"There is no layer '{wanted}' in the file.{nearest(wanted, names)}",
                         hint=f"It has: {', '.join(names)}.")  # fmt: skip
    for keep in (lambda layer: layer.geometry_type is not None, lambda layer: layer.feature_count != 0):
        layers = [layer for layer in layers if keep(layer)] or layers
    if len(layers) == 1:
        return layers[0].name
    listed = "; ".join(f"{layer.name} ({layer.geometry_type or 'table'}, {layer.feature_count})" for layer in layers)
    raise UsageError(f"{name} has {len(layers)} layers: {listed}.", hint="Pick one with --layer-in-file NAME.")


def _names(schema: pa.Schema, geometry_column: str) -> list[str]:
    """The columns' names, each once; the geometry's is `wkb`."""
    names: list[str] = []
    for name in schema.names:
        if geometry_column and name == geometry_column and WKB not in names:
            names.append(WKB)
            continue
        taken = name in names or name == WKB
        names.append(f"{name}_{len(names)}" if taken else name)
    return names


def _plain(column: pa.Array) -> pa.Array:
    """What an extension type (`arrow.json` of GeoJSON properties of mixed types) is stored as."""
    return column.storage if isinstance(column.type, pa.BaseExtensionType) else column


def _stored(kind: pa.DataType) -> pa.DataType:
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


# --- the child ----------------------------------------------------------------------------------------------------


def _environment(folder: str) -> dict[str, str]:
    """Nothing of our own environment (it may hold secrets) but where Python finds this package."""
    return {"PYTHONPATH": str(PACKAGE_ROOT), "HOME": folder, "TMPDIR": folder, "LANG": "C.UTF-8", "PATH": os.defpath}


def _run(order: dict[str, Any], name: str, limits: Limits, progress: Progress | None) -> dict[str, Any]:
    """Run the child on an order and return its facts. Raises SourceError in a sentence for every other end."""
    order |= {"memory": limits.memory, "cpu": int(limits.timeout) + 1}
    with Scratch("child") as folder, Path(folder, "stderr").open("wb") as stderr:
        child = subprocess.Popen(
            [sys.executable, "-m", "sdi.ingest.child"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr,
            env=_environment(folder), cwd=folder, start_new_session=True,
        )  # fmt: skip
        try:
            assert child.stdin is not None
            child.stdin.write(json.dumps(order).encode())
            child.stdin.close()
            answer = _listen(child, limits.timeout, progress)
            child.wait(timeout=10)
        except (subprocess.TimeoutExpired, TimeoutError):
            raise SourceError(f"Reading {name} took longer than {limits.timeout:g} s.",
                              hint="The file may be hostile, or SDI_READ_TIMEOUT too small.") from None  # fmt: skip
        except BrokenPipeError:
            answer = {}
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            assert child.stdout is not None
            child.stdout.close()
        if "facts" in answer:
            return dict(answer["facts"])
        words = last_words(Path(folder, "stderr"))
        log.debug("reading %s failed (exit %s): %s %s", name, child.returncode, answer, words)
        raise _failure(answer, child.returncode, words, name)


def _listen(child: subprocess.Popen[bytes], timeout: float, progress: Progress | None) -> dict[str, Any]:
    """Read the child's lines until it ends; returns the last message that is not progress."""
    end = time.monotonic() + timeout
    answer: dict[str, Any] = {}
    rest = b""
    assert child.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(max(0.0, end - time.monotonic())):
                raise TimeoutError
            block = os.read(child.stdout.fileno(), 1 << 16)
            if not block:
                return answer
            *lines, rest = (rest + block).split(b"\n")
            if len(rest) > LONGEST:
                raise TimeoutError
            for line in lines:
                message = _message(line)
                if "done" in message and progress is not None:
                    progress(message["done"], message["total"])
                elif "done" not in message:
                    answer = message


def _message(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except ValueError:
        return {"done": 0, "total": None}  # a library wrote to stdout
    return message if isinstance(message, dict) else {"done": 0, "total": None}


def last_words(path: Path) -> str:
    """The end of what a child wrote to stderr, which may be long."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4000))
        return file.read(4000).decode("utf-8", "replace")


def _failure(answer: dict[str, Any], code: int, words: str, name: str) -> SourceError:
    memory = answer.get("error") == "memory" or "bad_alloc" in words or "MemoryError" in words
    told = words + answer.get("detail", "")
    if memory or any(sign in told for sign in ("allocate", "Out of memory", "File too large", "No space left")):
        return SourceError(f"Reading {name} needs more memory than is allowed.",
                           hint="Split the file, or raise SDI_READ_MEMORY.")  # fmt: skip
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        return SourceError(f"Reading {name} was stopped: it took too much time or memory.",
                           hint="The file may be hostile, or SDI_READ_TIMEOUT too small.")  # fmt: skip
    if code < 0:
        return SourceError(
            f"{name} makes the reading library crash.", hint="Export it again, as GeoPackage if possible."
        )
    if "CRSError" in told:
        return SourceError(f"{name} declares its CRS (.prj) in a way that cannot be understood.",
                           hint="Hand it in without the .prj and say the CRS with --crs EPSG:….")  # fmt: skip
    return SourceError(f"{name} cannot be read: it is damaged or not of a format that is accepted.",
                       hint="Open it in QGIS; export it again, as GeoPackage if possible.")  # fmt: skip
