"""One layer in the city's catalogue: what its contract promises and what the ledger knows of it, for who asks.

A record, a DCAT dataset and an ISO 19115 document are three ways to write the same entry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from typing import Any, Protocol

from sdi.catalog.collection import Published
from sdi.contract.layer import Layer, Text

CATALOGUE = "data-catalogue"
"""The id of the collection of records. A layer's id has no hyphen, so no contract can take it."""
JSONLD = "application/ld+json"
OGC_CATALOG = "application/ogc-catalog+json"
ISO19139 = "application/vnd.iso.19139+xml"
DOWNLOADS = ("enclosure", "http://www.opengis.net/def/rel/ogc/1.0/coverage")
"""Relations of links to a whole layer as a file."""
_SPDX = frozenset({
    "CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0", "CC-BY-ND-4.0", "CC-BY-3.0", "ODbL-1.0", "ODC-By-1.0",
    "PDDL-1.0", "CDLA-Permissive-2.0", "OGL-UK-3.0", "etalab-2.0",
})  # fmt: skip
"""Licences of data that have an SPDX identifier."""


class Loaded(Published, Protocol):
    """What the ledger says of a layer, with its counts and dates. All of it is already that of who asks."""

    @property
    def count(self) -> int: ...
    @property
    def loaded_at(self) -> datetime: ...
    @property
    def changed_at(self) -> datetime: ...


class Rated(Protocol):
    """One element of ISO 19157-1; `rate` is faulty of evaluated, 0 to 1."""

    @property
    def element(self) -> str: ...
    @property
    def rate(self) -> float: ...
    @property
    def evaluated_at(self) -> datetime: ...


@dataclass(frozen=True)
class Checksum:
    """Of a prepared file: SHA-256 in hexadecimal digits, and its size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Publisher:
    """Who runs the service: its titles, the contact's e-mail or nothing, and its address without a slash behind it."""

    title: Text
    email: str
    url: str

    @property
    def catalogue(self) -> str:
        """The address of the collection of records."""
        return f"{self.url}/collections/{CATALOGUE}"


@dataclass(frozen=True)
class Entry:
    """`links`: those of the layer's collection, titles in the language of the answer. `files`: by the links' href."""

    layer: Layer
    published: Loaded
    created: datetime
    links: Sequence[Mapping[str, Any]]
    publisher: Publisher
    rates: Sequence[Rated] = ()
    files: Mapping[str, Checksum] = field(default_factory=dict)

    @property
    def collection(self) -> str:
        return f"{self.publisher.url}/collections/{self.layer.id}"

    @property
    def record(self) -> str:
        return f"{self.publisher.catalogue}/items/{self.layer.id}"

    @property
    def updated(self) -> datetime:
        """The last load, whether or not it changed a row: when it began; of the first it is known when it ended."""
        return max(self.published.loaded_at, self.created)

    @property
    def data_links(self) -> list[Mapping[str, Any]]:
        """The links that lead to the data and to what is said about it, not to the collection's own document."""
        own = ("self", "alternate", "root", "parent", "describedby")
        return [link for link in self.links if link["rel"] not in own]

    @property
    def formats(self) -> list[tuple[str, str]]:
        """(name, media type) of what the data is handed out in, each once, in the order of the links."""
        rels = ("items", *DOWNLOADS)
        types = dict.fromkeys(_bare(str(link["type"])) for link in self.links if link["rel"] in rels)
        return [(_NAMES.get(each, each), each) for each in types if each != "text/html"]

    @property
    def interval(self) -> tuple[str | None, str | None] | None:
        """First and last day or instant (UTC) of what the layer tells; None: open. None in all: it tells no time."""
        published = self.published
        if self.layer.temporal is None or published.time_start is published.time_end is None:
            return None
        ends = [published.time_start, published.time_end]
        days = all(end is None or end.astimezone(UTC).time() == time() for end in ends)
        form = day if days else stamp
        first, last = [None if end is None else form(end) for end in ends]
        return first, last


def stamp(moment: datetime) -> str:
    """An instant as RFC 3339 has it, in UTC to the second."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def day(moment: datetime) -> str:
    """The day of an instant in UTC."""
    return moment.astimezone(UTC).date().isoformat()


def spdx(entry: Entry) -> str:
    """The licence's SPDX identifier; `other` where it has none."""
    return entry.layer.licence.id if entry.layer.licence.id in _SPDX else "other"


def licence_at(entry: Entry) -> str:
    """Where the licence is written: its own address, SPDX's, or the record, which has the steward's terms."""
    licence = entry.layer.licence
    if licence.url:
        return licence.url
    return f"https://spdx.org/licenses/{licence.id}" if licence.id in _SPDX else f"{entry.record}?f=html"


def ring(extent: tuple[float, float, float, float]) -> list[list[float]]:
    """A box (west, south, east, north, degrees) as a closed ring of lon/lat, counter-clockwise."""
    west, south, east, north = extent
    return [[west, south], [east, south], [east, north], [west, north], [west, south]]


_NAMES = {
    "application/geo+json": "GeoJSON", "application/ld+json": "JSON-LD", "application/vnd.ogc.fg+json": "JSON-FG",
    "application/geo+json-seq": "GeoJSONSeq", "text/csv": "CSV", "application/flatgeobuf": "FlatGeobuf",
    "application/geopackage+sqlite3": "GeoPackage", "application/vnd.apache.parquet": "GeoParquet",
    "application/prs.coverage+json": "CoverageJSON", "image/tiff": "GeoTIFF",
}  # fmt: skip


def _bare(media_type: str) -> str:
    """Without what says how it is written, such as `charset`."""
    return media_type.partition(";")[0]
