"""pygeoapi's provider of what our own routes have found, for its JSON-LD, queryables and OpenAPI."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from pygeoapi.provider.base import BaseProvider, ProviderQueryError

from sdi.access import Agency
from sdi.contract.layer import Attribute, Layer
from sdi.contract.query import FeatureQuery
from sdi.service.parameters import comparable

QUERY: ContextVar[Any] = ContextVar("QUERY")
"""What pygeoapi's provider is to answer, carried to its thread: what was `Found`, or a coverage's most cells."""

_TYPES = {
    "integer": {"type": "integer"},
    "decimal": {"type": "number"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "date": {"type": "string", "format": "date"},
    "datetime": {"type": "string", "format": "date-time"},
}


@dataclass(frozen=True)
class Found:
    """A checked query and the features that answer it. They are read before pygeoapi is called: its thread could not be
    told that the client has hung up.
    """

    query: FeatureQuery
    features: list[dict[str, Any]]


@dataclass(frozen=True)
class Source:
    """What a provider needs of the running service; pygeoapi copies its configuration deeply, and this stays itself."""

    layer: Layer
    agency: Agency

    def __deepcopy__(self, memo: dict[int, Any]) -> Source:
        return self


class LayerProvider(BaseProvider):  # type: ignore[misc]
    """One published layer."""

    def __init__(self, provider_def: dict[str, Any]) -> None:
        self._fields: dict[str, Any] = {}
        super().__init__(provider_def)
        self._source: Source = provider_def["source"]
        self.get_fields()

    def get_fields(self) -> dict[str, Any]:
        """The attributes that may be compared, with their JSON types."""
        if not self._fields:
            self._fields = {a.name: field(a) for a in comparable(self._source.agency, self._source.layer)}
        return self._fields

    def query(self, **parameters: Any) -> dict[str, Any]:
        """Answer the query that our route has checked; pygeoapi's own reading of the parameters is left aside."""
        features = QUERY.get().features
        return {"type": "FeatureCollection", "features": features, "numberReturned": len(features), "links": []}

    def get(self, identifier: str, **parameters: Any) -> dict[str, Any]:
        features: list[dict[str, Any]] = QUERY.get().features
        if not features:
            raise ProviderQueryError("no such feature")
        return features[0]


def field(attribute: Attribute) -> dict[str, Any]:
    """The attribute as pygeoapi describes a field: a JSON Schema type in OpenAPI 3.0."""
    shape: dict[str, Any] = {"title": attribute.title.vi, **_TYPES.get(attribute.type, {"type": "string"})}
    return shape | ({"x-ogc-unit": attribute.unit} if attribute.unit else {})
