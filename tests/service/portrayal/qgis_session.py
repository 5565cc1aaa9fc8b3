"""What QGIS makes of projects and styles; run by the distribution's Python, without a screen.

    python3 qgis_session.py ORDERS

ORDERS is JSON. `key`: user and password of the authentication configuration that projects name, and its id. `projects`:
name -> {`file`, `picture`, `box` (in the project's CRS), `side` (pixels), `points` (name -> place in the picture)}.
`crossings`: file of a project -> [longitude, latitude] to bring to its CRS. `styles`: kind (QML, SLD) -> name ->
{`file`, `geometry`, `field`, `values`}. `maps`: MapLibre styles to be read. Prints one line of JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from qgis.core import (
    Qgis,
    QgsApplication,
    QgsAuthMethodConfig,
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsFeature,
    QgsGeometry,
    QgsMapBoxGlStyleConverter,
    QgsMapLayerType,
    QgsMapRendererParallelJob,
    QgsMapSettings,
    QgsPointXY,
    QgsProject,
    QgsRectangle,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor, QImage

SHAPES = {
    "point": ("Point", "POINT(50 50)"),
    "line": ("LineString", "LINESTRING(0 50, 100 50)"),
    "area": ("Polygon", "POLYGON((0 0, 100 0, 100 100, 0 100, 0 0))"),
}


def main(orders: dict[str, Any]) -> dict[str, Any]:
    sign_in(orders.get("key"))
    return {
        "version": Qgis.QGIS_VERSION_INT,
        "projects": {name: project(**about) for name, about in orders.get("projects", {}).items()},
        "crossings": {file: crossed(file, place) for file, place in orders.get("crossings", {}).items()},
        "styles": {
            kind: {name: styled(kind, **about) for name, about in files.items()}
            for kind, files in orders.get("styles", {}).items()
        },
        "maps": {file: converted(file) for file in orders.get("maps", [])},
    }


def sign_in(key: dict[str, str] | None) -> None:
    if key is None:
        return
    manager = QgsApplication.authManager()
    manager.setMasterPassword("a password of this test", True)
    made = QgsAuthMethodConfig("Basic")
    made.setId(key["id"])
    made.setName("sdi")
    made.setConfig("username", key["user"])
    made.setConfig("password", key["password"])
    assert manager.storeAuthenticationConfig(made)


def project(file: str, picture: str, box: list[float], side: int, points: dict[str, list[int]]) -> dict[str, Any]:
    opened = QgsProject.instance()
    assert opened.read(file), opened.error()
    tree = opened.layerTreeRoot()
    order = tree.layerOrder()
    shown = [layer for layer in order if tree.findLayer(layer.id()).isVisible()]
    lettered = drawn(shown, opened, QgsRectangle(*box), side, picture, letters=True)
    image = drawn(shown, opened, QgsRectangle(*box), side, picture)
    told = {
        "title": opened.title(),
        "crs": opened.crs().authid(),
        "ellipsoid": opened.ellipsoid(),
        "abstract": opened.metadata().abstract(),
        "extent": corners(opened.viewSettings().defaultViewExtent()),
        "groups": {group.name(): [each.name() for each in group.findLayers()] for group in tree.children()},
        "order": [layer.id() for layer in order],
        "shown": [layer.id() for layer in shown],
        "layers": {layer.id(): facts_of(layer) for layer in opened.mapLayers().values()},
        "letters": sum(lettered.pixel(x, y) != image.pixel(x, y) for x in range(side) for y in range(side)),
        "colours": {name: QColor(image.pixel(*place)).name() for name, place in points.items()},
    }
    opened.clear()
    return told


def facts_of(layer: Any) -> dict[str, Any]:
    facts = {"valid": layer.isValid(), "title": layer.name(), "crs": layer.crs().authid()}
    facts["scales"] = [layer.minimumScale(), layer.maximumScale()]
    if layer.type() != QgsMapLayerType.VectorLayer or not layer.isValid():
        return facts
    values = {}
    for number, field in enumerate(layer.fields()):
        setup = layer.editorWidgetSetup(number)
        if setup.type() == "ValueMap":
            values[field.name()] = [next(iter(each.items())) for each in setup.config()["map"]]
    facts |= {
        "count": layer.featureCount(),
        "aliases": {field.name(): layer.attributeAlias(number) for number, field in enumerate(layer.fields())},
        "values": values,
        "labelled": layer.labelsEnabled(),
        # Of a layer without features QGIS 3.22 does not know the shape.
        "legend": [item.label() for item in layer.renderer().legendSymbolItems()] if layer.renderer() else [],
    }
    return facts


def drawn(
    layers: list[Any], opened: QgsProject, box: QgsRectangle, side: int, picture: str, letters: bool = False
) -> QImage:
    settings = QgsMapSettings()
    settings.setLayers(layers)
    settings.setDestinationCrs(opened.crs())
    settings.setTransformContext(opened.transformContext())
    settings.setOutputSize(QSize(side, side))
    settings.setBackgroundColor(QColor("#ffffff"))
    settings.setExtent(box)
    settings.setFlag(QgsMapSettings.Antialiasing, False)
    settings.setFlag(QgsMapSettings.DrawLabeling, letters)
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    image = job.renderedImage()
    assert image.save(picture), picture
    return image


def corners(box: Any) -> list[float]:
    return [box.xMinimum(), box.yMinimum(), box.xMaximum(), box.yMaximum()]


def crossed(file: str, place: list[float]) -> list[float]:
    """A place in WGS 84 as the project brings it to its CRS."""
    opened = QgsProject.instance()
    assert opened.read(file), opened.error()
    lonlat = QgsCoordinateReferenceSystem.fromEpsgId(4326)
    into = QgsCoordinateTransform(lonlat, opened.crs(), opened.transformContext())
    there = into.transform(QgsPointXY(*place))
    return [there.x(), there.y()]


def styled(kind: str, file: str, geometry: str, field: str | None, values: list[str | None]) -> dict[str, Any]:
    """A style on a layer of one shape, which is drawn for each value: the colours in its middle."""
    columns = f"&field={field}:string" if field else ""
    kind_of_shape, shape = SHAPES[geometry]
    sheet = QgsProject()
    sheet.setCrs(QgsCoordinateReferenceSystem.fromEpsgId(5897))
    layer = QgsVectorLayer(f"{kind_of_shape}?crs=EPSG:5897{columns}", "layer", "memory")
    message, fine = layer.loadNamedStyle(file) if kind == "QML" else layer.loadSldStyle(file)
    colours = []
    for value in values:
        feature = QgsFeature(layer.fields())
        feature.setGeometry(QgsGeometry.fromWkt(shape))
        if field:
            feature.setAttribute(0, value)
        layer.dataProvider().truncate()
        layer.dataProvider().addFeatures([feature])
        image = drawn([layer], sheet, QgsRectangle(20, 20, 80, 80), 61, f"{file}.png")
        colours.append(QColor(image.pixel(30, 30)).name())
    return {"fine": fine, "message": message, "colours": colours, "type": layer.renderer().type()}


def converted(file: str) -> dict[str, Any]:
    """A MapLibre style as QGIS understands it."""
    converter = QgsMapBoxGlStyleConverter()
    result = converter.convert(json.loads(Path(file).read_text(encoding="utf-8")))
    renderer, labeling = converter.renderer(), converter.labeling()
    return {
        "fine": result == QgsMapBoxGlStyleConverter.Success,
        "warnings": converter.warnings(),
        "layers": [style.layerName() for style in renderer.styles()],
        "labels": [style.layerName() for style in labeling.styles()] if labeling else [],
    }


if __name__ == "__main__":
    QgsApplication.setPrefixPath("/usr", True)
    application = QgsApplication([], False)
    application.initQgis()
    print(json.dumps(main(json.loads(sys.argv[1]))), flush=True)
    application.exitQgis()
