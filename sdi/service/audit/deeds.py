"""What an entry of the trail tells was done, in the words of the pages; the JSON keeps the trail's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

READS = {
    "items": "Read features", "item": "Read a feature", "read": "Looked at the layer",
    "description": "Looked at its attributes", "export": "Downloaded the whole layer", "coverage": "Read the coverage",
    "tile": "Looked at a map tile", "tiles": "Looked at its map tiles", "changes": "Read its changes",
    "dossier": "Read a dossier", "statistics": "Read its statistics", "styles": "Looked at its style",
    "style": "Looked at its style", "collections": "Looked at the layers", "audit": "Looked at this trail",
}  # fmt: skip
"""By the action that is recorded of an address."""
WRITES = {
    "load": {"done": "change: loaded", "derived": "change: derived", "refused": "A delivery was refused",
             "failed": "A load failed"},
    "publication": {"begun": "change: published", "ended": "change: withdrawn"},
    "waiver": {"begun": "A fault was let pass", "ended": "A fault is no longer let pass"},
    "stewardship": {"begun": "A steward was named", "ended": "A steward was dismissed"},
    "grant": {"begun": "A grant was given", "ended": "A grant was revoked"},
    "request": {"begun": "The layer was asked for", "ended": "A request was answered"},
    "webhook": {"begun": "Calls on changes were set up", "ended": "Calls on changes were ended"},
    "backup": {"begun": "Backed up"}, "restore": {"begun": "Restored from a backup"},
    "search": {"begun": "The trail was searched"},
}  # fmt: skip
"""By the table, or the command, that is recorded, and what became of it."""
_ENDS = ("revoked_at", "removed_at", "answered_at")


def deed(told: Mapping[str, Any]) -> str:
    """The message that says it; the trail's own words for what has none."""
    action, row = str(told["action"]), told.get("row", {})
    if told.get("kind") != "write":
        return READS.get(action, action)
    if action == "load":
        state = "derived" if (row.get("kind"), row.get("status")) == ("derived", "done") else row.get("status", "done")
    else:
        over = told.get("operation") == "delete" or row.get("published") is False or any(row.get(at) for at in _ENDS)
        state = "ended" if over else "begun"
    return WRITES.get(action, {}).get(state) or " ".join(filter(None, [action, told.get("operation")]))


def changed(told: Mapping[str, Any]) -> tuple[int, int, int] | None:
    """Of a load how many features are new, changed and ended."""
    row = told.get("row", {})
    if told["action"] != "load" or row.get("status") != "done":
        return None
    return row["inserted"], row["updated"], row["deleted"]
