"""HTML for people: Jinja templates in the asker's language, attribute values written as people read them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse

from sdi import __version__
from sdi.access import visible
from sdi.catalog.style import coded, map_style
from sdi.contract.codelist import CodeList
from sdi.contract.faults import FIELD, fields_of
from sdi.contract.layer import Attribute, Item, Layer
from sdi.service import asked, links, words
from sdi.service.state import Service, service_of
from sdi.settings import Settings
from sdi.store.ledger import Publication

TEMPLATES = Path(__file__).parent / "templates"
_BEFORE = 2000
"""A year. What has no load yet is dated in it (`quality.publications`) or earlier (`Publications`)."""
MOST_COLUMNS = 6
"""Of a table on A4, besides the id."""


class Pages:
    """The templates of one application."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._environment = Environment(
            loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
            lstrip_blocks=True,
        )  # fmt: skip
        self.policy = policy(settings)

    def render(self, template: str, language: str, request: Request, **content: Any) -> str:
        """A page; templates find the translator as `_`, the asker's writer of values as `write`, addresses by `to`."""
        service = service_of(request)
        navigation = Navigation(request, urlsplit(self._settings.url).path.rstrip("/"), service.url)
        return self._environment.get_template(template).render(
            **content, request=request, service=service, settings=self._settings, url=service.url, version=__version__,
            languages=asked.LANGUAGES, language=language, _=words.translator(language),
            write=Writer(language, service, navigation), to=navigation.to, here=navigation.here,
            in_language=navigation.in_language, in_format=navigation.in_format,
            side=side, is_list=is_list, used_attributes=used_attributes,
            unit=lambda code: words.unit(code or None, language), day=lambda text: words.day(text or "", language),
            percent=lambda rate: words.percent(rate, language), collects=_collects(service),
        )  # fmt: skip


def _collects(service: Service) -> bool:
    return any(layer.steward.id == service.agency.id for layer in service.registry.layers.values())


def answered(request: Request, language: str, template: str, **content: Any) -> HTMLResponse:
    """A page as an answer, under the pages' security policy."""
    pages: Pages = request.app.state.pages
    headers = {"Content-Language": language, "Content-Security-Policy": pages.policy}
    return HTMLResponse(pages.render(template, language, request, **content), headers=headers)


class Navigation:
    """Addresses within the service as the browser reaches it: without a host, so a proxy or a tunnel does no harm."""

    def __init__(self, request: Request, root: str, url: str) -> None:
        self._request, self._root, self._url = request, root, url

    def to(self, *steps: str, **parameters: Any) -> str:
        """An address by its path's steps; a language that was asked for stays."""
        kept = self._request.query_params.get("lang")
        if kept is not None and steps[:1] != ("static",):
            parameters["lang"] = kept
        return links.address(self._root, *(steps or ("",)), parameters=parameters)

    def here(self, href: str) -> str:
        """A document's link for the browser."""
        return self._root + href.removeprefix(self._url)

    def in_language(self, language: str) -> str:
        return f"?{self._request.url.include_query_params(lang=language).query}"

    def in_format(self, format_: str) -> str:
        return f"?{self._request.url.include_query_params(f=format_).query}"


class Writer:
    """Writes values in one language for one agency."""

    def __init__(self, language: str, service: Service, navigation: Navigation) -> None:
        self.language, self._navigation, self._agency = language, navigation, service.agency
        self._code_lists: Mapping[str, CodeList] = service.registry.code_lists
        self._served = service.publications.latest.layers

    def __call__(
        self, part: Attribute | Item, value: Any, units: Mapping[str, Mapping[str, str]] | None = None
    ) -> Markup | str:  # fmt: skip
        """A value of an attribute or of a list item's field, as people read it; a list becomes a small table.

        `units`: as for `name`; a unit's code stands behind its name.
        """
        if value in (None, "", []):
            return Markup('<span class="empty">–</span>')
        if isinstance(part, Attribute) and part.type == "list":
            return self._table(part, value)
        named = (units or {}).get(part.name, {}).get(str(value)) if isinstance(part, Attribute) else None
        text = self._text(part, value) if named is None else f"{named} ({value})"
        return self._linked(part.refers_to, value, text) if isinstance(part, Attribute) else text

    def title(self, part: Any) -> str:
        """The title of a layer, attribute, item, or anything with one."""
        return str(part.title.in_language(self.language))

    def amid(self, part: Any) -> str:
        """The title as it stands within a sentence: `Thửa đất` as `thửa đất`, but `QCVN` as it is."""
        title = self.title(part)
        return title if title[1:2].isupper() else title[:1].lower() + title[1:]

    def heading(self, part: Attribute | Item) -> str:
        """The title with its unit: `Diện tích (m²)`."""
        unit = words.unit(part.unit, self.language)
        return f"{self.title(part)} ({unit})" if unit else self.title(part)

    def name(self, layer: Layer, feature: Mapping[str, Any], units: Mapping[str, Mapping[str, str]]) -> str:
        """What people call a feature: by the contract's heading, else by the attribute that labels it on the map, else
        its id. `units`: attribute -> code -> name of the unit (`naming.units_of`).
        """
        told: Mapping[str, Any] = feature["properties"]
        parts = [self._part(layer, part.in_language(self.language), told, units) for part in layer.heading]
        heading = ", ".join(filter(None, parts))
        if heading:
            return heading[0].upper() + heading[1:]
        label = layer.style.label
        value = told.get(label) if label else None
        return (
            f"{self.title(layer[label])} {self._text(layer[label], value)}" if label and value else str(feature["id"])
        )

    def _part(self, layer: Layer, text: str, told: Mapping[str, Any], units: Mapping[str, Mapping[str, str]]) -> str:
        """A part of a heading; none where something in it is empty, or was not told to who asks."""
        if any(told.get(name) in (None, "") for name in fields_of(text)):
            return ""

        def value(found: re.Match[str]) -> str:
            name = found[1]
            return units.get(name, {}).get(str(told[name])) or self._text(layer[name], told[name])

        return FIELD.sub(value, text)

    def shown(self, layer: Layer, feature: Mapping[str, Any]) -> list[tuple[Attribute, Any]]:
        """The attributes of an answer with their values, in the contract's order."""
        return [(layer[name], value) for name, value in feature["properties"].items()]

    def attributes(self, layer: Layer) -> list[Attribute]:
        return [layer[name] for name in visible(self._agency, layer)]

    def style(self, layer: Layer) -> dict[str, Any]:
        return map_style(layer, self._code_lists, self.language, visible(self._agency, layer))

    def moment(self, value: Any) -> str:
        return words.moment(value.isoformat() if hasattr(value, "isoformat") else str(value), self.language)

    def changed(self, publication: Publication) -> str:
        """When a layer changed last; nothing for one that never did, which is dated before there was any."""
        return self.moment(publication.changed_at) if publication.changed_at.year > _BEFORE else ""

    def number(self, value: Any) -> str:
        return words.number(value, self.language)

    def _linked(self, collection: str | None, feature_id: Any, text: Markup | str) -> Markup | str:
        """A reference to a feature, where its layer is served."""
        if collection is None or collection not in self._served:
            return text
        address = self._navigation.to("collections", collection, "items", str(feature_id))
        return Markup('<a href="{}">{}</a>').format(address, text)

    def _text(self, part: Attribute | Item, value: Any) -> str:
        match part.type:
            case "code":
                return self._label(part.code_list or "", str(value))
            case "integer" | "decimal" | "number":
                return self._number(part, value)
            case "boolean":
                return words.truth(value, self.language)
            case "date":
                return words.day(str(value), self.language)
            case "datetime":
                return words.moment(str(value), self.language)
            case _:
                return str(value)

    def _number(self, part: Attribute | Item, value: Any) -> str:
        try:
            exact = Decimal(str(value))
        except InvalidOperation:
            return str(value)
        # A year is read without a separator of thousands.
        return str(value) if part.unit == "a" else words.number(exact, self.language)

    def _label(self, code_list: str, value: str) -> str:
        codes = self._code_lists.get(code_list)
        entries = [code for code in codes.codes if code.code == value] if codes else []
        if not entries:
            return value
        label = entries[-1].label_en if self.language == "en" else entries[-1].label_vi
        return coded(label, value)

    def _table(self, attribute: Attribute, rows: list[dict[str, Any]]) -> Markup:
        items = attribute.items or []
        head = Markup("").join(Markup("<th{}>{}</th>").format(side(item), self.heading(item)) for item in items)
        body = Markup("").join(
            Markup("<tr>{}</tr>").format(Markup("").join(self._cell(attribute, item, row) for item in items))
            for row in rows
        )
        return Markup('<table class="list"><thead><tr>{}</tr></thead><tbody>{}</tbody></table>').format(head, body)

    def _cell(self, attribute: Attribute, item: Item, row: Mapping[str, Any]) -> Markup:
        value = row.get(item.name)
        text = self(item, value)
        if item.name == "id" and value:
            text = self._linked(attribute.refers_to, value, text)
        return Markup("<td{}>{}</td>").format(side(item), escape(text))


def side(part: Attribute | Item) -> Markup:
    """Numbers stand on the right of their column."""
    return Markup(' class="number"' if part.type in ("integer", "decimal", "number") else "")


def is_list(attribute: Attribute) -> bool:
    return attribute.type == "list"


def used_attributes(layer: Layer | None, items: list[dict[str, Any]], beside: int = 0) -> list[Attribute]:
    """What a table on paper says of related features: MOST_COLUMNS with the `beside` columns of the relation.

    What labels the layer on a map comes first, codes, numbers and dates before free text; what is empty, repeats the id
    or stands in the relation already, by its name or as the same text, is left out.
    """
    if layer is None:
        return []

    def tells(attribute: Attribute) -> bool:
        values = [((item["properties"] or {}).get(attribute.name), item) for item in items]
        said = any(attribute.name in item["relation"] for item in items)
        return not said and any(value not in (None, "", *_said(item)) for value, item in values)

    found = [attribute for attribute in layer.attributes if attribute.type != "list" and tells(attribute)]
    found.sort(key=lambda attribute: (attribute.name != layer.style.label, attribute.type == "text"))
    return found[: max(2, MOST_COLUMNS - beside)]


def _said(item: Mapping[str, Any]) -> list[str]:
    """The texts that stand in a row already."""
    return [item["id"], *(value for value in item["relation"].values() if isinstance(value, str))]


def policy(settings: Settings) -> str:
    """The Content-Security-Policy of the pages: scripts and styles are files of ours, nothing stands within a page, and
    nothing comes from elsewhere but the configured basemap.
    """
    basemap = ""
    if settings.basemap:
        parts = urlsplit(settings.basemap.replace("{s}", "*"))
        basemap = f" {parts.scheme}://{parts.netloc}"
    return (
        f"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:{basemap}; connect-src 'self';"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
    )
