"""QGIS opens the projects and reads the styles that the service writes. Needs Debian's python3-qgis."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdi import access
from sdi.catalog.qgis.layers import AUTHENTICATION, Features, Tiles, layer_id
from sdi.catalog.qgis.project import Group, Project, document
from sdi.catalog.styles import qml, sld
from sdi.catalog.styles.portrayal import Portrayal, portrayal
from sdi.contract.registry import read_registry
from sdi.national import vn2000
from tests.clients.test_qgis import PYTHON, has_qgis
from tests.service.conftest import COLUMNS, CORNER, ROOT, ROWS, SIZE, Town, plots
from tests.service.portrayal.conftest import STEWARD

__all__ = ["has_qgis"]
pytestmark = pytest.mark.qgis

SESSION = Path(__file__).parent / "qgis_session.py"
SIDE = 800
"""Pixels of the picture; five of them are a metre."""
BOX = (CORNER[0], CORNER[1] - 30, CORNER[0] + 160, CORNER[1] + 130)
SOUTH = (106.7009, 10.7769)
"""In TP.HCM, where PROJ's own way to VN-2000 is 0.8 m beside the official one."""


def pixel(east: float, north: float) -> list[int]:
    """Where the picture shows a place, metres from the town's corner."""
    return [round(east * 5), round((130 - north) * 5)]


def blended(colour: str, opacity: float, below: str = "#ffffff") -> np.ndarray[Any, Any]:
    """A colour over another, as three numbers."""
    return opacity * rgb(colour) + (1 - opacity) * rgb(below)


def rgb(colour: str) -> np.ndarray[Any, Any]:
    return np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)], dtype=float)


def corner_of_plot(index: int) -> list[int]:
    """A place in a plot away from its edges and the works' points."""
    row, column = divmod(index, COLUMNS)
    return pixel(column * SIZE + 4, row * SIZE + 16)


@dataclass(frozen=True)
class Session:
    facts: dict[str, Any]
    looks: dict[str, Portrayal]
    matched: dict[str, int]
    own: dict[str, int]


@pytest.fixture(scope="module")
def session(has_qgis: None, town: Town, key: str, tmp_path_factory: pytest.TempPathFactory) -> Session:
    """One session of QGIS with a profile of its own: the public's project, the steward's, and all styles."""
    home = tmp_path_factory.mktemp("qgis")
    authorization = {"Authorization": f"Bearer {key}"}
    projects = {
        "public": town.ask("/qgis/public.qgz").body,
        STEWARD: town.ask(f"/qgis/{STEWARD}.qgz", **authorization).body,
    }
    for name, body in projects.items():
        (home / f"{name}.qgz").write_bytes(body)
    points = {f"plot {index}": corner_of_plot(index) for index in range(ROWS * COLUMNS)}
    points |= {"work": pixel(10, 10), "ground": pixel(10, -10)}
    south = home / "south.qgs"
    south.write_bytes(document(Project("", "", "vi", "", "http://x", 9210, None, (), (), frozenset(), False)))
    large = home / "large.qgs"
    large.write_bytes(document(of_a_large_layer(town)))
    looks = contracts()
    orders = {
        "key": {"id": AUTHENTICATION, "user": STEWARD, "password": key},
        "projects": {
            name: {"file": str(home / f"{name}.qgz"), "picture": str(home / f"{name}.png"), "box": BOX, "side": SIDE,
                   "points": points}
            for name in projects
        } | {"large": {"file": str(large), "picture": str(home / "large.png"), "box": BOX, "side": SIDE,
                       "points": points}},
        "crossings": {str(south): SOUTH},
        "styles": {kind: dict(written(home, kind, looks)) for kind in ("QML", "SLD")},
        "maps": [str(style(home, town, path)) for path in ("/styles/default", "/collections/plots/styles/default")],
    }  # fmt: skip
    collections = {each["id"]: each for each in town.get("/collections")["collections"]}
    features = [name for name, each in collections.items() if each.get("itemType") == "feature"]
    return Session(
        run(home, orders), looks,
        {name: town.get(f"/collections/{name}/items?limit=1")["numberMatched"] for name in features},
        {name: town.get(f"/collections/{name}/items?limit=1&f=json", **authorization)["numberMatched"]
         for name in ("plots__findings", "plots__quarantine")},
    )  # fmt: skip


def of_a_large_layer(town: Town) -> Project:
    """A project with the plots as if they were a million: at the picture's scale their tiles are drawn."""
    layer = town.registry["plots"]
    drawn = portrayal(layer, town.registry.code_lists, "vi", access.visible(access.PUBLIC, layer),
                      count=1_000_000, extent=(105.84, 21.02, 105.86, 21.04))  # fmt: skip
    address = f"{town.url}/collections/plots/tiles/WebMercatorQuad/{{z}}/{{y}}/{{x}}"
    tiles = Tiles("plots.tiles", "Thửa đất (tỷ lệ nhỏ)", "", drawn, address, 10, 22)
    members = (Features("plots", "Thửa đất", "", drawn), tiles)
    order = [each.id for each in members]
    return Project("", "", "vi", "", town.url, 5897, None, (Group("", members),), order, frozenset(order), False)


def contracts() -> dict[str, Portrayal]:
    """The looks of the layers of the house, as if each had many features."""
    registry = read_registry(ROOT / "layers")
    return {
        layer.id: portrayal(layer, registry.code_lists, "vi", access.visible(access.PUBLIC, layer),
                            count=20_000, extent=(105.8, 21.0, 105.9, 21.1))
        for layer in registry if layer.geometry is not None
    }  # fmt: skip


def written(home: Path, kind: str, looks: dict[str, Portrayal]) -> Iterator[tuple[str, dict[str, Any]]]:
    encode: Callable[[Portrayal], bytes] = {"QML": qml.document, "SLD": sld.document}[kind]
    for name, each in looks.items():
        path = home / f"{name}.{kind.lower()}"
        path.write_bytes(encode(each))
        values = [each.classes[0].value, each.classes[-1].value, None] if each.classes else [None]
        yield name, {"file": str(path), "geometry": each.shape, "field": each.classify, "values": values}


def style(home: Path, town: Town, path: str) -> Path:
    file = home / f"{path.replace('/', '_')}.json"
    file.write_bytes(town.ask(f"{path}?f=mapbox").body)
    return file


def run(home: Path, orders: dict[str, Any]) -> dict[str, Any]:
    settings = {"HOME": str(home), "XDG_RUNTIME_DIR": str(home), "QT_QPA_PLATFORM": "offscreen"}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "XDG_", "PROJ_"))}
    ended = subprocess.run(
        [PYTHON, "-X", "faulthandler", str(SESSION), json.dumps(orders)],
        env={**inherited, **settings}, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-3000:]
    told: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return told


def test_the_project_has_title_grid_and_extent(session: Session, town: Town) -> None:
    told = session.facts["projects"]["public"]
    assert told["title"] == "Thị trấn thử"
    assert town.url in told["abstract"]
    assert (told["crs"], told["ellipsoid"]) == ("EPSG:5897", "EPSG:7030")
    left, bottom, right, top = told["extent"]
    # Parallels and meridians are not quite the grid's lines.
    assert CORNER[0] - 20 < left < CORNER[0]
    assert CORNER[1] - 20 < bottom < CORNER[1]
    assert CORNER[0] + 999 < right < CORNER[0] + 1020, "the farthest of the works"
    assert CORNER[1] + 999 < top < CORNER[1] + 1020


def test_every_layer_is_valid_and_has_what_the_service_counts(session: Session) -> None:
    layers = session.facts["projects"]["public"]["layers"]
    assert layers.keys() == {layer_id(name) for name in (*session.matched, "ground")}
    assert [name for name, each in layers.items() if not each["valid"]] == []
    assert {name: layers[layer_id(name)]["count"] for name in session.matched} == session.matched
    assert layers[layer_id("ground")]["crs"] == "EPSG:5897"


def test_attributes_have_their_titles_and_codes_their_labels(session: Session) -> None:
    plots = session.facts["projects"]["public"]["layers"][layer_id("plots")]
    assert plots["title"] == "Thửa đất thử"
    assert (plots["aliases"]["use"], plots["aliases"]["legal_area"]) == ("Mã loại đất", "Diện tích pháp lý")
    assert ["Đất ở tại đô thị (ODT)", "ODT"] in plots["values"]["use"]
    assert "hidden_note" not in plots["aliases"]
    assert "Đất trồng cây lâu năm (CLN)" in plots["legend"]
    assert plots["legend"][-1] == "khác hoặc trống"
    assert plots["labelled"]


def test_points_are_drawn_above_areas_and_coverages_below_all(session: Session) -> None:
    order = session.facts["projects"]["public"]["order"]
    assert order.index(layer_id("works")) < order.index(layer_id("plots")) < order.index(layer_id("ground"))
    shown = session.facts["projects"]["public"]["shown"]
    assert {layer_id("works"), layer_id("plots")} <= set(shown)
    assert layer_id("ground") not in shown, "coverages wait to be switched on"


def test_the_map_has_the_contracts_colours_at_the_places_of_the_grid(session: Session) -> None:
    colours = session.facts["projects"]["public"]["colours"]
    drawn = {"ODT": "#ffd0e0", "CLN": "#cfe8b0", None: "#fff7e0"}
    for index, use in enumerate(plots()[0].column("use").to_pylist()):
        # What is withheld from the public is a hole in the map.
        expected = rgb("#ffffff") if use == "CQP" else blended(drawn[use], 0.7)
        assert np.abs(rgb(colours[f"plot {index}"]) - expected).max() <= 2, (index, use)
    below = blended(drawn["ODT"], 0.7)
    work = 0.9 * rgb("#2060c0") + 0.1 * below
    assert np.abs(rgb(colours["work"]) - work).max() <= 3
    assert colours["ground"] == "#ffffff"
    assert session.facts["projects"]["public"]["letters"] > 1000, "plots have their numbers"


def test_a_layer_too_large_to_be_read_is_drawn_by_its_tiles_at_small_scales_and_only_there(session: Session) -> None:
    told = session.facts["projects"]["large"]
    tiles, features = (told["layers"][layer_id(name)] for name in ("plots.tiles", "plots"))
    assert (tiles["valid"], tiles["crs"]) == (True, "EPSG:3857")
    assert told["order"] == [layer_id("plots"), layer_id("plots.tiles")]
    # Of each the smallest and the largest scale at which it is drawn; 0: no limit. Where one ends the other begins.
    assert tiles["scales"] == [0.0, features["scales"][0]]
    assert features["scales"][0] > 0
    assert features["scales"][1] == 0.0
    drawn = {"ODT": "#ffd0e0", "CLN": "#cfe8b0", None: "#fff7e0"}
    for index, use in enumerate(plots()[0].column("use").to_pylist()):
        expected = rgb("#ffffff") if use == "CQP" else blended(drawn[use], 0.7)
        assert np.abs(rgb(told["colours"][f"plot {index}"]) - expected).max() <= 2, (index, use)
    assert told["letters"] == 0, "the features and their numbers wait for a larger scale"


def test_a_project_crosses_the_datum_by_the_official_operation(session: Session) -> None:
    [found] = session.facts["crossings"].values()
    expected = vn2000.from_wgs84(np.array([SOUTH]), 9210)[0]
    other = vn2000.from_wgs84(np.array([SOUTH]), 9210, 5194)[0]
    assert np.hypot(*(np.array(found) - expected)) < 1e-3
    assert np.hypot(*(other - expected)) > 0.5, "a place where the choice matters"


def test_an_agencys_project_is_read_with_its_key(session: Session) -> None:
    told = session.facts["projects"][STEWARD]
    own = {layer_id(name): count for name, count in session.own.items()}
    assert own.keys() <= told["layers"].keys()
    assert not own.keys() & session.facts["projects"]["public"]["layers"].keys()
    assert {name: told["layers"][name]["valid"] for name in own} == dict.fromkeys(own, True)
    assert {name: told["layers"][name]["count"] for name in own} == own
    assert not own.keys() & set(told["shown"])
    assert all(each["valid"] for each in told["layers"].values()), "coverages are read with the key, too"


@pytest.mark.parametrize("kind", ["QML", "SLD"])
def test_qgis_draws_every_contracts_style_in_the_contracts_colours(session: Session, kind: str) -> None:
    assert len(session.looks) > 9
    assert {each.shape for each in session.looks.values()} == {"point", "line", "area"}
    for name, look in session.looks.items():
        found = session.facts["styles"][kind][name]
        assert found["fine"], (name, found["message"])
        plain = look.stroke if look.shape == "line" and not look.classify else look.fill
        colours = [look.classes[0].colour, look.classes[-1].colour, plain] if look.classes else [plain]
        opacity = 1.0 if look.shape == "line" else look.opacity
        for colour, drawn in zip(colours, found["colours"], strict=True):
            assert np.abs(rgb(drawn) - blended(colour, opacity)).max() <= 2, (name, colour, drawn)


def test_qgis_understands_the_style_of_the_tiles(session: Session) -> None:
    whole, one = session.facts["maps"].values()
    for found in (whole, one):
        assert found["fine"]
        assert [each for each in found["warnings"] if "font" not in each] == []
    assert {"plots", "works"} <= set(whole["layers"])
    assert set(one["layers"]) == {"background", "plots"}
    assert one["labels"] == ["plots"]
