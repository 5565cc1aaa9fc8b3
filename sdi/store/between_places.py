"""In which unit a feature lies: inner points against the units of another layer that are in force on the day.

There are few units and very many points, so the units are fetched, prepared once, and asked here: 0.3 µs a point, where
PostgreSQL would find the unit anew for each, 20 µs a point.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray
from psycopg import sql

from sdi.store.between_rules import Asking
from sdi.store.engine import Connection

Rows = NDArray[np.intp]
Places = NDArray[np.float64]
"""(n, 2) longitude, latitude; NaN where there is none."""

PLACED = frozenset({"place.commune", "place.nowhere"})
"""The rules that are asked here."""
_AXIS, _FLATTENING = 6_378_137.0, 1 / 298.257223563
"""WGS 84, metres."""


@dataclass(frozen=True)
class Met:
    """One finding in the making. `rule` None: the check's own."""

    rule: str | None
    source_row: int
    id: str
    attribute: str | None
    value: Any
    limit: Any
    other: Any
    place: tuple[float, float] | None


@dataclass
class Units:
    """The units of one check, and what was found with them."""

    asking: Asking
    codes: list[str | None]
    shapes: NDArray[Any]
    """In EPSG:4326, prepared."""
    met: list[Met] = field(default_factory=list)

    @classmethod
    def fetch(cls, connection: Connection, asking: Asking) -> Units:
        frame = asking.other.frame
        code = sql.SQL("NULL::text") if frame is None else sql.Identifier(frame)
        statement = asking.statement(
            "SELECT {code}, ST_AsBinary(u.geom_wgs84) FROM {units} u WHERE u.geom_wgs84 IS NOT NULL",
            code=code, units=asking.others(now=True),
        )  # fmt: skip
        rows = connection.execute(statement.sql, statement.params).fetchall()
        shapes = shapely.from_wkb(np.array([bytes(row[1]) for row in rows], dtype=object))
        shapely.prepare(shapes)
        return cls(asking, [row[0] for row in rows], shapes)

    def look(self, rows: pa.RecordBatch, places: Places) -> None:
        """Ask of some features, whose inner points are `places`."""
        if self.asking.check.rule == "place.commune":
            self.met += self._not_in_their_own(rows, places)
        else:
            self.met += self._not_in_any(rows, places)

    def _not_in_their_own(self, rows: pa.RecordBatch, places: Places) -> Iterator[Met]:
        name = self.asking.said["attribute"]
        coded = pc.fill_null(rows[name], "").dictionary_encode()
        which = np.asarray(coded.indices)
        for number, code in enumerate(coded.dictionary.to_pylist()):
            members = np.flatnonzero(which == number)
            own = [shape for shape, known in zip(self.shapes, self.codes, strict=True) if known == code]
            if code == "":
                continue
            if not own:
                yield from self._tell(rows, places, members, "place.unknown", name, code, self.asking.day.isoformat())
                continue
            outside = members[np.isfinite(places[members, 0])]
            for shape in own:
                outside = outside[~shapely.intersects_xy(shape, *places[outside].T)]
            if len(outside):
                metres = np.min([distance(shape, places[outside]) for shape in own], axis=0)
                far, limit = metres > self.asking.tolerance, self.asking.tolerance
                for row, value in zip(outside[far], metres[far], strict=True):
                    yield from self._tell(rows, places, [row], None, name, round(float(value), 1), limit, code)

    def _not_in_any(self, rows: pa.RecordBatch, places: Places) -> Iterator[Met]:
        left = np.flatnonzero(np.isfinite(places[:, 0]))
        for shape, (west, south, east, north) in zip(self.shapes, shapely.bounds(self.shapes), strict=True):
            lon, lat = places[left].T
            near = np.flatnonzero((lon >= west) & (lon <= east) & (lat >= south) & (lat <= north))
            left = np.delete(left, near[shapely.intersects_xy(shape, lon[near], lat[near])])
        return self._tell(rows, places, left, None, None, None, self.asking.other.id)

    def _tell(
        self, rows: pa.RecordBatch, places: Places, chosen: Sequence[int] | Rows, rule: str | None,
        attribute: str | None, value: Any, limit: Any, other: Any = None,
    ) -> Iterator[Met]:  # fmt: skip
        for row in chosen:
            lon, lat = places[row].tolist()
            place = (lon, lat) if np.isfinite(lon) else None
            yield Met(
                rule, rows["source_row"][row].as_py(), rows["id"][row].as_py(), attribute, value, limit, other, place
            )


def distance(shape: Any, places: Places) -> NDArray[np.float64]:
    """Metres from places to a shape in EPSG:4326, 0 within. In the plane that touches the ellipsoid at the latitude of
    the shape's middle: right to a thousandth for what is some kilometres away."""
    latitude = np.radians(shapely.bounds(shape)[[1, 3]].mean())
    square = _FLATTENING * (2 - _FLATTENING)
    bulge = 1 - square * np.sin(latitude) ** 2
    scale = np.radians(1) * np.array([
        _AXIS * np.cos(latitude) / np.sqrt(bulge), _AXIS * (1 - square) / bulge**1.5
    ])  # fmt: skip
    plane = shapely.transform(shape, lambda lonlat: lonlat * scale)
    shapely.prepare(plane)
    metres: NDArray[np.float64] = shapely.distance(plane, shapely.points(places * scale))
    return metres
