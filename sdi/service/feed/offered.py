"""Which layers have changes to tell, and in which formats."""

from __future__ import annotations

from sdi.contract.layer import Layer
from sdi.service.formats import Format

FORMATS = {
    each.name: each
    for each in (
        Format("json", "application/json", "JSON"),
        Format("html", "text/html", "HTML"),
        Format("ndjson", "application/x-ndjson", "NDJSON"),
        Format("events", "text/event-stream", "Server-Sent Events"),
    )
}
"""The first is the default."""


def are_told(layer: Layer) -> bool:
    """Whether a layer has changes to tell: features, and a past that is its own."""
    return layer.coverage is None and layer.sharing.level != "steward"
