"""The QGIS project with all that an agency may see."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np

from sdi.access import may_export, rule_of, visible
from sdi.catalog.qgis.layers import Drawn, Features, Raster, Tiles
from sdi.catalog.qgis.project import Group, Project, packed
from sdi.catalog.styles.portrayal import Portrayal, portrayal
from sdi.catalog.styles.scale import Box
from sdi.contract.layer import Layer
from sdi.contract.registry import Registry
from sdi.errors import NotFound, nearest
from sdi.national import vn2000
from sdi.service import links, observe, words
from sdi.service.publications import Publications, Snapshot
from sdi.service.reader import Reader
from sdi.service.state import Service
from sdi.service.tiles import matrix
from sdi.service.tiles.tileset import Shown
from sdi.settings import Settings
from sdi.store import engine
from sdi.store.ledger import Publication

FILL = "#7fa7c9"
ABOVE = ("point", "line", "area", "coverage")
"""What is drawn above what."""
FILLED = 0.25
"""Share of the ground that buildings and the like cover, about."""
PER_EDGE = 9
"""Points along an edge of the extent when it is brought to the grid."""


def file(service: Service, snapshot: Snapshot, language: str) -> bytes:
    """A `.qgz` of the layers in the snapshot; each is read with the key of who asks, if they have one."""
    drawn = _drawn(service, snapshot, language)
    agency = service.agency
    title = service.settings.title_en if language == "en" else service.settings.title_vi
    made = Project(
        title=title, abstract=_abstract(service, language), language=language, author=service.settings.contact,
        service=service.url, grid=service.settings.grid,
        extent=in_grid([each.extent for each in snapshot.publications.values()], service.settings.grid),
        groups=_groups(snapshot, drawn, language), order=[each.id for each in drawn],
        shown=_ids_shown(snapshot, drawn),
        keyed=not agency.public,
    )  # fmt: skip
    return packed(made, agency.id)


async def of_agency(settings: Settings, registry: Registry, name: str, language: str) -> bytes:
    """The same from the terminal, for any agency. Raises NotFound for one that nobody knows."""
    observe.set_up_logs(logging.WARNING)
    reader = Reader(engine.database_url(settings), settings, role=engine.STEWARD, at_hand=0)
    await reader.open()
    try:
        register = await reader.register(registry)
        if name not in {*register.agencies, *register.successors}:
            raise NotFound(f"There is no agency '{name}'.{nearest(name, register.agencies)}")
        agency = register.agency(name)
        service = Service(settings, agency, reader, Publications(settings, registry, agency, reader))
        return file(service, await service.publications.current(), language)
    finally:
        await reader.close()


def look(service: Service, layer: Layer, publication: Publication, language: str) -> Portrayal:
    """How a feature layer looks to who asks."""
    told = {part.precision for part in rule_of(service.agency, layer).parts}
    return portrayal(
        layer, service.registry.code_lists, language, visible(service.agency, layer),
        count=publication.count, extent=publication.extent, centred=told == {"centroid"},
    )  # fmt: skip


def stacked(service: Service, snapshot: Snapshot, names: Sequence[str], language: str) -> list[Portrayal]:
    """The looks of feature layers, the topmost first: points, lines, areas; of areas the smaller ones are above."""
    looks = [look(service, *snapshot[name], language) for name in names]

    def rank(each: Portrayal) -> tuple[int, float]:
        return ABOVE.index(each.shape), _size(*snapshot[each.id])

    return sorted(looks, key=rank)


def in_grid(extents: Sequence[Box | None], grid: int) -> tuple[float, float, float, float] | None:
    """Least E, N and greatest E, N of boxes in degrees; None where there is none."""
    known = [each for each in extents if each is not None]
    if not known:
        return None
    west, south, east, north = zip(*known, strict=True)
    lon, lat = np.meshgrid(np.linspace(min(west), max(east), PER_EDGE), np.linspace(min(south), max(north), PER_EDGE))
    xy = vn2000.from_wgs84(np.column_stack([lon.ravel(), lat.ravel()]), grid)
    (left, bottom), (right, top) = xy.min(axis=0).tolist(), xy.max(axis=0).tolist()
    return left, bottom, right, top


def _size(layer: Layer, publication: Publication) -> float:
    """Square degrees of a feature, about: its share of the extent, or a part of that, where a layer leaves gaps."""
    west, south, east, north = publication.extent or (0.0, 0.0, 0.0, 0.0)
    share = (east - west) * (north - south) / max(1, publication.count)
    return share if _fills_the_ground(layer) else share * FILLED


def _fills_the_ground(layer: Layer) -> bool:
    """Whether features lie beside one another without gaps, as parcels and zones do: the contract checks that."""
    return any(
        check.rule == "coverage.gap" or (check.rule == "coverage.overlap" and "within" in check.parameters)
        for check in layer.checks
    )


def _drawn(service: Service, snapshot: Snapshot, language: str) -> list[Drawn]:
    """All layers, the topmost first; with tiles below those that have more features than a client is to read."""
    names = [name for name, layer in snapshot.layers.items() if layer.geometry is not None]
    found: list[Drawn] = []
    for each in stacked(service, snapshot, names, language):
        told = snapshot.layers[each.id].description.in_language(language)
        found.append(Features(each.id, each.title, told, each))
        if each.drawn is not None:
            found.append(_tiles(service, Shown(*snapshot[each.id]), each, told, language))
    for layer in snapshot.layers.values():
        if layer.coverage is not None and may_export(service.agency, layer):
            found.append(_raster(service, layer, snapshot.publications[layer.id], language))
    return found


def _tiles(service: Service, shown: Shown, drawn: Portrayal, abstract: str, language: str) -> Tiles:
    title = words.translator(language)("{title} (small scales)").format(title=drawn.title)
    here = links.address(service.url, "collections", drawn.id, "tiles", matrix.ID)
    return Tiles(f"{drawn.id}.tiles", title, abstract, drawn, f"{here}/{{z}}/{{y}}/{{x}}", shown.first, matrix.LAST)


def _raster(service: Service, layer: Layer, publication: Publication, language: str) -> Raster:
    assert layer.coverage is not None
    band = layer.coverage.bands[0]
    measured: dict[str, Any] = next(iter(publication.facts.get("bands", ())), {})
    low, high = measured.get("min"), measured.get("max")
    return Raster(
        id=layer.id, title=layer.title.in_language(language), abstract=layer.description.in_language(language),
        address=links.address(service.url, "collections", layer.id, "coverage", parameters={"f": "GTiff"}),
        grid=publication.grids[0], colour=layer.style.fill or FILL, opacity=layer.style.opacity,
        unit=words.unit(band.unit, language),
        low=float(low if low is not None else band.minimum or 0.0),
        high=float(high if high is not None else band.maximum or 1.0),
    )  # fmt: skip


def _groups(snapshot: Snapshot, drawn: Sequence[Drawn], language: str) -> list[Group]:
    """The layers by theme; the theme of the topmost layer stands first."""
    _ = words.translator(language)
    themes = list(dict.fromkeys(_layer(snapshot, each).theme for each in drawn))
    ordered = sorted(drawn, key=lambda each: themes.index(_layer(snapshot, each).theme))
    by_theme = groupby(ordered, key=lambda each: _layer(snapshot, each).theme)
    return [Group(_(theme), tuple(members)) for theme, members in by_theme]


def _ids_shown(snapshot: Snapshot, drawn: Sequence[Drawn]) -> frozenset[str]:
    """What is switched on at first; tiles with their layer."""
    on = shown([_layer(snapshot, each) for each in drawn if not isinstance(each, Tiles)])
    return frozenset(each.id for each in drawn if _layer(snapshot, each).id in on)


def _layer(snapshot: Snapshot, drawn: Drawn) -> Layer:
    return snapshot.layers[drawn.portrayal.id if isinstance(drawn, Tiles) else drawn.id]


def shown(layers: Sequence[Layer]) -> frozenset[str]:
    """What agencies collect is shown at first; of the layers that fill the ground the finest, for they hide each other.

    What is computed of them, and coverages, lies ready to be switched on. `layers`: the topmost first.
    """
    collected = [layer for layer in layers if layer.kind == "features" and layer.sharing.level != "steward"]
    finest = next((layer for layer in collected if _fills_the_ground(layer)), None)
    return frozenset(layer.id for layer in collected if layer is finest or not _fills_the_ground(layer))


def _abstract(service: Service, language: str) -> str:
    _ = words.translator(language)
    return _("All layers that {agency} may see, read from {address}.").format(
        agency=service.agency.id, address=service.url
    )
