"""Vector tiles as clients ask for them: the right features, the right place, the right errors."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable

import pytest
import shapely

from sdi.service.compression import zstd
from sdi.service.tiles import tileset
from sdi.service.tiles.tileset import DETAILED
from sdi.store.tiles import UNITS, Tile
from tests.service.conftest import Answer, Town
from tests.service.tiles.conftest import QUAD, Decoded, address, tile_at

Decode = Callable[[bytes, Tile], dict[str, Decoded]]
MVT = "application/vnd.mapbox-vector-tile"


def tiled(town: Town, path: str, **headers: str) -> Answer:
    answer = town.ask(path, **headers)
    assert (answer.status, answer.headers["Content-Type"]) == (200, MVT), (path, answer.text[:300])
    return answer


@pytest.mark.parametrize("zoom", [15, 16, 17, 19])
def test_the_shapes_of_a_tile_lie_where_the_items_do_to_within_a_step(town: Town, decode: Decode, zoom: int) -> None:
    place = tile_at(zoom, 10, 10)
    found = decode(tiled(town, address(place, "plots")).body, place)["plots"]
    crs = "http://www.opengis.net/def/crs/EPSG/0/3857"
    items = town.get(f"/collections/plots/items?limit=30&crs={crs}&bbox={','.join(map(str, place.box()))}")
    step = 2 * 20037508.342789244 / (1 << zoom) / UNITS
    shapes = dict(zip(found.fields["id"], found.shapes, strict=True))
    width = step * UNITS
    west, north = -20037508.342789244 + place.column * width, 20037508.342789244 - place.row * width
    frame = shapely.box(west, north - width, west + width, north)
    assert items["features"]
    for item in items["features"]:
        there = shapely.intersection(shapely.geometry.shape(item["geometry"]), frame)
        if there.area > 4 * step * step:
            here = shapely.intersection(shapely.make_valid(shapes[item["id"]]), frame)
            assert shapely.hausdorff_distance(here, there) <= 1.5 * step, item["id"]


def test_a_tile_tells_the_values_that_the_items_tell(town: Town, decode: Decode) -> None:
    place = tile_at(16, 10, 10)
    fields = decode(tiled(town, address(place, "plots")).body, place)["plots"].fields
    rows = [dict(zip(fields, values, strict=True)) for values in zip(*fields.values(), strict=True)]
    by_id = {row["id"]: row for row in rows}
    row, item = by_id["00004.1.2"], town.get("/collections/plots/items/00004.1.2")["properties"]
    assert row["number"] == item["number"] == 2**53 + 1
    assert (row["use"], row["owner_kind"], row["valid_from"]) == (item["use"], item["owner_kind"], item["valid_from"])
    assert (row["height"], row["changed_at"]) == (item["height"], item["changed_at"])
    assert bool(row["disputed"]) == item["disputed"]
    assert row["legal_area"] == pytest.approx(item["legal_area"])
    assert json.loads(row["uses"]) == item["uses"]


def test_what_is_hidden_from_the_public_stands_in_no_tile(town: Town, decode: Decode) -> None:
    for zoom in (0, 10, 14, 17):
        place = tile_at(zoom, 70, 50)
        for path in (address(place, "plots"), address(place), f"{address(place)}?collections=plots,plot_card"):
            answer = town.ask(path)
            assert answer.status in (200, 204)
            assert b"CQP" not in answer.body
            assert "mật".encode() not in answer.body
            assert b"hidden_note" not in answer.body
    assert town.ask(address(tile_at(16), "secrets")).status == 404
    assert town.ask(f"{address(tile_at(16))}?collections=secrets").status == 400
    assert "secrets" not in {layer["id"] for layer in town.get(f"/{QUAD}")["layers"]}
    place = tile_at(16, 10, 10)
    listed = town.get(f"/collections/plots/items?limit=30&bbox={','.join(map(str, place.box(-70)))}")
    assert decode(tiled(town, address(place, "plots")).body, place)["plots"].ids >= {
        f["id"] for f in listed["features"]
    }


def test_several_collections_are_layers_of_one_tile_in_the_order_asked(town: Town, decode: Decode) -> None:
    place = tile_at(16, 10, 10)
    for chosen in (["plots", "works"], ["works", "plots"], ["works"], [f"{town.url}/collections/plots", "works"]):
        body = tiled(town, f"{address(place)}?collections={','.join(chosen)}").body
        assert list(decode(body, place)) == [each.rpartition("/")[2] for each in chosen]
        assert body == b"".join(tiled(town, address(place, each.rpartition("/")[2])).body for each in chosen)
    everything = decode(tiled(town, address(place)).body, place)
    assert set(everything) == {"plots", "works", "plot_card"}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("16/29000/51000", 404),
        ("25/0/0", 404),
        ("99/0/0", 404),
        ("016/1/1", 404),
        ("z/1/1", 404),
        ("-1/0/0", 404),
        ("3/8/0", 404),
        ("3/0/8", 404),
        ("3/-1/0", 404),
        ("3/0/999999999999999999999999", 400),
        ("3/x/0", 400),
        ("3/0/1.5", 400),
        ("3/0/%00", 400),
        ("24/0/0", 404),
        ("0/0/0?f=png", 400),
        ("0/0/0?bbox=1,2,3,4", 400),
        ("0/0/0?f=mvt&f=mvt", 400),
    ],
)
def test_an_address_outside_is_not_found_and_a_wrong_one_is_told(town: Town, path: str, status: int) -> None:
    for head in ("", "/collections/plots"):
        answer = town.ask(f"{head}/{QUAD}/{path}")
        assert answer.status == status, answer.text
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json["detail"]


def test_sets_collections_and_choices_that_are_not_there_are_told(town: Town) -> None:
    for path, status in (
        ("/tileMatrixSets/WorldCRS84Quad", 404),
        ("/tiles/WorldCRS84Quad", 404),
        ("/tiles/WorldCRS84Quad/0/0/0", 404),
        ("/collections/plots/tiles/nothing", 404),
        ("/collections/nothing/tiles", 404),
        ("/collections/ground/tiles", 404),
        (f"/collections/ground/{QUAD}", 404),
        (f"/{QUAD}?collections=", 400),
        (f"/{QUAD}?collections=plots,nothing", 400),
        (f"/{QUAD}?collections=ground", 400),
        (f"/collections/plots/{QUAD}?collections=plots", 400),
        ("/tiles?f=tilejson", 400),
    ):
        assert town.ask(path).status == status, path
    detail = town.ask(f"/{QUAD}?collections=plats&lang=vi", Accept_Language="vi").json["detail"]
    assert "không có lớp dữ liệu «plats»" in detail
    assert "plots" in detail


def test_a_tile_without_features_is_a_204(town: Town) -> None:
    limits = town.get(f"/collections/works/{QUAD}")["tileMatrixSetLimits"][18]
    statuses = set()
    for row in range(limits["minTileRow"], limits["maxTileRow"] + 1):
        answer = town.ask(f"/collections/works/{QUAD}/18/{row}/{limits['minTileCol']}")
        statuses.add(answer.status)
        assert bool(answer.body) == (answer.status == 200)
        assert answer.headers["Cache-Control"]
    assert statuses == {200, 204}


def test_every_tile_within_the_limits_is_served_and_none_beyond(town: Town) -> None:
    for collection in ("plots", "works", None):
        head = "" if collection is None else f"/collections/{collection}"
        for limits in town.get(f"{head}/{QUAD}")["tileMatrixSetLimits"]:
            zoom = int(limits["tileMatrix"])
            low, high, left, right = (limits[name] for name in ("minTileRow", "maxTileRow", "minTileCol", "maxTileCol"))
            assert town.ask(f"{head}/{QUAD}/{zoom}/{low}/{left}").status in (200, 204)
            assert town.ask(f"{head}/{QUAD}/{zoom}/{high}/{right}").status in (200, 204)
            if zoom > 10:
                assert town.ask(f"{head}/{QUAD}/{zoom}/{high + 1}/{right}").status == 404
                assert town.ask(f"{head}/{QUAD}/{zoom}/{low}/{left - 1}").status == 404


def test_a_tile_comes_compressed_to_who_takes_it_and_is_not_sent_again(town: Town) -> None:
    path = address(tile_at(16, 10, 10), "plots")
    plain, packed = tiled(town, path), tiled(town, path, Accept_Encoding="gzip")
    assert packed.headers["Content-Encoding"] == "gzip"
    assert packed.headers["Content-Length"] == str(len(packed.body))
    assert gzip.decompress(packed.body) == plain.body
    assert len(packed.body) < len(plain.body) / 2
    # It is kept as gzip: nobody who takes that is given another coding, made anew.
    assert tiled(town, path, Accept_Encoding="gzip, zstd").body == packed.body
    other = tiled(town, path, Accept_Encoding="zstd, gzip;q=0")
    assert (other.headers["Content-Encoding"], zstd.decompress(other.body)) == ("zstd", plain.body)
    assert len({answer.headers["ETag"] for answer in (plain, packed, other)}) == 3
    for answer in (plain, packed, other):
        again = town.ask(path, If_None_Match=answer.headers["ETag"], Accept_Encoding="gzip, zstd")
        assert (again.status, again.body) == (304, b"")
    head = town.ask(path, "HEAD")
    assert (head.status, head.body, head.headers["ETag"]) == (200, b"", plain.headers["ETag"])


def test_a_far_zoom_draws_together_what_nobody_sees_alone(town: Town, decode: Decode) -> None:
    # 20 m are 40 of 4096 steps of a tile between zoom 15 and 14; a point is seen at any zoom.
    place = tile_at(15, 10, 10)
    near = decode(tiled(town, address(place, "plots")).body, place)["plots"]
    count = town.get("/collections/plots/items?limit=1")["numberMatched"]
    assert len(near.ids) == count
    assert "sdi_count" not in near.fields
    place = tile_at(9, 10, 10)
    far = decode(tiled(town, address(place, "plots")).body, place)["plots"]
    assert set(far.fields) - {"mvt_id"} == {"use", "sdi_count"}
    assert sum(far.fields["sdi_count"]) == count, "what is withheld is not counted"
    assert len(decode(tiled(town, address(place, "works")).body, place)["works"].ids) == 5


def test_where_a_tile_holds_many_features_have_what_the_map_shows_until_they_are_looked_at_closely(
    town: Town, decode: Decode, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fields(zoom: int) -> set[str]:
        place = tile_at(zoom, 10, 10)
        return set(decode(tiled(town, address(place, "works")).body, place)["works"].fields) - {"mvt_id"}

    everything = fields(DETAILED)
    assert everything == {"id", "permit", "floors", "issued"}
    assert fields(DETAILED - 1) == everything, "few are told in full at any zoom"
    monkeypatch.setattr(tileset, "FEW", 0)
    assert fields(DETAILED) == everything
    style = town.registry["works"].style
    assert fields(DETAILED - 1) == {"id", style.classify, style.label} - {None}
