"""Clients that are not ours, GDAL's OAPIF driver and OWSLib, list, read, filter and count the same features."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyogrio
import pytest
import shapely
from owslib.ogcapi.features import Features

from tests.service.conftest import AWKWARD, CORNER, SIZE, Town, served_apart

SHOWN = 35


@pytest.fixture(scope="module")
def apart(town: Town) -> Iterator[Town]:
    with served_apart(town) as found:
        yield found


def read(apart: Town, layer: str, **options: Any) -> tuple[dict[str, Any], Any, Any, list[Any]]:
    return pyogrio.raw.read(f"OAPIF:{apart.url}/", layer=layer, return_fids=False, **options)  # type: ignore[no-any-return]


def test_gdal_lists_the_layers(apart: Town) -> None:
    layers = pyogrio.list_layers(f"OAPIF:{apart.url}/")
    assert {"plots", "works", "plot_card"} <= set(layers[:, 0])


def test_gdal_reads_every_feature_over_several_pages(apart: Town) -> None:
    meta, _, geometry, fields = read(apart, "plots")
    assert len(geometry) == SHOWN
    names = list(meta["fields"])
    assert "hidden_note" not in names
    kinds = fields[names.index("owner_kind")]
    assert AWKWARD in kinds
    assert "Tổ chức" in kinds


def test_gdal_counts_like_the_service(apart: Town) -> None:
    assert pyogrio.read_info(f"OAPIF:{apart.url}/", layer="plots", force_feature_count=True)["features"] == SHOWN


def sent(town: Town) -> float:
    """Features of the plots that the service has sent so far."""
    line = next(
        line
        for line in town.ask("/metrics").text.splitlines()
        if line.startswith('sdi_features_total{collection="plots"}')
    )
    return float(line.split()[-1])


def test_gdal_has_the_service_compare_a_queryable(apart: Town) -> None:
    expected = apart.get("/collections/plots/items?use=CLN")["numberMatched"]
    before = sent(apart)
    read(apart, "plots")
    whole, before = sent(apart) - before, sent(apart)
    _, _, geometry, _ = read(apart, "plots", where="\"use\" = 'CLN'")
    assert len(geometry) == expected < SHOWN
    assert sent(apart) - before == whole - SHOWN + expected, "all features came, to be filtered by GDAL"


def test_gdal_filters_by_itself_what_it_does_not_ask_for(apart: Town) -> None:
    _, _, geometry, _ = read(apart, "plots", where="number > 2 AND number < 6")
    assert len(geometry) == 3


def test_gdal_searches_by_box(apart: Town) -> None:
    info = pyogrio.read_info(f"OAPIF:{apart.url}/", layer="plots")
    assert info["crs"] == "EPSG:5897", "the storage CRS is the layer's"
    x, y = CORNER
    _, _, geometry, _ = read(apart, "plots", bbox=(x + 1, y + 1, x + 2 * SIZE - 1, y + 2 * SIZE - 1))
    assert len(geometry) == 4


def test_gdal_reads_the_native_grid_to_the_tenth_of_a_millimetre(apart: Town) -> None:
    _, _, geometry, _ = read(apart, "plots")
    bounds = shapely.total_bounds(shapely.from_wkb(geometry))
    assert np.allclose(bounds, [*CORNER, CORNER[0] + 8 * SIZE, CORNER[1] + 5 * SIZE], atol=1e-4)


def test_owslib_finds_its_way(apart: Town) -> None:
    service = Features(f"{apart.url}/")
    assert {"plots", "works", "plot_card"} <= set(service.feature_collections())
    assert service.conformance()["conformsTo"]
    collection = service.collection("plots")
    assert collection["storageCrs"].endswith("/5897")
    assert "number" in service.collection_queryables("plots")["properties"]
    page = service.collection_items("plots", limit=5)
    assert (page["numberMatched"], page["numberReturned"]) == (SHOWN, 5)
    filtered = service.collection_items("plots", filter="number > 2 AND number < 6")
    assert [each["id"] for each in filtered["features"]] == ["00004.1.3", "00004.1.4", "00004.1.5"]
    assert service.collection_item("plots", "00004.1.1")["properties"]["number"] == 1


@pytest.mark.parametrize("layer", ["plots", "works", "plot_card"])
def test_owslib_reads_each_layer(apart: Town, layer: str) -> None:
    service = Features(f"{apart.url}/")
    found = service.collection_items(layer, limit=30)
    assert found["numberReturned"] == min(30, found["numberMatched"]) > 0
