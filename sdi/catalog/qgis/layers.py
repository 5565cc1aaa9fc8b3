"""The layers of a project: features read by OGC API - Features, coverages by ranges of their GeoTIFF."""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree as ET

from sdi.catalog.qgis import reference
from sdi.catalog.styles import qml
from sdi.catalog.styles.portrayal import Portrayal

AUTHENTICATION = "sdiauth"
"""Id of QGIS's authentication configuration that holds an agency's key; a project names it and never has the key."""
PALE = 250
"""Of 255: how pale a coverage's least value is drawn. As on the HTML pages, 8 % of the colour are in it already."""
_LEAST = 0.08
_GEOMETRIES = {"point": "Point", "line": "Line", "area": "Polygon"}


@dataclass(frozen=True)
class Features:
    """A collection of features. `title`, `abstract`: what a person reads of it."""

    id: str
    title: str
    abstract: str
    portrayal: Portrayal


@dataclass(frozen=True)
class Tiles:
    """The vector tiles of a collection too large to be read at small scales, for those scales; `first`: their first
    zoom, `last`: their last one. `address`: of a tile, with {z}, {y} (the row from the north) and {x}."""

    id: str
    title: str
    abstract: str
    portrayal: Portrayal
    address: str
    first: int
    last: int


@dataclass(frozen=True)
class Raster:
    """A coverage of one band or more, the first of which is drawn from `low` to `high` in shades of a colour.

    `address`: of its GeoTIFF. `grid`: EPSG code.
    """

    id: str
    title: str
    abstract: str
    address: str
    grid: int
    colour: str
    opacity: float
    unit: str
    low: float
    high: float


Drawn = Features | Tiles | Raster


def layer_id(collection: str) -> str:
    """The id of a layer; QGIS gives a new one to a layer whose id has ten letters or fewer."""
    return f"collection_{collection}"


def source(service: str, drawn: Drawn, keyed: bool) -> tuple[str, str]:
    """QGIS's provider, and where it finds the layer. Features are asked for by what a map shows of them, not all."""
    key = f"authcfg='{AUTHENTICATION}'" if keyed else ""
    if isinstance(drawn, Raster):
        return "gdal", " ".join(filter(None, (f"/vsicurl/{drawn.address}", key)))
    if isinstance(drawn, Tiles):
        key = f"&authcfg={AUTHENTICATION}" if keyed else ""
        return "vectortile", f"type=xyz&url={drawn.address}&zmin={drawn.first}&zmax={drawn.last}{key}"
    parts = (key, "pagingEnabled='true'", "restrictToRequestBBOX='1'", f"typename='{drawn.id}'", f"url='{service}'")
    return "OAPIF", " ".join(filter(None, parts))


def element(parent: ET.Element, service: str, drawn: Drawn, keyed: bool) -> None:
    """The layer below `projectlayers`."""
    if isinstance(drawn, Raster):
        layer = ET.SubElement(parent, "maplayer", type="raster", hasScaleBasedVisibilityFlag="0")
        system: tuple[int, str | None] = (drawn.grid, None)
    elif isinstance(drawn, Tiles):
        # Where the features themselves begin to be drawn, their tiles end.
        span = {"hasScaleBasedVisibilityFlag": "1", "minScale": "0", "maxScale": str(drawn.portrayal.drawn or 0)}
        layer = ET.SubElement(parent, "maplayer", {"type": "vector-tile", **span})
        system = (reference.MERCATOR, None)
    else:
        about = {"type": "vector", "geometry": _GEOMETRIES[drawn.portrayal.shape], "readOnly": "1"}
        layer = ET.SubElement(parent, "maplayer", about | qml.visibility(drawn.portrayal))
        system = (reference.WGS84, reference.CRS84)
    provider, where = source(service, drawn, keyed)
    for name, text in (("id", layer_id(drawn.id)), ("datasource", where), ("layername", drawn.title)):
        ET.SubElement(layer, name).text = text
    ET.SubElement(layer, "provider", {"encoding": "UTF-8"} if isinstance(drawn, Features) else {}).text = provider
    reference.system(ET.SubElement(layer, "srs"), *system)
    metadata = ET.SubElement(layer, "resourceMetadata")
    for name, text in (("identifier", drawn.id), ("title", drawn.title), ("abstract", drawn.abstract)):
        ET.SubElement(metadata, name).text = text
    if isinstance(drawn, Raster):
        _shades(layer, drawn)
    elif isinstance(drawn, Tiles):
        qml.describe_tiles(layer, drawn.portrayal)
    else:
        qml.describe(layer, drawn.portrayal)


def _shades(layer: ET.Element, drawn: Raster) -> None:
    pipe = ET.SubElement(layer, "pipe")
    span = {"low": drawn.low, "high": drawn.high if drawn.high > drawn.low else drawn.low + 1}
    low, high = repr(span["low"]), repr(span["high"])
    renderer = ET.SubElement(
        pipe, "rasterrenderer", type="singlebandpseudocolor", band="1", opacity=f"{drawn.opacity:g}", alphaBand="-1",
        classificationMin=low, classificationMax=high,
    )  # fmt: skip
    shader = ET.SubElement(
        ET.SubElement(renderer, "rastershader"), "colorrampshader", colorRampType="INTERPOLATED",
        classificationMode="1", clip="0", minimumValue=low, maximumValue=high,
    )  # fmt: skip
    for value, share in ((span["low"], _LEAST), (span["high"], 1.0)):
        label = f"{value:.1f} {drawn.unit}".strip()
        ET.SubElement(
            shader, "item", value=repr(value), color=_shade(drawn.colour, share), label=label, alpha="255"
        )  # fmt: skip


def _shade(colour: str, share: float) -> str:
    parts = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return "#" + "".join(f"{round(PALE + (part - PALE) * share):02x}" for part in parts)
