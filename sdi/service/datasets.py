"""Collections in the words of schema.org, as pygeoapi writes them, with what it writes wrongly put right.

It calls every link a download, the landing page's too, under a name that schema.org does not have (`contentURL`), has
one licence for all layers, and `None` where a time has no end.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

DOWNLOADS = ("items", "enclosure", "http://www.opengis.net/def/rel/ogc/1.0/coverage")
"""Relations of a collection's links to its data."""


def mended(document: Any, collections: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The JSON-LD of one collection or of all, by the JSON documents of these collections."""
    made: dict[str, Any] = json.loads(document) if isinstance(document, str) else document
    known = {each["id"]: each for each in collections}
    told = made["dataset"] if isinstance(made["dataset"], list) else [made["dataset"]]
    for dataset in told:
        _mend(dataset, known[dataset["@id"].rpartition("/")[2]]["links"])
    return made


def _mend(dataset: dict[str, Any], links: list[dict[str, Any]]) -> None:
    dataset["distribution"] = [
        {"@type": "DataDownload", "contentUrl": each["href"], "encodingFormat": each["type"], "name": each["title"]}
        for each in links if each["rel"] in DOWNLOADS
    ]  # fmt: skip
    licences = [each["href"] for each in links if each["rel"] == "license"]
    dataset.pop("license", None)
    if licences:
        dataset["license"] = licences[0]
    covered = dataset.pop("temporalCoverage", None)
    if covered is not None:
        dataset["temporalCoverage"] = "/".join(".." if end == "None" else end for end in covered.split("/"))
