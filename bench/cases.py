"""What everybody is asked, and how each is asked it; and whether they answer the same."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import Any
from urllib.parse import quote

import numpy as np
from land import GRID, LAYER

from sdi.store.ledger import Publication

PLACES = 200
"""Questions of a case that are asked in turn."""
USE = "ODT"
NATIVE = f"http://www.opengis.net/def/crs/EPSG/0/{GRID}"
ZOOMS = (12, 13, 14, 15, 16)
_PATIENCE = 30
"""Seconds that a single answer is waited for."""


@dataclass(frozen=True)
class Case:
    """`kind`: of `bare.WHERE`, after `native ` with coordinates of the layer's grid; or `tile`. `alike`: everybody's
    answers have the same features; else only as many, or (tiles below z16) each generalises in its own way.
    """

    name: str
    kind: str
    questions: list[dict[str, Any]]
    alike: bool = True
    counted: bool = True


Address = Callable[[Case, dict[str, Any]], str | None]
"""The path of a question; None: this server has no such thing."""


@dataclass
class Contender:
    """A server that runs. pids: its first processes, whose trees are it."""

    name: str
    port: int
    address: Address
    pids: list[int]
    prefix: str = ""
    """`…/collections/{name}` below its root; empty: it is no OGC API."""
    held: bool = False
    """Asked again with the tags of what was answered."""
    tags: dict[str, str] = field(default_factory=dict)


def cases(
    publication: Publication, ids: list[str], behind: list[list[tuple[int, str]]], begins: int = 0
) -> Iterator[Case]:  # fmt: skip
    """ids: some features'. behind: for each case offsets, with the id of the feature before each. begins: the zoom from
    which on our tiles show the layer."""
    box_100, box_1000, box_2000 = (boxes(publication, count) for count in (100, 1000, 2000))
    yield Case("bbox, 100 features", "box", [{**box, "limit": 1000} for box in box_100])
    yield Case("bbox, 1,000 features", "box", [{**box, "limit": 2000} for box in box_1000])
    # As QGIS asks, which takes the largest page that a service allows.
    yield Case("bbox, 100, limit of 10,000", "box", [{**box, "limit": 10_000} for box in box_100])
    yield Case("bbox, 1,000 of 2,000", "box", [{**box, "limit": 1000} for box in box_2000], alike=False)
    yield Case("filter + bbox, 600 of 1,000", "filter", [{**box, "use": USE, "limit": 2000} for box in box_1000])
    yield Case("native CRS, bbox, 1,000", "native box", [{**box, "limit": 2000} for box in box_1000])
    yield Case("item by id", "item", [{"id": id, "limit": 1} for id in ids])
    yield Case("first page of 1,000", "page", [{"limit": 1000}], alike=False)
    for places in behind[:1]:
        # Like the first page the same one each time: what is asked again is told from memory that is at hand.
        again = {"limit": 1000, "offset": places[0][0], "after": places[0][1]}
        yield Case(f"one page behind {places[0][0]:,}", "deep", [again], alike=False)
    for places in behind:
        pages = [{"limit": 1000, "offset": offset, "after": after} for offset, after in places]
        yield Case(f"1,000 behind {places[0][0]:,}", "deep", pages, alike=False)
    yield Case("page of 10,000", "page", [{"limit": 10_000}], alike=False)
    for zoom in range(max(ZOOMS[0], begins), ZOOMS[-1] + 1):
        yield Case(f"tile, z{zoom}", "tile", tiles(publication, zoom), alike=False, counted=zoom == 16)


def boxes(publication: Publication, count: int) -> list[dict[str, float]]:
    """Boxes that hold about so many parcels, as far as there are so many."""
    assert publication.extent is not None
    west, south, east, north = publication.extent
    share = min(0.95, (count / publication.count) ** 0.5)
    dx, dy = (east - west) * share, (north - south) * share
    chance = np.random.default_rng(count)
    starts = chance.uniform((west, south), (east - dx, north - dy), (PLACES, 2)).tolist()
    return [{"w": x, "s": y, "e": x + dx, "n": y + dy} for x, y in starts]


def tiles(publication: Publication, zoom: int) -> list[dict[str, int]]:
    """Tiles that lie in the layer, column and row of WebMercatorQuad; the outermost only where there are no others."""
    assert publication.extent is not None
    west, south, east, north = publication.extent
    (left, top), (right, bottom) = _tile(west, north, zoom), _tile(east, south, zoom)
    columns = range(left + 1, right) if right - left > 1 else range(left, right + 1)
    rows = range(top + 1, bottom) if bottom - top > 1 else range(top, bottom + 1)
    found = [{"z": zoom, "x": x, "y": y} for x in columns for y in rows]
    np.random.default_rng(zoom).shuffle(found)  # type: ignore[arg-type]
    return found[:PLACES]


def _tile(longitude: float, latitude: float, zoom: int) -> tuple[int, int]:
    north = math.asinh(math.tan(math.radians(latitude)))
    return int((longitude + 180) / 360 * 2**zoom), int((1 - north / math.pi) / 2 * 2**zoom)


# --- addresses ----------------------------------------------------------------------------------------------------


def ogc(
    prefix: str, *, form: str = "f=json", filters: str | None = None, native: str | None = None,
    tile: str | None = None, cursors: dict[int, str] | None = None,
) -> Address:  # fmt: skip
    """Addresses of OGC API Features. prefix: `…/collections/{name}`. form: asks for GeoJSON. filters: the rest of a
    query string. native: what follows the prefix and has coordinates of the layer's grid. tile: what follows the prefix
    and is a tile, with {z}, {x} and {y}. cursors: addresses of deep pages by offset. None: there is none.
    """

    def address(case: Case, asked: dict[str, Any]) -> str | None:
        if case.kind == "tile":
            return tile and prefix + tile.format(**asked)
        if case.kind == "item":
            return f"{prefix}/items/{quote(asked['id'])}?{form}"
        if cursors and case.kind == "deep":
            return cursors[asked["offset"]]
        told = [form, f"limit={asked['limit']}"]
        if "offset" in asked:
            told.append(f"offset={asked['offset']}")
        if "w" in asked:
            told.append("bbox=" + ",".join(repr(asked[side]) for side in "wsen"))
        if case.kind == "filter":
            if filters is None:
                return None
            told.append(filters)
        if case.kind.startswith("native"):
            return native and f"{prefix}{native}&{'&'.join(told)}"
        return f"{prefix}/items?{'&'.join(told)}"

    return address


def at_bare(case: Case, asked: dict[str, Any]) -> str:
    return f"/?n={quote(case.kind)}&v={quote(json.dumps(asked))}"


# --- equal content ------------------------------------------------------------------------------------------------


def get(port: int, path: str) -> tuple[int, bytes, dict[str, str]]:
    connection = HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()}


def differences(contenders: Iterable[Contender], case: Case, question: dict[str, Any]) -> dict[str, str]:
    """By contender what is not as the bare route answers it, or that it does not answer; empty where all is equal."""
    told: dict[str, str] = {}
    expected: Any = None
    for each in contenders:
        path = each.address(case, question)
        if path is None:
            continue
        try:
            status, body, _ = get(each.port, path)
        except TimeoutError:
            told[each.name] = f"answers nothing in {_PATIENCE} s"
            continue
        if status not in (200, 204):
            told[each.name] = f"answers {status}"
            continue
        found: Any = _tile_features(body) if case.kind == "tile" else features(body)
        expected = found if expected is None else expected
        wrong = _wrong(case, expected, found)
        if wrong:
            told[each.name] = wrong
    return told


def _wrong(case: Case, expected: Any, found: Any) -> str:
    if case.kind == "tile":
        return f"{found} features for {expected}" if case.counted and found != expected else ""
    if not case.alike:
        return f"{len(found)} features for {len(expected)}" if len(found) != len(expected) else ""
    if found.keys() != expected.keys():
        return f"{len(found.keys() - expected.keys())} other features, {len(expected.keys() - found.keys())} missing"
    far = max(max(map(abs, np.subtract(found[id][0], expected[id][0]).flat), default=0) for id in expected)
    if far > (1e-3 if case.kind.startswith("native") else 2e-8):
        return f"coordinates differ by {far:.2g}"
    other = [id for id in expected if not expected[id][1].items() <= found[id][1].items()]
    return f"{len(other)} features have other values" if other else ""


def features(body: bytes) -> dict[str, tuple[list[Any], dict[str, str]]]:
    """By id: corners in order of place, and what is not empty as text; Multi or not, written so or so, is the same."""
    page = json.loads(body)
    return {
        str(each["id"]): (sorted(_corners(each["geometry"]["coordinates"])), _values(each["properties"]))
        for each in page.get("features", [page])
    }


def _corners(coordinates: Any) -> Iterator[list[float]]:
    if isinstance(coordinates[0], float | int):
        yield [round(each, 8) for each in coordinates]
    else:
        for part in coordinates:
            yield from _corners(part)


def _values(properties: dict[str, Any]) -> dict[str, str]:
    """Numbers by their value; an array of objects is left out, for each server writes it in its own way."""
    told = {}
    for name, value in properties.items():
        if isinstance(value, int | float) or (isinstance(value, str) and value.replace(".", "", 1).isdigit()):
            told[name] = f"{float(value):.6g}"
        elif value is not None and not isinstance(value, list | dict):
            told[name] = str(value)
    return told


def _tile_features(body: bytes) -> int:
    """Features of a vector tile: fields 2 of its layers, which are fields 3 of it."""
    return sum(1 for layer in _fields(body, 3) for _ in _fields(layer, 2))


def _fields(message: bytes, wanted: int) -> Iterator[bytes]:
    """The length-delimited fields of that number in a protocol buffer's message."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        size = 0
        if key & 7 == 0:
            _, at = _varint(message, at)
        elif key & 7 == 2:
            size, at = _varint(message, at)
        else:
            size = 8 if key & 7 == 1 else 4
        if key & 7 == 2 and key >> 3 == wanted:
            yield message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def following(port: int, offsets: Iterable[int], limit: int) -> dict[int, str]:
    """Our own addresses of the pages behind: the `next` of the page before each."""
    found = {}
    for offset in offsets:
        body = json.loads(get(port, f"/collections/{LAYER}/items?f=json&limit=1&offset={offset - 1}")[1])
        href = next(str(each["href"]) for each in body["links"] if each["rel"] == "next")
        found[offset] = href[href.index("/collections") :].replace("limit=1&", f"limit={limit}&")
    return found
