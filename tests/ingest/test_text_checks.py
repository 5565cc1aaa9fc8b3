"""Text whose encoding cannot be told is told of, and stays as it was delivered; what speaks for itself is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import shapely

from sdi.contract.delivery import Request
from sdi.ingest.deliver import Received, receive
from tests.ingest.plots import contract, registry, square

X, Y = 603_500.0, 1_191_400.0
PLOTS = """
identifier: {template: "{number}"}
geometry: {type: Polygon}
attributes:
  - {name: number, title: {vi: Số, en: Number}, type: integer}
  - {name: name, title: {vi: Tên, en: Name}, type: text}
"""
BARE = "Hoµ"
"""One word of TCVN3 (Hoà) with one letter beyond ASCII, which might as well be western text."""
WHOLE = ["Hoµ B×nh", "§Êt ë ®« thÞ", "Phưêng TrÇn Phó".replace("ư", "-")]
"""Enough of TCVN3 to be sure of it."""


def told(received: Received) -> list[tuple[str, str | None, object]]:
    return [(each.rule, each.attribute, each.value) for each in received.report.findings]


def test_a_text_that_does_not_tell_its_encoding_is_told_and_kept(hand_in: Callable[..., Received]) -> None:
    plots = [(square(X + 20 * n, Y), {"number": n, "name": name}) for n, name in enumerate([BARE, "Alpha"])]
    received = hand_in(PLOTS, plots)
    assert told(received) == [("text.unsure", "name", BARE)]
    assert received.features().read_all()["name"].to_pylist() == [BARE, "Alpha"]


@pytest.mark.parametrize("names", [["Phường Trần Phú", "Bình Hoà"], ["Alpha", "Beta"]], ids=["Unicode", "ASCII"])
def test_text_that_is_right_as_it_stands_is_not_doubted(hand_in: Callable[..., Received], names: list[str]) -> None:
    plots = [(square(X + 20 * n, Y), {"number": n, "name": name}) for n, name in enumerate(names)]
    assert told(hand_in(PLOTS, plots)) == []


def shapefile(folder: Path, names: list[str]) -> Request:
    """A shapefile whose table says nothing of its encoding: no .cpg, no code page in the header."""
    path = folder / "plots.shp"
    shapes = [shapely.box(X + 20 * n, Y, X + 20 * n + 10, Y + 10) for n in range(len(names))]
    pyogrio.raw.write(
        path, geometry=shapely.to_wkb(shapes), fields=["number", "name"], geometry_type="Polygon", crs="EPSG:9210",
        field_data=[np.arange(len(names), dtype=np.int64), np.array(names, dtype=object)], driver="ESRI Shapefile",
        encoding="CP1252",
    )  # fmt: skip
    path.with_suffix(".cpg").unlink(missing_ok=True)
    table = bytearray(path.with_suffix(".dbf").read_bytes())
    table[29] = 0
    path.with_suffix(".dbf").write_bytes(table)
    return Request(path=path)


@pytest.mark.parametrize(
    ("names", "said"),
    [([BARE], ["text.unsure"]), (["Hoà"], ["text.unsure"]), (WHOLE, ["text.converted"]), (["Alpha"], [])],
    ids=["no word", "a last letter that might be cut UTF-8", "Vietnamese", "ASCII"],
)
def test_a_table_that_does_not_tell_its_encoding_is_told_as_a_whole(
    names: list[str], said: list[str], tmp_path: Path
) -> None:
    received = receive(
        shapefile(tmp_path, names), contract(PLOTS), registry(), grid=9210, extent=(106.3, 10.3, 107.1, 11.2)
    )
    assert [each.rule for each in received.report.findings] == said
    if said == ["text.unsure"]:
        (finding,) = received.report.findings
        assert (finding.attribute, finding.value) == ("*", names[0])
        assert received.features().read_all()["name"].to_pylist() == names
