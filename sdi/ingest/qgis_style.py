"""How QGIS draws a layer of a GeoPackage that it opens: QML in the table `layer_styles`, one colour for each value."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from xml.sax.saxutils import quoteattr

import pyarrow as pa

PALETTE = (
    "#c0392b", "#e08e0b", "#2e86ab", "#7d6bb0", "#2e8b57", "#8c564b", "#d6488f", "#5b7f95", "#9a9a1f", "#17a2a2",
)  # fmt: skip
_KINDS = {"Point": ("marker", "SimpleMarker"), "LineString": ("line", "SimpleLine"), "Polygon": ("fill", "SimpleFill")}


def add_style(path: Path, layer: str, geometry_type: str, attribute: str, colours: Mapping[str, str], tip: str) -> None:
    """Let a layer of a GeoPackage open in colours by an attribute's values; `tip`: HTML with QGIS expressions that the
    map shows where the mouse rests."""
    import pyogrio  # loads GDAL, which a load does not ask for here

    family = geometry_type.removeprefix("Multi")
    qml = _qml(_KINDS.get(family, _KINDS["Polygon"]), attribute, colours, tip)
    texts = {"f_table_catalog": "", "f_table_schema": "", "f_table_name": layer, "f_geometry_column": "geom",
             "styleName": layer, "styleQML": qml, "styleSLD": ""}  # fmt: skip
    columns = {name: pa.array([value], pa.string()) for name, value in texts.items()}
    columns["useAsDefault"] = pa.array([True])
    columns |= {name: pa.array([""], pa.string()) for name in ("description", "owner", "ui")}
    columns["update_time"] = pa.array([datetime.now(UTC)], pa.timestamp("ms", "UTC"))
    there = "layer_styles" in pyogrio.list_layers(path)[:, 0]
    pyogrio.write_arrow(
        pa.table(columns), path, layer="layer_styles", driver="GPKG", append=there, layer_options={"FID": "id"}
    )


def _qml(kind: tuple[str, str], attribute: str, colours: Mapping[str, str], tip: str) -> str:
    values = list(colours.items())
    categories = "".join(
        f'<category symbol="{number}" value={quoteattr(value)} label={quoteattr(value)} render="true"/>'
        for number, (value, _) in enumerate(values)
    )
    symbols = "".join(_symbol(number, kind, colour) for number, (_, colour) in enumerate(values))
    return (
        "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>"
        '<qgis version="3.22" styleCategories="Symbology|MapTips">'
        f'<renderer-v2 type="categorizedSymbol" attr={quoteattr(attribute)} symbollevels="0" forceraster="0"'
        f' enableorderby="0"><categories>{categories}</categories><symbols>{symbols}</symbols></renderer-v2>'
        f"<mapTip><![CDATA[{tip}]]></mapTip></qgis>"
    )


def _symbol(number: int, kind: tuple[str, str], colour: str) -> str:
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    solid, clear = f"{red},{green},{blue},255", f"{red},{green},{blue},90"
    properties = {
        "marker": {"name": "circle", "color": solid, "outline_color": "255,255,255,255", "size": "2.8"},
        "line": {"line_color": solid, "line_width": "0.8"},
        "fill": {"color": clear, "outline_color": solid, "outline_width": "0.6", "style": "solid"},
    }[kind[0]]
    props = "".join(f'<prop k="{name}" v="{value}"/>' for name, value in properties.items())
    return (
        f'<symbol name="{number}" type="{kind[0]}" alpha="1" clip_to_extent="1" force_rhr="0">'
        f'<layer class="{kind[1]}" enabled="1" pass="0" locked="0">{props}</layer></symbol>'
    )
