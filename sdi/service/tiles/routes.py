"""The addresses of tiles, of what is said about them, and of the tile matrix set they lie in."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from sdi.contract.layer import Layer
from sdi.errors import BadRequest, NotFound, nearest
from sdi.service import compression, fresh, links, pages
from sdi.service.asked import Asked, asked, checked_path
from sdi.service.audit import reads
from sdi.service.lanes import Lane
from sdi.service.publications import Snapshot
from sdi.service.rights import seen
from sdi.service.state import Service, service_of
from sdi.service.tiles import documents, matrix, page, tileset
from sdi.service.tiles.changes import Known
from sdi.service.tiles.packing import Tiles
from sdi.service.tiles.tileset import Shown, is_tiled
from sdi.store.tiles import Tile, select_tile

Endpoint = Callable[..., Awaitable[Response]]
HEAVY = 5_000
"""Features that a tile is expected to hold from which on it goes by the slow lane."""


def addresses() -> list[tuple[str, Endpoint]]:
    """Paths and their endpoints."""
    found: list[tuple[str, Endpoint]] = [
        ("/tileMatrixSets", matrix_sets), ("/tileMatrixSets/{matrix_set}", matrix_set),
    ]  # fmt: skip
    for at in ("", "/collections/{collection}"):
        found += [
            (f"{at}/tiles", tilesets), (f"{at}/tiles/{{matrix_set}}", one_tileset),
            (f"{at}/tiles/{{matrix_set}}/{{zoom}}/{{row}}/{{column}}", tile),
        ]  # fmt: skip
    return found


async def matrix_sets(request: Request) -> Response:
    ask = asked(request, ("json",))
    return _document(documents.matrix_sets(service_of(request), ask.language), ask.language)


async def matrix_set(request: Request, matrix_set: str) -> Response:
    ask = asked(request, ("json",))
    matrix.known(checked_path(matrix_set))
    return _document(matrix.definition(), ask.language)


async def tilesets(request: Request, collection: str | None = None) -> Response:
    """The list of tilesets. It is of one, so a person is shown that one."""
    ask = asked(request, ("json", "html"))
    service, layer, shown = await _shown(request, collection, None)
    if ask.format == "html":
        return _page(request, ask, service, layer, shown, None)
    return _document(documents.tilesets(service, layer, ask.language), ask.language)


async def one_tileset(request: Request, matrix_set: str, collection: str | None = None) -> Response:
    ask = asked(request, ("json", "tilejson", "html"), _known(collection))
    chosen = ask.parameters.get("collections")
    service, layer, shown = await _shown(request, collection, chosen)
    matrix.known(checked_path(matrix_set))
    named = None if chosen is None else ",".join(each.layer.id for each in shown)
    if ask.format == "html":
        return _page(request, ask, service, layer, shown, named)
    if ask.format == "tilejson":
        document = documents.tilejson(service, layer, shown, ask.language, named)
        return _document(document, ask.language, matrix.TILEJSON)
    return _document(documents.metadata(service, layer, shown, ask.language, named), ask.language)


async def tile(
    request: Request, matrix_set: str, zoom: str, row: str, column: str, collection: str | None = None
) -> Response:  # fmt: skip
    """A tile; an empty one is a 204 without a body (/req/core/tc-error B)."""
    ask = asked(request, ("mvt",), _known(collection))
    service, _, shown = await _shown(request, collection, ask.parameters.get("collections"))
    matrix.known(checked_path(matrix_set))
    place = matrix.tile_of(zoom, row, column)
    shown = tileset.within(shown, place)
    for each in shown:
        reads.told(each.layer.id, each.attributes(service.agency, place.zoom))
    headers = {"Cache-Control": _kept(service, shown)}
    settled = all(each.is_settled(service.agency) for each in shown)
    if headers["Cache-Control"] == fresh.SECRET or not settled:
        return _answer(await _rendered(service, place, shown), headers)
    made_of = await _tag(request, service, place, shown)
    tiles: Tiles = request.app.state.tiles
    if any(service.publications.latest.partial(each.layer.id) for each in shown):
        # What it is made of changes with what is hidden: only its bytes may tell.
        body = await tiles.of(made_of, lambda: _rendered(service, place, shown))
        validator = fresh.Validator(fresh.tag_of("tile", body.digest))
        headers |= validator.headers
        if validator.holds(request):
            return fresh.not_modified(headers.items())
    else:
        validator = fresh.Validator(made_of)
        headers |= validator.headers
        if validator.holds(request):
            return fresh.not_modified(headers.items())
        body = await tiles.of(made_of, lambda: _rendered(service, place, shown))
    body = await tiles.as_taken(made_of, body, compression.taken(request.headers.get("accept-encoding", "")))
    if body.coding is not None:
        headers["Content-Encoding"] = body.coding
    return _answer(body.content, headers)


def _answer(body: bytes, headers: dict[str, str]) -> Response:
    if not body:
        return Response(status_code=204, headers=headers)
    return Response(body, headers=headers, media_type=matrix.MVT)


async def _tag(request: Request, service: Service, place: Tile, shown: Sequence[Shown]) -> str:
    """What a tile is made of: the place, what who asks sees of which layers, and their versions there.

    Costs no query once the changes of the layers' generations are known. Read before the tile is made, so that what is
    made is never older than its tag says.
    """
    known: Known = request.app.state.changes
    stored = service.publications.latest.stored
    changes = await known.of(stored[each.layer.id] for each in shown)
    about: list[Any] = []
    for each in shown:
        publication, found = stored[each.layer.id], changes[each.layer.id]
        # Where nothing is known of the places, the whole layer's generation is the version of each.
        version = found.at(place.searched) if found else (publication.generation, publication.changed_at.isoformat())
        rule = seen(service.agency, each.layer)
        beside = service.publications.latest.stored_beside(rule.sight)
        about.append((each.layer.id, each.attributes(service.agency, place.zoom), rule.tag, version, beside))
    edition = service.publications.latest.edition
    return fresh.tag_of("tile", edition, place.zoom, place.row, place.column, about)


async def _rendered(service: Service, place: Tile, shown: Sequence[Shown]) -> bytes:
    if not shown:
        return b""
    parts = [each.part(service.agency, place.zoom) for each in shown]
    expected = sum(each.expected(place.zoom) for each in shown)
    lane = Lane.SLOW if expected > HEAVY else Lane.QUICK
    return await service.reader.tile(select_tile(place, parts), lane)


async def _shown(
    request: Request, collection: str | None, chosen: str | None
) -> tuple[Service, Layer | None, list[Shown]]:
    """The layers of a tileset, as far as they exist for who asks: one, the chosen ones, or all.

    All are those that are shared; what is one agency's alone it asks for by name, and no cache keeps it.
    """
    service = service_of(request)
    snapshot = await service.publications.current()
    if collection is not None:
        layer, publication = snapshot[checked_path(collection)]
        if not is_tiled(layer):
            raise NotFound(f"Collection '{layer.id}' has no tiles.")
        return service, layer, [Shown(layer, publication)]
    names = _chosen(service, snapshot, chosen) if chosen is not None else [
        name for name, layer in snapshot.layers.items() if is_tiled(layer) and layer.sharing.level != "steward"
    ]  # fmt: skip
    return service, None, [Shown(*snapshot[name]) for name in names]


def _chosen(service: Service, snapshot: Snapshot, text: str) -> list[str]:
    """`collections`: ids or addresses of collections, in the order of the tile's layers. Raises BadRequest."""
    base = links.address(service.url, "collections") + "/"
    names = list(dict.fromkeys(each.strip().removeprefix(base) for each in text.split(",")))
    tiled = [name for name, layer in snapshot.layers.items() if is_tiled(layer)]
    for name in names:
        if name not in tiled:
            raise BadRequest(f"collections: there is no collection '{name[:100]}' with tiles.{nearest(name, tiled)}")
    return names


def _known(collection: str | None) -> tuple[str, ...]:
    return ("collections",) if collection is None else ()


def _kept(service: Service, shown: Sequence[Shown]) -> str:
    """Who may keep a tile: nobody, where any of its layers is one agency's alone."""
    if any(each.layer.sharing.level == "steward" for each in shown):
        return fresh.SECRET
    return fresh.cache_control(service)


def _page(
    request: Request, ask: Asked, service: Service, layer: Layer | None, shown: Sequence[Shown], named: str | None
) -> Response:  # fmt: skip
    about = page.shown(service, layer, shown, ask.language, named)
    return pages.answered(request, ask.language, "tileset.html", **about)


def _document(content: dict[str, Any], language: str, media_type: str = "application/json") -> Response:
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(body, headers={"Content-Language": language}, media_type=media_type)
