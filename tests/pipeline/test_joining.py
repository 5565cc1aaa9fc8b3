"""The derived layers stay true whatever the order in which deliveries come."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sdi.national import vn2000
from tests.deployment import Deployment


def write_parcel(folder: Path, number: str, east: float) -> Path:
    """A parcel of 10 by 20 m in EPSG:5897 near Hoàn Kiếm, as GeoJSON in WGS 84.

    Each commune code is a delivery of its own.
    """
    west, south = 588400.0 + east, 2326300.0
    ring = np.array([(west, south), (west + 10, south), (west + 10, south + 20), (west, south + 20), (west, south)])
    coordinates = [vn2000.to_wgs84(ring, 5897).tolist()]
    properties = {"maXa": f"0000{number}", "soTo": "1", "soThua": number, "mdsd": "ODT"}
    path = folder / f"parcel{number}.geojson"
    feature = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": coordinates}, "properties": properties}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}), encoding="utf-8")
    return path


def permits_of(at: Deployment) -> dict[str, list[tuple[str, str]]]:
    rows = at.rows("SELECT id, permits FROM cadastre.parcel_overview ORDER BY id")
    return {parcel: [(permit["id"], permit["by"]) for permit in permits or []] for parcel, permits in rows}


def test_a_permit_leaves_the_parcel_it_lay_on_when_the_parcel_of_its_key_arrives(
    new_deployment: Callable[..., Deployment], tmp_path: Path
) -> None:
    at = new_deployment()
    permits = tmp_path / "permits.csv"
    # The key names parcel 2, 500 m away, which is not delivered yet; the point lies on parcel 1.
    permits.write_text("soGiayPhep,maXa,soTo,soThua,x,y\nGP1,00002,1,2,588405,2326310\n", encoding="utf-8")
    at.deliver("construction_permits", permits, crs="EPSG:5897")
    at.deliver("cadastral_parcels", write_parcel(tmp_path, "1", 0))
    assert permits_of(at) == {"00001.1.1": [("GP1", "place")]}
    at.deliver("cadastral_parcels", write_parcel(tmp_path, "2", 500))
    assert permits_of(at) == {"00001.1.1": [], "00002.1.2": [("GP1", "key")]}
