"""The addresses of the service; each checks what is asked, finds the published layer, and hands on."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pygeoapi.api.coverages import get_collection_coverage
from pygeoapi.api.itemtypes import get_collection_item, get_collection_items
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Receive, Scope, Send

from sdi.access import may_export
from sdi.contract.elements import element
from sdi.contract.layer import Layer
from sdi.errors import NotFound, SdiError, nearest
from sdi.national import vn2000
from sdi.service import (
    coverage,
    crs,
    documents,
    dossier,
    finding,
    fresh,
    items,
    kin,
    links,
    maps,
    naming,
    ogc,
    problems,
    provider,
    sent,
)
from sdi.service.agencies import CHALLENGE
from sdi.service.answers import kept
from sdi.service.asked import Asked, asked, checked_path
from sdi.service.audit import page as audit_page
from sdi.service.door import administration, requests
from sdi.service.feed import routes as feed_routes
from sdi.service.formats import EXPORTS, ITEM, ITEMS, LABELS, export, lines, packed
from sdi.service.operations import Said
from sdi.service.page import begins
from sdi.service.pages import Pages
from sdi.service.parameters import Question, known, placed, question, record_time
from sdi.service.portrayal import routes as portrayal_routes
from sdi.service.publications import Snapshot
from sdi.service.records import documents as records
from sdi.service.records import routes as record_routes
from sdi.service.records.entries import entries
from sdi.service.state import Service, service_of
from sdi.service.statistics import routes as statistics_routes
from sdi.service.statistics.question import dimensions
from sdi.service.tiles import routes as tile_routes
from sdi.store.ledger import Publication

SCHEMA = "application/schema+json"
OPENAPI = "application/vnd.oai.openapi+json;version=3.0"
_HEADINGS = {"schema": "Schema", "queryables": "Queryables", "sortables": "Sortables"}
_EXPLANATIONS = {
    "schema": "What every feature of this layer has.",
    "queryables": "What a filter may name.",
    "sortables": "What the features may be sorted by.",
}
PAGE_ROWS = 100
"""Features on an HTML page where no limit is asked."""


class Address(Route):
    """A route that says which one it is, for logs and metrics.

    Starlette's own: every endpoint here checks its parameters itself, and what FastAPI does for those that do not costs
    as much as finding a feature. What an endpoint raises is told by the application's own handlers, once for all.
    """

    def __init__(self, path: str, endpoint: Callable[[Request], Awaitable[Response]], methods: list[str]) -> None:
        super().__init__(path, endpoint, methods=methods, include_in_schema=False)
        self._answer = endpoint

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.methods is not None
        if scope["method"] not in self.methods:
            await super().handle(scope, receive, send)
            return
        response = await self._answer(Request(scope, receive, send))
        await response(scope, receive, send)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["path"].endswith("\n"):
            # Starlette's patterns end before it: `/metrics%0A`, which a proxy that keeps `/metrics` in passes on.
            return Match.NONE, {}
        match, found = super().matches(scope)
        return match, {**found, "route": self} if match is not Match.NONE else found


def addresses() -> list[BaseRoute]:
    """Every address but the static files."""
    routes: list[BaseRoute] = []
    own: list[tuple[str, tile_routes.Endpoint]] = [
        # An address of the catalogue reads like one of a layer's.
        *record_routes.items(),
        # What is asked for most is looked at first: an address is compared with one after another.
        ("/collections/{collection}/items/{feature:path}", feature), ("/collections/{collection}/items", features),
        ("/collections/{collection}/tiles/{matrix_set}/{zoom}/{row}/{column}", tile_routes.tile),
        *record_routes.addresses(),
        ("/", landing), ("/conformance", conformance), ("/openapi", openapi),
        ("/collections", collections), ("/collections/{collection}", collection),
        ("/collections/{collection}/schema", schema), ("/collections/{collection}/queryables", queryables),
        ("/collections/{collection}/sortables", sortables),
        ("/collections/{collection}/export", export_whole),
        ("/collections/{collection}/export/sha256", export_checksum),
        ("/collections/{collection}/coverage", coverage_data), ("/code-lists/{code_list}", code_list),
        ("/agency", sign_in), ("/health", health), ("/metrics", metrics), *tile_routes.addresses(),
        *feed_routes.addresses(), *audit_page.addresses(),
        *portrayal_routes.addresses(), *statistics_routes.addresses(),
        ("/{path}/{feature:path}/dossier", dossier_of),
    ]  # fmt: skip
    for path, endpoint in own:
        # What is another at each moment has no tag.
        answer = endpoint if endpoint in (sign_in, health, metrics) else fresh.validated(endpoint)
        answer = kept(answer) if endpoint in (feature, features) else answer
        routes.append(Address(path, _called(answer), methods=["GET", "HEAD"]))
    register = administration.page
    routes.append(Address("/admin/agencies", register, methods=administration.METHODS))
    routes.append(Address("/requests", requests.page, methods=requests.METHODS))
    routes.append(Address("//{rest:path}", _one_slash([*routes]), methods=["GET", "HEAD"]))
    return routes


def _one_slash(known: list[BaseRoute]) -> Callable[[Request], Awaitable[Response]]:
    """Clients put '/conformance' behind a base address that ends with a slash already (OGC's test suites do, and the
    standard's own abstract tests). They are sent to the address with one slash: to answer here would pass by what a
    proxy refuses by its path. Only addresses of ours, whoever asks; what is there for whom, they say themselves.
    """

    async def answer(request: Request) -> Response:
        path = "/" + request.scope["path"].lstrip("/")
        if not any(route.matches({**request.scope, "path": path})[0] is Match.FULL for route in known):
            raise NotFound("There is no such address.")
        root = urlsplit(service_of(request).url).path.rstrip("/")
        asked = request.scope["query_string"].decode("latin-1")
        to = root + quote(path) + (f"?{asked}" if asked else "")
        return RedirectResponse(to, 308, {"Cache-Control": fresh.SECRET})

    return answer


def _called(endpoint: Callable[..., Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    async def called(request: Request) -> Response:
        return await endpoint(request, **request.path_params)

    return called


async def landing(request: Request) -> Response:
    ask = asked(request, ("json", "html", "jsonld"))
    service, snapshot = await _now(request)
    document = await documents.landing(service, snapshot, ask.language, _data(ask))
    if ask.format == "html":
        finds = await finding.first(service, snapshot, ask.language)
        return _page(request, ask, "landing.html", document=document, snapshot=snapshot, finds=finds)
    return _document(ask, document)


async def conformance(request: Request) -> Response:
    ask = asked(request, ("json", "html"))
    _, snapshot = await _now(request)
    document = documents.conformance(snapshot)
    if ask.format == "html":
        return _page(request, ask, "conformance.html", document=document)
    return _document(ask, document)


async def openapi(request: Request) -> Response:
    ask = asked(request, ("json", "html"))
    _, snapshot = await _now(request)
    if ask.format == "html":
        said = Said({**snapshot.counted, **snapshot.layers}, ask.language)
        return _page(request, ask, "openapi.html", document=snapshot.openapi, said=said)
    return _document(ask, snapshot.openapi, OPENAPI)


async def collections(request: Request) -> Response:
    ask = asked(request, ("json", "html", "jsonld"))
    service, snapshot = await _now(request)
    if ask.format == "html":
        return _page(request, ask, "collections.html", snapshot=snapshot)
    document = await documents.collections(service, snapshot, ask.language, ask.format)
    if ask.format == "json":
        known = await entries(service, snapshot, ask.language)
        document["collections"].append(records.collection(service, known, ask.language))
    return _document(ask, document)


async def collection(request: Request, collection: str) -> Response:
    ask = asked(request, ("json", "html", "jsonld"))
    service, snapshot, layer, publication = await _layer(request, collection)
    if ask.format == "html":
        shown = maps.of_collection(service, layer, publication, ask.language)
        if layer.coverage is not None:
            shown["corners"] = maps.corners(publication)
        return _page(request, ask, "collection.html", layer=layer, publication=publication, map=shown,
                     exported=may_export(service.agency, layer),
                     rates=snapshot.rates.get(layer.id), element=element, counted=dimensions(service.agency, layer),
                     grids=[vn2000.grid(epsg) for epsg in publication.grids])  # fmt: skip
    return _document(ask, await documents.collection(service, snapshot, layer.id, ask.language, ask.format))


async def schema(request: Request, collection: str) -> Response:
    ask = asked(request, ("json", "html"))
    service, _, layer, _ = await _layer(request, collection)
    return _schema(request, ask, layer, documents.feature_schema(service, layer, ask.language))


async def queryables(request: Request, collection: str) -> Response:
    ask = asked(request, ("json", "html"))
    service, _, layer, _ = await _layer(request, collection)
    return _schema(request, ask, layer, documents.queryables(service, layer, ask.language))


async def sortables(request: Request, collection: str) -> Response:
    ask = asked(request, ("json", "html"))
    service, _, layer, _ = await _layer(request, collection, kind="features")
    return _schema(request, ask, layer, documents.sortables(service, layer, ask.language))


async def features(request: Request, collection: str) -> Response:
    service, snapshot, layer, publication = await _layer(request, collection, kind="features")
    ask = asked(request, ITEMS, known(service.agency, layer))
    rows = PAGE_ROWS if ask.format == "html" else None
    ask = finding.filled(ask, service.agency, layer) if ask.format == "html" else ask
    wanted = question(layer, publication, service.agency, service.settings, ask.parameters, rows)
    wanted = placed(wanted, service.agency, await service.cursors(), ask.parameters)
    validator = request.state.validator = fresh.of_page(service, snapshot, layer, publication, ask, wanted)
    headers = {**validator.headers, "Cache-Control": fresh.cache_control(service, layer)}
    if validator.holds(request):
        told = {"Content-Crs": f"<{wanted.crs.uri}>", "Content-Language": ask.language}
        return fresh.not_modified((headers | told).items())
    if ask.format in ("json", "jsonfg"):
        return await items.feature_collection(request, ask, layer, wanted, snapshot, headers)
    wanted = await service.foreseen(snapshot, layer, wanted)
    if ask.format == "html":
        return await _page_of_features(request, ask, snapshot, layer, publication, wanted, headers)
    if ask.format in ("geojsonseq", "csv"):
        return await lines.page(request, ask, layer, wanted, snapshot, headers)
    if ask.format in ("fgb", "gpkg", "parquet"):
        return await packed.page(request, ask, layer, wanted, snapshot, headers)
    page = await service.page(layer, wanted)
    headers["Link"] = links.header(await items.page_links(service, ask, layer, wanted, page))
    found = provider.Found(wanted.query, page.parsed())
    told, content = await ogc.call(snapshot.api, get_collection_items, ask.language, ask.format, layer.id, query=found)
    return _foreign(told, content, wanted.crs, headers)


async def _page_of_features(
    request: Request, ask: Asked, snapshot: Snapshot, layer: Layer, publication: Publication, wanted: Question,
    headers: dict[str, str],
) -> Response:  # fmt: skip
    """The page that a person reads."""
    service = service_of(request)
    page = await service.page(layer, wanted)
    matched = await service.matched(snapshot, layer, wanted, page)
    answered = await items.page_links(service, ask, layer, wanted, page)
    shown = maps.of_features(service, layer, publication, ask, maps.page_source(layer, ask, wanted))
    form, features = await finding.form(service, snapshot, layer, ask.language), page.parsed(str)
    units = await naming.units_of(service, snapshot, layer, [each["properties"] for each in features])
    response = _page(request, ask, "items.html", layer=layer, features=features, units=units, matched=matched,
                     begins=begins(wanted, page), links=answered, question=wanted, map=shown, labels=LABELS,
                     form=form, filled=ask.parameters)  # fmt: skip
    response.headers.update(headers if matched.settled else items.unsettled(headers))
    response.headers["Link"] = links.header(answered)
    return response


async def feature(request: Request, collection: str, feature: str) -> Response:
    service, snapshot, layer, publication = await _layer(request, collection, kind="features")
    of_past = [name for name in known(service.agency, layer) if name == "as-of"]  # a quality collection has none
    ask = asked(request, ITEM, ("crs", *of_past))
    feature_id = checked_path(feature)
    uri = ask.parameters.get("crs")
    answered = crs.resolve(uri, publication.grids, "crs") if uri is not None else crs.DEFAULT
    known_at = record_time(ask.parameters)
    # First of all: a hidden feature must not be known by the time that its parents take.
    row = await items.one(service, layer, feature_id, answered, known_at, items.form_of(ask))
    related = await kin.told(service, snapshot, layer, feature_id, known_at) if ask.format != "jsonld" else {}
    if ask.format in ("json", "jsonfg"):
        return items.feature(request, ask, layer, feature_id, row, answered, snapshot, related)
    if ask.format == "html":
        found = json.loads(row, parse_float=str)
        shown = maps.of_features(service, layer, publication, ask, maps.item_source(layer, feature_id, ask))
        units = await naming.units_of(service, snapshot, layer, [found["properties"]])
        return _page(request, ask, "item.html", layer=layer, feature=found, map=shown, known_at=known_at, kin=related,
                     links=items.item_links(service, ask, layer, feature_id, snapshot), labels=LABELS,
                     units=units)  # fmt: skip
    query = items.by_ids(service, layer, (feature_id,), answered, known_at)
    found = provider.Found(query, [json.loads(row)])
    address = links.address("", feature_id).lstrip("/")
    headers, content = await ogc.call(
        snapshot.api, get_collection_item, ask.language, "jsonld", layer.id, address, query=found
    )
    return _foreign(headers, content, answered)


async def export_whole(request: Request, collection: str, checksum: bool = False) -> Response:
    _, snapshot, layer, publication = await _layer(request, collection, kind="features")
    ask = asked(request, EXPORTS, ("crs",))
    return await export.file(request, ask, layer, publication, snapshot, checksum=checksum)


async def export_checksum(request: Request, collection: str) -> Response:
    return await export_whole(request, collection, checksum=True)


async def coverage_data(request: Request, collection: str) -> Response:
    service, snapshot, layer, publication = await _layer(request, collection, kind="coverage")
    ask = asked(request, ("json", "GTiff"), coverage.PARAMETERS)
    if ask.format == "GTiff" and not may_export(service.agency, layer):
        raise NotFound(f"Collection '{layer.id}' has no export.")
    wanted, most = coverage.window(ask, layer, publication), coverage.size(ask)
    if ask.format == "GTiff" and not wanted and most is None:
        # The file itself, by ranges too: GDAL and QGIS read what they need of it.
        path = Path(coverage.coverage_path(publication, service.settings.data))
        headers = {"Cache-Control": fresh.cache_control(service, layer)}
        tag = fresh.of_file(service, snapshot, publication)
        return sent.file(request, path, tag, "image/tiff; application=geotiff", f"{layer.id}.tif", headers)
    _, content = await ogc.call(
        snapshot.api, get_collection_coverage, ask.language, ask.format, layer.id, query=most, parameters=wanted
    )
    if ask.format == "GTiff":
        return Response(content, media_type="image/tiff; application=geotiff")
    return _document(ask, content, "application/prs.coverage+json")


async def code_list(request: Request, code_list: str) -> Response:
    ask = asked(request, ("json", "html"))
    service = service_of(request)
    lists = service.registry.code_lists
    if code_list not in lists:
        raise NotFound(f"There is no code list '{checked_path(code_list)[:100]}'.{nearest(code_list, lists)}")
    document = documents.code_list(service, code_list, ask.language)
    if ask.format == "html":
        return _page(request, ask, "code_list.html", document=document)
    return _document(ask, document)


async def dossier_of(request: Request, path: str, feature: str) -> Response:
    service, snapshot = await _now(request)
    derived = snapshot.dossier_at(checked_path(path))
    ask = asked(request, ("json", "html"))
    feature_id = checked_path(feature)
    document = await dossier.document(service, snapshot, derived, feature_id, ask)
    if ask.format == "html":
        return await dossier.page(request, snapshot, derived, document, ask)
    return _document(ask, document)


async def sign_in(request: Request) -> Response:
    """Where a person's browser asks for an agency's key: other addresses never ask, they do not tell what they hide."""
    service = service_of(request)
    if service.agency.public:
        asks = "Give the agency as user name and its key as password."
        return problems.answer(request, 401, "Unauthorized", asks, CHALLENGE)
    return RedirectResponse(links.address(service.url, "collections"), 303)


async def health(request: Request) -> Response:
    """200 when the store answers, else 503; for health checks of containers and proxies."""
    unkept = {"Cache-Control": fresh.SECRET}
    service = service_of(request)
    try:
        await service.reader.version()
    except SdiError as error:
        return JSONResponse({"status": "error", "store": error.title}, error.status, unkept)
    # Not the ledger's version: it would tell of loads that nobody may know of.
    return JSONResponse({"status": "ok"}, headers=unkept)


async def metrics(request: Request) -> Response:
    found = generate_latest(request.app.state.metrics.registry)
    return Response(found, headers={"Cache-Control": fresh.SECRET}, media_type=CONTENT_TYPE_LATEST)


async def _now(request: Request) -> tuple[Service, Snapshot]:
    service = service_of(request)
    return service, await service.publications.current()


async def _layer(
    request: Request, name: str, kind: str | None = None
) -> tuple[Service, Snapshot, Layer, Publication]:  # fmt: skip
    """The published layer; a coverage has no items and a feature layer no coverage: NotFound."""
    service, snapshot = await _now(request)
    layer, publication = snapshot[checked_path(name)]
    if kind is not None and (layer.coverage is not None) != (kind == "coverage"):
        what = "items" if kind == "features" else "coverage"
        raise NotFound(f"Collection '{layer.id}' has no {what}.")
    return service, snapshot, layer, publication


def _data(ask: Asked) -> str:
    """pages are made from the JSON document"""
    return "json" if ask.format == "html" else ask.format


def _document(ask: Asked, content: Any, media_type: str | None = None) -> Response:
    body = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    media_type = media_type or {"jsonld": "application/ld+json"}.get(ask.format, "application/json")
    headers = {"Content-Language": ask.language}
    if isinstance(content, dict) and "links" in content:
        headers["Link"] = links.header(content["links"])
    return Response(body.encode(), headers=headers, media_type=media_type)


def _schema(request: Request, ask: Asked, layer: Layer, document: dict[str, Any]) -> Response:
    if ask.format == "html":
        kind = str(document["$id"]).rpartition("/")[2]
        return _page(request, ask, "schema.html", layer=layer, document=document, heading=_HEADINGS[kind],
                     explanation=_EXPLANATIONS[kind])  # fmt: skip
    return _document(ask, document, SCHEMA)


def _foreign(
    headers: dict[str, str], content: Any, answered: crs.Crs, more: Mapping[str, str] | None = None
) -> Response:  # fmt: skip
    """An answer that pygeoapi has written out."""
    kept: dict[str, str] = {name: headers[name] for name in ("Content-Language",) if name in headers}
    return Response(
        content,
        headers={**kept, **(more or {}), "Content-Crs": f"<{answered.uri}>"},
        media_type=headers["Content-Type"],
    )


def _page(request: Request, ask: Asked, template: str, **content: Any) -> Response:
    pages: Pages = request.app.state.pages
    return HTMLResponse(
        pages.render(template, ask.language, request, **content),
        headers={"Content-Language": ask.language, "Content-Security-Policy": pages.policy},
    )
