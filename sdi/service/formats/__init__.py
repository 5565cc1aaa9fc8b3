"""In which formats features are answered; each is an answer to the same question, asked for by `f` or Accept."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    """`name`: the value of `f`. `label`: what the format is called by people."""

    name: str
    media_type: str
    label: str
    extension: str | None = None
    """Of the file that a browser keeps it as; None: it is shown."""

    @property
    def schema(self) -> dict[str, str]:
        """What OpenAPI 3.0 says of its answers."""
        if self.media_type.endswith("json"):
            return {"type": "object"}
        return {"type": "string"} if self.text else {"type": "string", "format": "binary"}

    @property
    def text(self) -> bool:
        return self.media_type.startswith("text/") or "json" in self.media_type


ITEMS = {
    each.name: each
    for each in (
        # QGIS and GDAL take the first that they know: GeoJSON.
        Format("json", "application/geo+json", "GeoJSON"),
        Format("html", "text/html", "HTML"),
        Format("jsonld", "application/ld+json", "JSON-LD"),
        Format("jsonfg", "application/vnd.ogc.fg+json", "JSON-FG"),
        Format("geojsonseq", "application/geo+json-seq", "GeoJSONSeq"),
        Format("csv", "text/csv", "CSV", "csv"),
        Format("fgb", "application/flatgeobuf", "FlatGeobuf", "fgb"),
        Format("gpkg", "application/geopackage+sqlite3", "GeoPackage", "gpkg"),
        Format("parquet", "application/vnd.apache.parquet", "GeoParquet", "parquet"),
    )
}
"""Of pages of features, in the order of their links; the first is the default."""
ITEM = {name: ITEMS[name] for name in ("json", "html", "jsonld", "jsonfg")}
"""Of a single feature."""

EXPORTS = {
    each.name: each
    for each in (
        ITEMS["gpkg"], ITEMS["parquet"], ITEMS["fgb"], ITEMS["csv"],
        Format("json", "application/geo+json", "GeoJSON", "geojson"),
    )
}  # fmt: skip
"""Of whole layers; the first is the default."""
LABELS = {each.media_type: each.label for each in ITEMS.values()}


def disposition(layer: str, format_: Format) -> dict[str, str]:
    """The header that has a browser keep the answer, under the layer's plain name."""
    if format_.extension is None:
        return {}
    return {"Content-Disposition": f'attachment; filename="{layer}.{format_.extension}"'}
