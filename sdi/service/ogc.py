"""pygeoapi inside: its configuration from contracts, its functions called without its web application, its seams.

pygeoapi 0.24 gives the JSON of the landing page and the collections, JSON-LD, coverages and the OpenAPI document.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pygeoapi.api
import pygeoapi.api.coverages
import pygeoapi.api.itemtypes
import pygeoapi.l10n
from pygeoapi.linked_data import geojson2jsonld
from starlette.concurrency import run_in_threadpool

from sdi.access import Agency
from sdi.catalog.collection import resource
from sdi.contract.layer import Layer
from sdi.errors import BadRequest, NotFound
from sdi.service.coverage import coverage_path
from sdi.service.provider import QUERY, Source
from sdi.settings import Settings
from sdi.store.ledger import Publication

TEMPLATES = Path(__file__).parent / "templates" / "pygeoapi"
LANGUAGES = ["vi-VN", "en-US"]

Answer = tuple[dict[str, str], int, Any]


class _Forgetful(dict[Any, Any]):
    """A cache that keeps nothing."""

    def __setitem__(self, key: Any, value: Any) -> None:
        pass


def prepare() -> None:
    """Take pygeoapi's process-wide habits away; called once when an application is made, and again without harm.

    Its configuration cache hands one audience's or an older configuration to another; its `to_json` turns every `<` of
    an attribute into `&lt;`; its logger takes the root logger and reports every 400 with a traceback; its JSON-LD bears
    the moment it was written, so that the same features are never the same bytes.
    """
    pygeoapi.l10n._cfg_cache = _Forgetful()
    for module in (pygeoapi.api, pygeoapi.api.itemtypes, pygeoapi.api.coverages):
        module.to_json = lambda document, pretty=False: document
    pygeoapi.api.itemtypes.geojson2jsonld = _undated
    pygeoapi.api.setup_logger = lambda config: None
    logging.getLogger("pygeoapi").setLevel(logging.CRITICAL)


def _undated(api: Any, data: dict[str, Any], *arguments: Any, **more: Any) -> Any:
    data.pop("timeStamp", None)
    return geojson2jsonld(api, data, *arguments, **more)


def configuration(
    settings: Settings, layers: Mapping[str, Layer], published: Mapping[str, Publication], agency: Agency, folder: Path,
) -> dict[str, Any]:  # fmt: skip
    """pygeoapi's configuration of one audience."""
    resources: dict[str, Any] = {}
    for name, layer in layers.items():
        path = coverage_path(published[name], folder) if layer.coverage is not None else None
        resources[name] = resource(layer, published[name], settings, coverage=path)
        resources[name]["providers"][0]["source"] = Source(layer, agency)
    url = settings.url.rstrip("/")
    return {
        "server": {
            "bind": {"host": "127.0.0.1", "port": 80},
            "url": url,
            "encoding": "utf-8",
            "languages": LANGUAGES,
            "limits": {"default_items": settings.default_limit, "max_items": settings.max_limit},
            "map": {"url": "", "attribution": ""},
            "templates": {"path": str(TEMPLATES)},
        },
        "logging": {"level": "CRITICAL"},
        "metadata": metadata(settings, url),
        "resources": resources,
    }


def metadata(settings: Settings, url: str) -> dict[str, Any]:
    title = {"vi": settings.title_vi, "en": settings.title_en}
    return {
        "identification": {
            "title": title,
            "description": {
                "vi": "Các lớp dữ liệu đất đai, xây dựng và địa chính của đô thị, chia sẻ qua OGC API.",
                "en": "The city's land, construction and cadastral layers, shared as OGC APIs.",
            },
            "keywords": {"vi": ["đất đai", "xây dựng", "địa chính", "quy hoạch"],
                         "en": ["land", "construction", "cadastre", "planning"]},
            "terms_of_service": url,
            "url": url,
        },
        "license": {"name": {"vi": "Theo từng lớp dữ liệu", "en": "As each layer states"}, "url": f"{url}/collections"},
        "provider": {"name": title, "url": url},
        "contact": {"name": title, **({"email": settings.contact} if settings.contact else {})},
    }  # fmt: skip


def api(config: dict[str, Any], document: dict[str, Any]) -> Any:
    """pygeoapi's API object over a configuration."""
    return pygeoapi.api.API(config, document)


@dataclass(frozen=True)
class _Request:
    """As much of a web request as pygeoapi looks at."""

    query_params: dict[str, str]
    scope: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)


async def call(
    api: Any, function: Callable[..., Answer], language: str, format_: str, *arguments: Any,
    query: Any = None, parameters: Mapping[str, str] | None = None, path: str = "/",
) -> tuple[dict[str, str], Any]:  # fmt: skip
    """Call a function of pygeoapi's API in a thread; returns its headers and its document (a dict for JSON).

    `query`: what the provider answers. Only checked parameters are handed on, so an error answer is
    either a resource that is not there or a fault.
    """
    asked = _Request({"f": format_, "lang": language, **(parameters or {})}, {"path": path})

    def ask() -> Answer:
        QUERY.set(query)
        # A copy of its own for each call: pygeoapi leaves the asker's language on the API object.
        own = copy.copy(api)
        request = pygeoapi.api.APIRequest(asked, own.locales)
        return function(own, request, *arguments)

    headers, status, content = await run_in_threadpool(ask)
    if status == 404:
        raise NotFound("There is no such resource.")
    if status == 400:
        raise BadRequest("The request cannot be answered for this resource.")
    if status >= 400:
        raise RuntimeError(f"pygeoapi answered {status}: {content}")
    return headers, content
