"""How good a layer is counts every row of it, so it is told to who sees every one, and every attribute, as it is."""

from __future__ import annotations

from typing import Any

import pytest

from sdi.access import Grant
from tests.sharing.city import City
from tests.sharing.test_past import asker, given

WHOLE = frozenset({"open", "agency", "restricted"})


@pytest.mark.parametrize(
    ("name", "layer", "more", "told"),
    [
        ("rates_whole_plots", "plots", {"classes": WHOLE}, True),
        ("rates_no_defence", "plots", {}, False),
        ("rates_whole_works", "works", {}, True),
        ("rates_no_cost", "works", {"classes": frozenset({"open"})}, False),
        ("rates_centroids", "works", {"precision": "centroid"}, False),
        ("rates_no_work", "works", {"rows": "floors > 100"}, False),
    ],
)
def test_rates_are_told_to_who_sees_the_whole_layer(
    city: City, name: str, layer: str, more: dict[str, Any], told: bool
) -> None:
    grants: list[Grant] = [given(name, layer, **more)]
    if layer == "works":
        grants.append(given(name, "plots", classes=WHOLE))  # to which the works refer
    key = asker(city, name, *grants)
    asked = {path: city.town.ask(path, X_API_Key=key).text for path in (
        f"/collections/{layer}?f=json", f"/collections/{layer}?f=html&lang=en",
        *(f"/collections/data-catalogue/items/{layer}?f={each}" for each in ("json", "html", "jsonld", "iso19139")),
    )}  # fmt: skip
    words = ('"quality":', "Data quality", '"quality":', "ISO 19157", "dqv:hasQualityMeasurement", "gmd:report")
    assert [word in text for word, text in zip(words, asked.values(), strict=True)] == [told] * 6
