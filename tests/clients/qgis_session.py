"""What QGIS makes of the service; run by the distribution's Python, without a screen.

    python3 qgis_session.py URL PICTURE ORDERS

ORDERS is JSON: `layers` names the collections to read, `paint` those to draw, from bottom to top, with their colours,
`grid` an EPSG code, `filters` and `boxes` what is asked of single collections. Prints one line of JSON, which
tests/clients/test_qgis.py judges.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import Any

from qgis.core import (
    Qgis,
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsFeatureRequest,
    QgsMapRendererParallelJob,
    QgsMapSettings,
    QgsProject,
    QgsRectangle,
    QgsVectorLayer,
    QgsWkbTypes,
)
from qgis.PyQt.QtCore import NULL, QDate, QSize
from qgis.PyQt.QtGui import QColor, QImage

BACKGROUND = "#ffffff"
SIDE = 900


def main(url: str, picture: str, orders: dict[str, Any]) -> dict[str, Any]:
    grid = QgsCoordinateReferenceSystem.fromEpsgId(orders["grid"])
    layers = {name: open_layer(url, name) for name in orders["layers"]}
    facts: dict[str, Any] = {"version": Qgis.QGIS_VERSION_INT}
    facts["layers"] = {name: facts_of(layer, grid) for name, layer in layers.items()}
    facts["filters"] = [filtered(url, *asked) for asked in orders["filters"]]
    facts["boxes"] = [boxed(url, *asked) for asked in orders["boxes"]]
    draw({name: layers[name] for name in orders["paint"]}, orders["paint"], grid, picture)
    facts["colours"] = colours(picture)
    return facts


def open_layer(url: str, name: str, rest: str = "") -> QgsVectorLayer:
    return QgsVectorLayer(f"url='{url}' typename='{name}' {rest}", name, "OAPIF")


def facts_of(layer: QgsVectorLayer, grid: QgsCoordinateReferenceSystem) -> dict[str, Any]:
    """The layer's metadata, and each feature: attributes, geometry in the layer's CRS, and in the grid."""
    if not layer.isValid():
        return {"valid": False, "error": layer.error().summary()}
    into = QgsCoordinateTransform(layer.crs(), grid, QgsProject.instance())
    names = [field.name() for field in layer.fields()]
    features = {}
    for feature in layer.getFeatures():
        geometry = feature.geometry()
        here = None if geometry.isNull() else json.loads(geometry.asJson(10))
        geometry.transform(into)
        there = None if geometry.isNull() else json.loads(geometry.asJson(5))
        values = dict(zip(names, map(plain, feature.attributes()), strict=True))
        features[values["id"]] = {"properties": values, "geometry": here, "in_grid": there}
    return {
        "valid": True,
        "crs": layer.crs().authid(),
        "count": layer.featureCount(),
        "type": QgsWkbTypes.displayString(layer.wkbType()),
        "fields": {field.name(): field.typeName() for field in layer.fields()},
        "operation": into.instantiatedCoordinateOperationDetails().name,
        "features": features,
    }


def plain(value: Any) -> Any:
    if value == NULL:
        return None
    if isinstance(value, QDate):
        return value.toString("yyyy-MM-dd")
    return value


def filtered(url: str, name: str, expression: str) -> list[str]:
    """Ids of the features that the layer shows under a filter of its own."""
    layer = open_layer(url, name)
    assert layer.setSubsetString(expression), expression
    return [feature["id"] for feature in layer.getFeatures()]


def boxed(url: str, name: str, box: list[float]) -> list[str]:
    """Ids of what a layer that asks only for the visible part finds in a lon/lat box."""
    layer = open_layer(url, name, "restrictToRequestBBOX='1'")
    area = QgsRectangle(*box)
    if layer.crs().authid() not in ("EPSG:4326", "OGC:CRS84"):
        lonlat = QgsCoordinateReferenceSystem.fromEpsgId(4326)
        area = QgsCoordinateTransform(lonlat, layer.crs(), QgsProject.instance()).transformBoundingBox(area)
    return [feature["id"] for feature in layer.getFeatures(QgsFeatureRequest(area))]


def draw(
    layers: dict[str, QgsVectorLayer], paint: dict[str, str], grid: QgsCoordinateReferenceSystem, path: str
) -> None:
    """The layers over one another in the grid, where the first of them lies."""
    for name, layer in layers.items():
        symbol = layer.renderer().symbol()
        symbol.setColor(QColor(paint[name]))
        if layer.geometryType() == QgsWkbTypes.LineGeometry:
            symbol.setWidth(0.5)
        elif layer.geometryType() == QgsWkbTypes.PolygonGeometry:
            symbol.symbolLayer(0).setStrokeColor(QColor(paint[name]).darker(160))
            symbol.symbolLayer(0).setStrokeWidth(0.1)
    settings = QgsMapSettings()
    settings.setLayers(list(reversed(list(layers.values()))))
    settings.setDestinationCrs(grid)
    settings.setOutputSize(QSize(SIDE, SIDE))
    settings.setBackgroundColor(QColor(BACKGROUND))
    below = next(iter(layers.values()))
    extent = QgsCoordinateTransform(below.crs(), grid, QgsProject.instance()).transformBoundingBox(below.extent())
    extent.scale(1.04)
    settings.setExtent(extent)
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    assert job.renderedImage().save(path), path


def colours(path: str) -> dict[str, float]:
    """Share of the picture's pixels of each colour, as far as it is more than one in ten thousand."""
    image = QImage(path).convertToFormat(QImage.Format_RGB32)
    assert not image.isNull(), path
    bits = image.constBits()
    bits.setsize(image.byteCount())
    pixels = Counter(memoryview(bytes(bits)).cast("I"))
    total = image.width() * image.height()
    return {
        f"#{pixel & 0xFFFFFF:06x}": count / total for pixel, count in pixels.most_common() if count > total / 10_000
    }


if __name__ == "__main__":
    QgsApplication.setPrefixPath("/usr", True)
    application = QgsApplication([], False)
    application.initQgis()
    print(json.dumps(main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))), flush=True)
    application.exitQgis()
