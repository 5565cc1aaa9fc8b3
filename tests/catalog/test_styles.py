"""Styles from a contract: scales, texts and widths, without a service."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from sdi import access
from sdi.catalog.styles import maplibre, qml, scale, sld
from sdi.catalog.styles import portrayal as look
from sdi.catalog.styles.portrayal import Portrayal, portrayal
from sdi.contract.layer import Text
from sdi.contract.registry import Registry, read_registry

ROOT = Path(__file__).resolve().parents[2]
TOWN = ROOT / "tests" / "service" / "town"
HANOI = (105.80, 21.00, 105.90, 21.05)
AWKWARD = 'Thửa <b>"đất"</b> & ]]> \\ \''


@pytest.fixture(scope="module")
def town() -> Registry:
    return read_registry(TOWN)


def plots(town: Registry, visible: tuple[str, ...] | None = None, count: int = 100, language: str = "vi") -> Portrayal:
    layer = town["plots"]
    names = access.visible(access.PUBLIC, layer) if visible is None else visible
    return portrayal(layer, town.code_lists, language, names, count=count, extent=HANOI)


def test_few_features_are_drawn_and_labelled_at_every_scale_and_many_from_where_a_screen_holds_them(
    town: Registry,
) -> None:
    few, many, most = plots(town), plots(town, count=10_000), plots(town, count=1_000_000)
    assert (few.labelled, few.drawn) == (None, None)
    assert many.labelled is not None
    assert many.drawn is None
    assert most.labelled is not None
    assert most.drawn is not None
    assert most.labelled < many.labelled
    assert most.labelled < most.drawn
    # On a screen of 1920 by 1080 pixels at that scale lie no more than so many.
    area = (HANOI[2] - HANOI[0]) * 111_320 * 0.933 * (HANOI[3] - HANOI[1]) * 110_574
    assert 1_000_000 / area * scale.SCREEN_M2 * most.drawn**2 <= look.DRAWN * 1.01


def test_a_scale_is_one_that_people_use(town: Registry) -> None:
    found = {scale.holding(400, 10**power, HANOI) for power in range(3, 8)}
    assert found <= set(scale.ROUND)
    assert scale.holding(400, 10**6, None) is None
    assert scale.holding(400, 10**6, (105.0, 21.0, 105.0, 21.0)) is None


def test_a_zoom_and_its_scale_are_each_others_inverse() -> None:
    for denominator in (500, 2_500, 1_000_000):
        assert scale.denominator_of(scale.zoom_of(denominator, 21.0), 21.0) == pytest.approx(denominator)
    # 512 pixels of 1/96 inch are the equator at zoom 0.
    assert scale.denominator_of(0, 0.0) == pytest.approx(295_829_355, rel=1e-3)


def test_who_does_not_see_an_attribute_finds_it_in_no_style(town: Registry) -> None:
    blind = plots(town, visible=("key",))
    texts = [
        qml.document(blind).decode(),
        sld.document(blind).decode(),
        json.dumps(maplibre.document("", "", [blind], None)),
    ]
    for text in texts:
        assert "ODT" not in text
        assert '"use"' not in text
        assert ">number<" not in text
    assert plots(town).classify == "use"


def test_who_is_told_only_centres_sees_points(town: Registry) -> None:
    layer = town["plots"]
    names = access.visible(access.PUBLIC, layer)
    found = portrayal(layer, town.code_lists, "vi", names, count=1, extent=HANOI, centred=True)
    assert (found.shape, found.width) == ("point", look.LEAST_PX)
    assert [each["type"] for each in maplibre.document("", "", [found], None)["layers"]][1:] == ["circle", "symbol"]


def test_a_title_with_signs_of_xml_is_a_title_in_every_encoding(town: Registry) -> None:
    layer = town["plots"]
    attributes = [each.model_copy(update={"title": Text(vi=AWKWARD, en=AWKWARD)}) for each in layer.attributes]
    odd = layer.model_copy(update={"title": Text(vi=AWKWARD, en=AWKWARD), "attributes": attributes})
    found = portrayal(odd, town.code_lists, "vi", access.visible(access.PUBLIC, odd), count=1, extent=HANOI)
    tree = ET.fromstring(qml.document(found).partition(b"\n")[2])
    assert {each.get("name") for each in tree.iter("alias")} == {AWKWARD}
    titles = ET.fromstring(sld.document(found)).iter("{http://www.opengis.net/se}Title")
    assert AWKWARD in {each.text for each in titles}
    written = json.loads(json.dumps(maplibre.document(AWKWARD, "", [found], None)))
    assert written["name"] == AWKWARD


def test_web_maps_thin_outlines_by_the_law_of_the_pages_and_of_qgis(town: Registry) -> None:
    [outline] = [
        each for each in maplibre.document("", "", [plots(town)], None)["layers"] if each["id"] == "plots.outline"
    ]
    _, (_, base), _, low, thin, high, full = outline["paint"]["line-width"]
    for zoom in (low, 14.0, 15.5, 16.9, high):
        shown = thin + (full - thin) * (base ** (zoom - low) - 1) / (base ** (high - low) - 1)
        # `thinned` of static/map.js, whose zooms count tiles of 256 pixels.
        page = 0.8 * min(1, max(0.2, 2 ** ((zoom + 1 - 18) / 1.5)))
        assert shown == pytest.approx(page, abs=1e-3)
        denominator = scale.denominator_of(zoom, 21.0)
        share = (scale.denominator_of(look.FULL_ZOOM, 21.0) / denominator) ** (2 / 3)
        assert 0.8 * min(1, max(look.THINNEST, share)) == pytest.approx(page, abs=1e-3)


def test_circles_of_a_crowded_layer_are_smaller_on_small_scales_and_of_few_features_whole(
    town: Registry,
) -> None:
    layer = town["works"]
    visible = access.visible(access.PUBLIC, layer)
    few, many = (portrayal(layer, town.code_lists, "vi", visible, count=n, extent=HANOI) for n in (8, 100_000))
    [plain] = [each for each in maplibre.document("", "", [few], None)["layers"] if each["id"] == "works.point"]
    [small] = [each for each in maplibre.document("", "", [many], None)["layers"] if each["id"] == "works.point"]
    assert plain["paint"]["circle-radius"] == look.RADIUS_PX
    assert small["paint"]["circle-radius"][4] == look.SMALLEST * look.RADIUS_PX
    assert small["paint"]["circle-radius"][-2:] == [look.FULL_ZOOM, look.RADIUS_PX]
    assert [b"@map_scale" in qml.document(each) for each in (few, many)] == [False, True]


def test_labels_say_codes_in_words_that_nobody_knows_by_heart(town: Registry) -> None:
    layer = town["plots"]
    by_use = layer.model_copy(update={"style": layer.style.model_copy(update={"label": "use"})})
    found = portrayal(by_use, town.code_lists, "vi", access.visible(access.PUBLIC, layer), count=1, extent=HANOI)
    assert found.spoken == (), "ODT is known"
    registry = read_registry(ROOT / "layers")
    spoken = [
        portrayal(layer, registry.code_lists, "vi", access.visible(access.PUBLIC, layer), count=1, extent=HANOI).spoken
        for layer in registry if layer.geometry is not None
    ]  # fmt: skip
    words = [pairs for pairs in spoken if pairs]
    assert words
    assert all(title != code for pairs in words for code, title in pairs)
