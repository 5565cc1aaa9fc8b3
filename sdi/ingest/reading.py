"""What is decided once for a whole delivery before a value of it is read, so that no part of it decides for itself.

The file is looked through first: how its text is encoded, how its numbers are written, where its coordinates are and in
which grid. Only the columns that tell are read for that.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import shapely

from sdi.contract.delivery import Request
from sdi.contract.layer import Geometry, Layer
from sdi.contract.naming import Naming
from sdi.errors import SourceError
from sdi.ingest import coordinates, geometry, place
from sdi.ingest.cast import Style, clean, style_of
from sdi.ingest.conform import Match, match
from sdi.ingest.encoding import Encodings, Evidence, is_text
from sdi.ingest.findings import Findings
from sdi.ingest.geometry import Shapes
from sdi.ingest.place import Box, Placement
from sdi.ingest.source import WKB, Source


@dataclass(frozen=True)
class Reading:
    """How every part of a delivery is read."""

    request: Request
    layer: Layer
    encodings: Encodings
    geometry_columns: coordinates.Columns | None
    """None: the file has geometry of its own, or none at all."""
    matched: Match
    styles: Mapping[str, Style]
    where: Placement

    @property
    def contract(self) -> Geometry:
        assert self.layer.geometry is not None
        return self.layer.geometry

    @property
    def naming(self) -> Naming:
        """How findings call the attributes: beside each its column, where it was read from one."""
        return Naming(self.layer, self.matched.single)

    def decode(self, table: pa.Table, findings: Findings) -> pa.Table:
        return self.encodings.decode(table, findings)

    def raw_shapes(self, table: pa.Table, findings: Findings) -> Shapes:
        """Geometry of a decoded part as the file has it, each with finite coordinates; x is east."""
        shapes = _parse(table, self.geometry_columns, self.contract, findings)
        return geometry.finite(geometry.swap(shapes) if self.request.swapped else shapes, findings)


def survey(
    source: Source, request: Request, layer: Layer, grid: int, extent: Box | None, findings: Findings
) -> tuple[Reading, int]:
    """Look through a delivery; returns how it is read, and how many features it has.

    grid, extent: see `deliver.receive`. Raises UsageError and SourceError.
    """
    texts = [name for name, kind in source.kinds.items() if is_text(kind)]
    evidence, count = Evidence(source.facts, source.columns), 0
    for number in range(source.parts):
        part = source.part(number, texts or source.columns[:1])
        count += part.num_rows
        evidence.see(part)
    if not count:  # a full load of nothing would end every feature there is
        raise SourceError(f"{source.facts.file_name} holds no feature.", hint="Compare the export with its source.")
    look = _Look(source, request, layer, evidence.decide(request.encoding, findings), texts)
    found, dropped = look.geometry_columns()
    matched = match(layer, [name for name in look.names if name not in dropped], request)
    styles = look.styles(matched.numeric(layer) | set(found.names if found else ()))
    box = None
    if found is not None and len(found.names) == 2:
        found, box = look.plane(found, styles)
    elif not place.certain(source.facts, request):
        box = look.bounds(found)
    where = place.decide(source.facts, request, grid, extent, box, found.epsg if found else None)
    return Reading(request, layer, look.encodings, found, matched, styles, where), count


@dataclass(frozen=True)
class _Look:
    """One delivery while it is looked through. `texts`: its text columns as the file names them."""

    source: Source
    request: Request
    layer: Layer
    encodings: Encodings
    texts: list[str]

    @property
    def names(self) -> list[str]:
        return [self.encodings.names[name] for name in self.source.columns]

    def parts(self, names: Collection[str]) -> Iterator[pa.Table]:
        """These columns of each part, decoded; what is found in them is found again when they are read."""
        columns = [name for name in self.source.columns if self.encodings.names[name] in names]
        for number in range(self.source.parts if columns else 0):
            part = self.source.part(number, columns)
            yield self.encodings.decode(part, Findings(self.layer, part.num_rows))

    def geometry_columns(self) -> tuple[coordinates.Columns | None, frozenset[str]]:
        """Where the coordinates of a table stand, and which columns are no attributes therefore."""
        assert self.layer.geometry is not None
        table = self.source.facts.driver in coordinates.TABLES
        if WKB in self.names or not table:
            return None, frozenset({WKB, *(coordinates.wkt_columns(self.names) if table else ())})
        texts = [self.encodings.names[name] for name in self.texts]
        found = coordinates.find(self.names, texts, self.source.facts.file_name, self.layer.geometry.required)
        return found, frozenset(found.names)

    def styles(self, numeric: Collection[str]) -> dict[str, Style]:
        """How the numbers in text columns are written."""
        styles: dict[str, Style] = {}
        texts = {self.encodings.names[name] for name in self.texts}
        for part in self.parts(texts & set(numeric)):
            for name in part.column_names:
                styles[name] = styles.get(name, Style()) | style_of(clean(part[name]))
        return styles

    def plane(self, found: coordinates.Columns, styles: Mapping[str, Style]) -> tuple[coordinates.Columns, Box | None]:
        """Decide by all their numbers which of two coordinate columns is which; and the box of the points."""
        found = replace(found, styles=tuple(styles.get(name, Style()) for name in found.names))
        parts = [coordinates.numbers(part, found) for part in self.parts(found.names)]
        x, y = (np.concatenate([part[axis] for part in parts]) for axis in (0, 1))
        found = replace(found, exchanged=found.paper and coordinates.is_paper(x, y))
        there = np.isfinite(x) & np.isfinite(y)
        if not there.any():
            return found, None
        x, y = (y[there], x[there]) if found.exchanged != self.request.swapped else (x[there], y[there])
        return found, (float(x.min()), float(y.min()), float(x.max()), float(y.max()))

    def bounds(self, found: coordinates.Columns | None) -> Box | None:
        """The box of all coordinates as the file has them."""
        assert self.layer.geometry is not None
        box: Box | None = None
        for part in self.parts({WKB} if found is None else found.names):
            ignored = Findings(self.layer, part.num_rows)
            shapes = _parse(part, found, self.layer.geometry, ignored)
            shapes = geometry.finite(geometry.swap(shapes) if self.request.swapped else shapes, ignored)
            box = join(box, geometry.bounds_of(shapes))
        return box


def join(one: Box | None, two: Box | None) -> Box | None:
    """The box of two boxes."""
    if one is None or two is None:
        return one or two
    return min(one[0], two[0]), min(one[1], two[1]), max(one[2], two[2]), max(one[3], two[3])


def _parse(table: pa.Table, found: coordinates.Columns | None, contract: Geometry, findings: Findings) -> Shapes:
    column = table[WKB] if WKB in table.column_names else None
    if found is not None:
        points = shapely.to_wkb(coordinates.points(table, found))
        column = pa.chunked_array([pa.array(points, pa.large_binary())])
    return geometry.parse(column, table.num_rows, findings, contract.required)
