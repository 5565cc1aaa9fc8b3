"""Files of a layer whose places are told less exactly: they hold what GeoJSON tells, of whatever type it is."""

from __future__ import annotations

import io
from pathlib import Path

import geopandas
import pyogrio
import pytest
import shapely

from tests.sharing.city import City
from tests.sharing.test_references import asker, given


@pytest.fixture(scope="module")
def key(city: City) -> str:
    """Of an agency that sees some works on a plot's card, the cards of these alone, and of these only the middle."""
    return asker(city, "sees_middles", given("sees_middles", "plots", precision="centroid"),
                 given("sees_middles", "plots", rows="number < 5"))  # fmt: skip


@pytest.mark.parametrize("format_", ["fgb", "gpkg", "parquet"])
def test_centres_and_areas_stand_in_one_file(city: City, key: str, format_: str, tmp_path: Path) -> None:
    path = "/collections/plots/items?limit=30"
    told = city.town.get(f"{path}&f=json", X_API_Key=key)["features"]
    expected = {each["id"]: shapely.geometry.shape(each["geometry"]) for each in told}
    kinds = {each.geom_type for each in expected.values()}
    assert kinds == {"Point", "MultiPolygon"}, "the comparison would be blind"
    answer = city.town.ask(f"{path}&f={format_}", X_API_Key=key)
    assert answer.status == 200, answer.body[:300]
    if format_ == "parquet":
        table = geopandas.read_parquet(io.BytesIO(answer.body))
        found = dict(zip(table["id"], table.geometry, strict=True))
    else:
        file = tmp_path / f"plots.{format_}"
        file.write_bytes(answer.body)
        _, _, shapes, (ids,) = pyogrio.raw.read(file, columns=["id"])
        found = dict(zip(ids, shapely.from_wkb(shapes), strict=True))
    assert {each.geom_type for each in found.values()} == kinds
    assert found.keys() == expected.keys()
    assert all(shapely.equals_exact(found[name], expected[name], 1e-7) for name in expected)


def test_documents_promise_no_other_shape_than_is_told(city: City, key: str) -> None:
    def told(headers: dict[str, str]) -> list[object]:
        page = city.town.get("/collections/plots/items?f=jsonfg&limit=1", **headers)
        tiles = city.town.get("/collections/plots/tiles/WebMercatorQuad?f=json", **headers)["layers"][0]
        forms = [city.town.get(f"/collections/plots/{document}?f=json", **headers)["properties"]["geometry"]["format"]
                 for document in ("schema", "queryables")]  # fmt: skip
        return [*forms, page.get("geometryDimension"), tiles.get("geometryDimension")]

    assert told({}) == ["geometry-multipolygon", "geometry-multipolygon", 2, 2]
    assert told({"X_API_Key": key}) == ["geometry-any", "geometry-any", None, None]
