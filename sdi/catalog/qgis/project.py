"""A QGIS project as one file: `.qgz`, a zip with the project's XML. The same project is always the same bytes."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from sdi.catalog.qgis import layers, reference
from sdi.catalog.qgis.layers import Drawn
from sdi.catalog.styles import qml

MEDIA_TYPE = "application/x-qgis-project"
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The first day that a zip knows: the file tells no time of its making, so that equal projects have one tag."""


@dataclass(frozen=True)
class Group:
    """A theme: its title, and its layers from top to bottom."""

    title: str
    members: tuple[Drawn, ...]


@dataclass(frozen=True)
class Project:
    """`service`: the address of the landing page. `extent`: least E, N and greatest E, N in the grid, metres. `keyed`:
    whether the layers are read with a key. `shown`: the layers that are switched on at first."""

    title: str
    abstract: str
    language: str
    author: str
    service: str
    grid: int
    extent: tuple[float, float, float, float] | None
    groups: Sequence[Group]
    order: Sequence[str]
    """All layers in the order of drawing, the topmost first."""
    shown: frozenset[str]
    keyed: bool


def packed(project: Project, name: str) -> bytes:
    """The project as a `.qgz`; `name`: of the project inside it."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(f"{name}.qgs", _EPOCH), document(project), zipfile.ZIP_DEFLATED)
    return made.getvalue()


def document(project: Project) -> bytes:
    """The project's XML, UTF-8."""
    root = ET.Element("qgis", version=qml.VERSION, projectname=project.title)
    ET.SubElement(root, "title").text = project.title
    reference.system(ET.SubElement(root, "projectCrs"), project.grid)
    _tree(root, project)
    _view(root, project)
    listed = ET.SubElement(root, "projectlayers")
    for group in project.groups:
        for each in group.members:
            layers.element(listed, project.service, each, project.keyed)
    order = ET.SubElement(root, "layerorder")
    for name in project.order:
        ET.SubElement(order, "layer", id=layers.layer_id(name))
    _properties(root)
    reference.pinned(root, project.grid)
    _metadata(root, project)
    return qml.written(root)


def _tree(root: ET.Element, project: Project) -> None:
    tree = ET.SubElement(root, "layer-tree-group")
    for group in project.groups:
        on = any(each.id in project.shown for each in group.members)
        branch = ET.SubElement(tree, "layer-tree-group", name=group.title, expanded="1", checked=_checked(on))
        for each in group.members:
            provider, where = layers.source(project.service, each, project.keyed)
            ET.SubElement(
                branch, "layer-tree-layer", id=layers.layer_id(each.id), name=each.title, providerKey=provider,
                source=where, expanded="0", checked=_checked(each.id in project.shown),
            )  # fmt: skip
    # Points lie above lines and areas whatever their theme, so the order of drawing is one of its own.
    order = ET.SubElement(tree, "custom-order", enabled="1")
    for name in project.order:
        ET.SubElement(order, "item").text = layers.layer_id(name)


def _checked(on: bool) -> str:
    return "Qt::Checked" if on else "Qt::Unchecked"


def _view(root: ET.Element, project: Project) -> None:
    if project.extent is None:
        return
    canvas = ET.SubElement(root, "mapcanvas", name="theMapCanvas", annotationsVisible="1")
    ET.SubElement(canvas, "units").text = "meters"
    bounds = dict(zip(("xmin", "ymin", "xmax", "ymax"), (f"{each:.3f}" for each in project.extent), strict=True))
    box = ET.SubElement(canvas, "extent")
    for name, value in bounds.items():
        ET.SubElement(box, name).text = value
    reference.system(ET.SubElement(canvas, "destinationsrs"), project.grid)
    settings = ET.SubElement(root, "ProjectViewSettings", UseProjectScales="0", rotation="0")
    reference.system(ET.SubElement(settings, "DefaultViewExtent", bounds), project.grid)


def _properties(root: ET.Element) -> None:
    """Distances and areas on the ellipsoid of VN-2000, in metres."""
    properties = ET.SubElement(root, "properties")
    told = {
        "SpatialRefSys": {"ProjectionsEnabled": ("int", "1")},
        "Measure": {"Ellipsoid": ("QString", "EPSG:7030")},
        "Measurement": {"DistanceUnits": ("QString", "meters"), "AreaUnits": ("QString", "m2")},
        "Paths": {"Absolute": ("bool", "false")},
    }
    for part, values in told.items():
        section = ET.SubElement(properties, part)
        for name, (kind, value) in values.items():
            ET.SubElement(section, name, type=kind).text = value


def _metadata(root: ET.Element, project: Project) -> None:
    metadata = ET.SubElement(root, "projectMetadata")
    told = {
        "identifier": project.service, "language": project.language, "type": "dataset", "title": project.title,
        "abstract": project.abstract, "author": project.author,
    }  # fmt: skip
    for name, text in told.items():
        ET.SubElement(metadata, name).text = text
    ET.SubElement(
        ET.SubElement(metadata, "links"), "link", name="OGC API", type="WWW:LINK", url=project.service, description=""
    )  # fmt: skip
