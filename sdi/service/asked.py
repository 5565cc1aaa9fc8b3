"""What a request asks for besides data: language, format, and no parameter that the resource does not know."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from starlette.requests import Request

from sdi.catalog.entry import ISO19139
from sdi.errors import BadRequest, NotFound, nearest
from sdi.service import formats

LANGUAGES = ("vi", "en")
"""The first is the default."""
USUAL = 300
"""Characters of a header up to which what was made of it is remembered."""

MEDIA_TYPES = {
    **{each.name: (each.media_type,) for each in formats.ITEMS.values()},
    "html": ("text/html", "application/xhtml+xml"),
    "json": ("application/json", "application/geo+json", "application/schema+json", "application/problem+json",
             "application/vnd.oai.openapi+json", "application/prs.coverage+json"),
    "GTiff": ("image/tiff",),
    "mvt": ("application/vnd.mapbox-vector-tile", "application/x-protobuf"),
    "ogc-catalog": ("application/ogc-catalog+json",),
    "iso19139": (ISO19139,),
    "tilejson": ("application/vnd.mapbox.tile+json",),
    "events": ("text/event-stream",),
    "ndjson": ("application/x-ndjson", "application/ndjson", "application/jsonl"),
    "mapbox": ("application/vnd.mapbox.style+json",),
    "sld11": ("application/vnd.ogc.sld+xml",),
    "qml": ("application/vnd.qgis.qml",),
    "qgz": ("application/x-qgis-project",),
}  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """A checked request: its parameters (each once), the language and the format of the answer."""

    parameters: dict[str, str]
    language: str
    format: str


def asked(request: Request, formats: Iterable[str], known: Iterable[str] = ()) -> Asked:
    """Check a request against the parameters (besides f and lang) and formats of a resource; the first is the default.

    Raises BadRequest for an unknown or repeated parameter (/req/core/query-param-unknown, -invalid), bad UTF-8, NUL.
    """
    parameters = read_parameters(request)
    known = (*known, "f", "lang")
    for name in parameters:
        if name not in known:
            raise BadRequest(f"There is no parameter '{name}' here.{nearest(name, known)}")
    return Asked(parameters, _language(request, parameters.get("lang")), format_(request, parameters, list(formats)))


def read_parameters(request: Request) -> dict[str, str]:
    """The query string, each name once. Raises BadRequest."""
    raw = request.scope.get("query_string", b"")
    parameters: dict[str, str] = {}
    for pair in filter(None, raw.split(b"&")):
        name, _, value = pair.replace(b"+", b" ").partition(b"=")
        key, text = _decoded(name), _decoded(value)
        if key in parameters:
            raise BadRequest(f"Parameter '{key}' stands more than once.")
        parameters[key] = text
    return parameters


def checked_path(value: str) -> str:
    """A path parameter. Raises NotFound for bytes that no id has (bad UTF-8, NUL)."""
    if "\x00" in value or "\ufffd" in value:
        raise NotFound("There is no such address.")
    return value


def language(request: Request) -> str:
    """`lang`, else Accept-Language, else Vietnamese. Raises BadRequest for a `lang` that is not spoken here."""
    return _language(request, request.query_params.get("lang"))


def _language(request: Request, wanted: str | None) -> str:
    if wanted is not None:
        found = wanted.strip().lower().replace("_", "-").split("-")[0]
        if found not in LANGUAGES:
            raise BadRequest(f"lang: '{wanted}' is not offered.", hint="vi or en")
        return found
    return spoken(request)


def spoken_or_asked(request: Request) -> str:
    """As `language`, but a `lang` that is not spoken here is passed over: for the page that says so."""
    try:
        return language(request)
    except BadRequest:
        return spoken(request)


def spoken(request: Request) -> str:
    """The language by Accept-Language alone; `vi;q=0` refuses Vietnamese."""
    header = request.headers.get("accept-language", "")
    return _spoken(header) if len(header) <= USUAL else _spoken.__wrapped__(header)


@lru_cache(maxsize=500)
def _spoken(header: str) -> str:
    tags = weights(header)
    scores = {offered: max((weight for tag, weight in tags.items() if tag.split("-")[0] == offered), default=None)
              for offered in LANGUAGES}  # fmt: skip
    rest = tags.get("*", 0.0)
    return max(LANGUAGES, key=lambda offered: rest if scores[offered] is None else scores[offered] or -1.0)


def format_(request: Request, parameters: Mapping[str, str], formats: list[str]) -> str:
    """`f`, else Accept, else the first format. Raises BadRequest for an `f` that is not offered."""
    wanted = parameters.get("f")
    if wanted is not None:
        found = next((offered for offered in formats if offered.lower() == wanted.lower()), None)
        if found is None and wanted.lower() == "geojson" and "json" in formats:
            found = "json"
        if found is None:
            raise BadRequest(f"f: '{wanted}' is not offered here.", hint=f"One of: {', '.join(formats)}")
        return found
    header, offered = request.headers.get("accept", ""), tuple(formats)
    return _accepted(header, offered) if len(header) <= USUAL else _accepted.__wrapped__(header, offered)


@lru_cache(maxsize=500)
def _accepted(header: str, formats: tuple[str, ...]) -> str:
    """The first of the greatest weight; what is named goes before what `*` stands for, and none of it is refused."""
    named = weights(header)
    places = {name: place for place, name in enumerate(named)}
    best, greatest = formats[0], (0.0, 0, -len(named))
    for each in formats:
        weight, close, name = _weight(named, MEDIA_TYPES[each])
        if weight > 0 and (ranked := (weight, close, -places[name])) > greatest:
            best, greatest = each, ranked
    return best


def _weight(named: Mapping[str, float], media_types: tuple[str, ...]) -> tuple[float, int, str]:
    """The weight of a format, by the most specific that names it (RFC 9110, 12.5.1), how specific, and its name."""
    families = dict.fromkeys(f"{media_type.partition('/')[0]}/*" for media_type in media_types)
    for close, names in ((2, media_types), (1, tuple(families)), (0, ("*/*",))):
        found = [(named[name], name) for name in names if name in named]
        if found:
            weight, name = max(found)
            return weight, close, name
    return 0.0, 0, ""


def accepts_html(request: Request) -> bool:
    """Whether a person's browser asks, so that a fault is told on a page."""
    if request.query_params.get("f") is not None:
        return request.query_params.get("f") == "html"
    return format_(request, {}, ["json", "html"]) == "html"


@lru_cache(maxsize=500)
def weights(header: str) -> Mapping[str, float]:
    """What an Accept header names, in lower case, with its quality."""
    found: dict[str, float] = {}
    for part in header.split(","):
        name, *options = (piece.strip() for piece in part.split(";"))
        quality = next((option[2:] for option in options if option[:2].lower() == "q="), "1")
        if name:
            found[name.lower()] = float(quality) if re.fullmatch(r"[01](\.\d{0,3})?", quality) else 0.0
    return found


def _decoded(text: bytes) -> str:
    try:
        decoded = unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        raise BadRequest("The query string is not UTF-8.") from None
    if "\x00" in decoded:
        raise BadRequest("The query string has a NUL byte.")
    return decoded
