"""Random bytes: every parser of our own, and good files of every format with a few bytes changed.

What is tried is the same each time. SDI_TEST_FUZZ=600 goes on for so many seconds with new bytes, vector files and
rasters each, and SDI_TEST_FUZZ_SEED=7 begins elsewhere; `make fuzz` does both.
"""

from __future__ import annotations

import os
import random
import shutil
import tarfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sdi.contract.delivery import Request
from sdi.errors import SdiError, SourceError, UsageError
from sdi.ingest import completeness, geometry, guard, raster, shapefile
from sdi.ingest.cast import cast, clean
from sdi.ingest.findings import Findings
from sdi.ingest.source import Limits
from sdi.ingest.stage import ArchiveLimits, staged
from sdi.national import text
from tests.hostile import samples
from tests.hostile.conduct import registry, spoken, together
from tests.ingest.test_raster import coverage, ramp, write

SECONDS = float(os.environ.get("SDI_TEST_FUZZ", "0"))
SEED = int(os.environ.get("SDI_TEST_FUZZ_SEED", "0"))
KINDS = [*samples.DRIVERS, "xlsx", "zip", "kmz", "topojson", "gdb.zip"]
ROUNDS = 1
"""Spoiled files of each kind that are always handed in; each costs the start of two or three processes."""
quick = settings(
    max_examples=20_000 if SECONDS else 150, deadline=None, derandomize=not SECONDS, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip


def spoil(raw: bytes, chance: random.Random) -> bytes:
    """Change, cut out, double or insert a few bytes; lengths and counts are often hit by 0, FF or 7F."""
    made = bytearray(raw)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        at = chance.randrange(max(1, min(len(made), chance.choice((64, 512, 1 << 30)))))
        match chance.randrange(6):
            case 0 | 1:
                made[at : at + 1] = bytes([chance.choice((0, 0xFF, 0x7F, 0x80, chance.randrange(256)))])
            case 2:
                made[at : at + 4] = chance.choice((b"\xff\xff\xff\x7f", b"\xff" * 4, b"\x00" * 4))
            case 3:
                del made[at : at + chance.randrange(1, 64)]
            case 4:
                made[at:at] = made[at : at + chance.randrange(1, 64)]
            case _:
                made[at:at] = chance.randbytes(chance.randrange(1, 16))
    return bytes(made)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: samples.write(tmp_path_factory.mktemp(kind), kind) for kind in KINDS}


def spoiled(good: dict[str, Path], folder: Path, seed: int) -> Iterator[Path]:
    """A copy of each good file with one of its parts spoiled."""
    for kind, path in good.items():
        chance = random.Random(f"{kind} {seed}")
        target = folder / f"{kind}-{seed}"
        target.mkdir()
        parts = sorted(part for part in path.parent.iterdir() if part.is_file())
        for part in parts:
            shutil.copyfile(part, target / part.name)
        victim = target / chance.choice(parts).name
        victim.write_bytes(spoil(victim.read_bytes(), chance))
        yield target / path.name


def test_a_good_file_with_a_few_bytes_changed_ends_in_a_report_or_in_a_sentence(
    good: dict[str, Path], tmp_path: Path
) -> None:
    end, seed = time.monotonic() + SECONDS, SEED
    while seed < SEED + ROUNDS or time.monotonic() < end:
        paths = list(spoiled(good, tmp_path, seed))
        for path, ends in zip(paths, together(paths, crs="EPSG:9210"), strict=True):
            assert ends, path
            assert all(end.report is not None or (end.sentence and end.exit_code in (1, 2)) for end in ends), path
            shutil.rmtree(path.parent)
        seed += 1


RASTERS: dict[str, dict[str, Any]] = {
    "plain": {}, "tiled": {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "deflate"},
    "strips": {"compress": "lzw", "predictor": 3},
}  # fmt: skip


def test_a_good_raster_with_a_few_bytes_changed_ends_in_a_coverage_or_in_a_sentence(tmp_path: Path) -> None:
    layer, limits = coverage(), Limits(timeout=20.0, memory=2 * 1024**3)
    good = {kind: write(tmp_path / f"{kind}.tif", ramp(), **more).read_bytes() for kind, more in RASTERS.items()}
    end, seed = time.monotonic() + SECONDS, SEED
    while seed < SEED + ROUNDS or time.monotonic() < end:
        for kind, raw in good.items():
            path = tmp_path / f"{kind}-{seed}.tif"
            path.write_bytes(spoil(raw, random.Random(f"{kind} {seed}")))
            with suppress(SourceError, UsageError):
                received = raster.receive(Request(path), layer, grid=9210, out=tmp_path / "cog.tif", limits=limits)
                assert received.report.refused == (received.cog is None), path
                spoken(received.report)
            path.unlink()
        seed += 1


@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz", "xlsx"])
def test_a_spoiled_archive_is_unpacked_or_refused(good: dict[str, Path], tmp_path: Path, suffix: str) -> None:
    if suffix in ("zip", "xlsx"):
        raw = good[suffix].read_bytes()
    else:
        with tarfile.open(tmp_path / f"good.{suffix}", f"w:{suffix[4:]}") as out:  # type: ignore[call-overload]
            for part in sorted(good["shp"].parent.iterdir()):
                out.add(part, part.name)
        raw = (tmp_path / f"good.{suffix}").read_bytes()
    chance = random.Random(f"{suffix} {SEED}")
    path = tmp_path / f"spoiled.{suffix}"
    for _ in range(5000 if SECONDS else 60):
        path.write_bytes(spoil(raw, chance))
        with suppress(SdiError), staged(path, None, ArchiveLimits(size=50_000_000)) as stage:
            assert stage.main.exists()


@pytest.mark.parametrize("kind", KINDS)
def test_our_own_look_at_a_spoiled_file_answers_or_refuses(good: dict[str, Path], tmp_path: Path, kind: str) -> None:
    chance = random.Random(f"{kind} {SEED}")
    for _ in range(3000 if SECONDS else 60):
        for part in sorted(part for part in good[kind].parent.iterdir() if part.is_file()):
            (tmp_path / part.name).write_bytes(spoil(part.read_bytes(), chance))
        main = tmp_path / good[kind].name
        if kind == "shp":
            shapefile.shortfall(main)
            shapefile.declared_encoding(main)
            shapefile.code_page(main)
        with suppress(SdiError):
            completeness.check_whole(main, main.name)
            completeness.check_count(main, main.name, samples.COUNT)


@quick
@given(st.binary(max_size=400))
def test_any_bytes_are_a_shapefile_or_none(raw: bytes) -> None:
    with TemporaryDirectory() as folder:
        for suffix in (".shp", ".shx", ".dbf", ".cpg"):
            Path(folder, f"a{suffix}").write_bytes(raw)
        main = Path(folder, "a.shp")
        shapefile.shortfall(main)
        shapefile.code_page(main)
        shapefile.declared_encoding(main)
        shapefile.records(main)
        shapefile.has_sound_table(main)


WKB = st.builds(
    lambda order, code, rest: bytes([order]) + code.to_bytes(4, "little" if order else "big") + rest,
    st.sampled_from([0, 1, 2, 255]),
    st.one_of(st.integers(0, 20), st.integers(1000, 3017), st.integers(0, 2**32 - 1)),
    st.binary(max_size=120),
)


@quick
@given(st.lists(st.one_of(st.none(), st.binary(max_size=60), WKB), min_size=1, max_size=12))
def test_any_bytes_are_a_geometry_or_a_finding(raws: list[bytes | None]) -> None:
    findings = Findings(registry()["any_polygon"], len(raws))
    column = pa.chunked_array([pa.array(raws, pa.large_binary())])
    shapes = geometry.finite(geometry.parse(column, len(raws), findings, required=True), findings)
    assert len(shapes) == len(raws)
    gone = np.array([shape is None for shape in shapes])
    assert (findings.quarantined[gone]).all()


TEXTS = st.lists(
    st.one_of(
        st.none(), st.text(max_size=30), st.from_regex(r"\A[+-]?[0-9.,eE ]{0,14}\Z"),
        st.from_regex(r"\A[0-9]{1,4}[/.-]?[0-9]{1,2}[/.-]?[0-9]{1,4}( [0-9:+.Z]{0,14})?\Z"),
    ),
    max_size=8,
)  # fmt: skip


@quick
@example(["1/1/0001", "1/2/0001", "31/12/9999 23:59:59-11:00"], "datetime")
@given(TEXTS, st.sampled_from(["text", "integer", "number", "decimal", "boolean", "date", "datetime"]))
def test_any_text_is_a_value_of_its_type_or_told_as_none(texts: list[str | None], kind: str) -> None:
    column = clean(pa.array(texts, pa.string()))
    made, failed = cast(column, kind, 2 if kind == "decimal" else None)
    assert len(made) == len(failed) == len(texts)
    for before, after, bad in zip(column.to_pylist(), made.is_valid().to_pylist(), failed, strict=True):
        assert bad == (before is not None and not after)


@quick
@given(st.binary(max_size=200), st.sampled_from([*text.ENCODINGS, "CP437", "UTF-16", "SHIFT_JIS"]))
def test_any_bytes_are_decoded_by_any_encoding(raw: bytes, encoding: str) -> None:
    made = text.decode(raw, encoding)
    assert isinstance(made, str)
    text.detect([raw, made])
    text.convert([made, raw.decode("latin-1")], encoding)


@quick
@example("UNDEFINED")
@given(st.text(max_size=60))
def test_any_word_is_a_known_encoding_or_none(word: str) -> None:
    assert shapefile.codec(word) is None or "".encode(shapefile.codec(word) or "") is not None


@quick
@given(st.lists(st.one_of(st.none(), st.text("'=+-@\t\r\n a1,", max_size=8), st.text(max_size=8)), max_size=6))
def test_a_guarded_text_comes_back_as_it_was_and_is_never_calculated(texts: list[str | None]) -> None:
    table = pa.table({"name": pa.array(texts, pa.string())})
    guarded = pa.table({"name": guard.guard(table["name"])})
    assert guard.unguard(guarded)["name"].to_pylist() == texts
    for value in guarded["name"].to_pylist():
        risky = value is not None and value.lstrip(" \t\r\n")[:1] in tuple("=@")
        assert not risky
