"""A load that changes something visible tells nothing of what else it changes.

Each agency is asked twice after something that it sees has happened: loaded alone, and loaded together with what is
hidden from it. Between the two all is as it was before. What is answered must be the same, but for what each load has
of its own: its number and its instant, and the tags and cursors that are made of them.
"""

from __future__ import annotations

import os
import random
import re

import pytest

from tests.sharing.city import City, Policy, Rows, addresses, certain, general, happen
from tests.sharing.conftest import SEED
from tests.sharing.test_differential import SHARE, Told, _difference, _settled, told

TIMES = int(os.environ.get("MIXED", "1"))
"""Visible things that happen, each loaded alone and with hidden ones; MIXED=50 for a long look."""
ASKED = 2
"""Agencies that are asked each time."""
HIDDEN = 2
"""Hidden things that happen together with the visible one."""
OWN = re.compile(
    rb'"load":\s?\d+|"cursor":"[^"]*"|(cursor|since)=[^"&>\\]+|\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)?'
    rb"|\d\d:\d\d(:\d\d)?,? (ng\xc3\xa0y )?\d\d?/\d\d?/\d{4}"
)
"""What each load has of its own, in any text."""
HEADERS = ("etag", "last-modified", "content-length", "repr-digest", "link")


def test_hidden_changes_in_a_load_of_visible_ones_change_no_byte(city: City, askers: list[Policy], then: str) -> None:
    chance = random.Random(SEED + 1)
    was = _copied(city.rows)
    names = {layer: chance.sample(sorted(rows), 2) for layer, rows in was.items()}
    names["cards"] = names["plots"]
    try:
        for _ in range(TIMES):
            layer, worlds, blind = _happened(city, askers, was, chance)
            paths = {asker.agency: _asked(asker, names, then, chance) for asker in blind}
            answers: list[dict[str, dict[str, Told]]] = []
            for rows in worlds:
                city.rows = _copied(rows)
                city.load(layer)
                _settled()
                answers.append({asker.agency: told(city, asker, paths[asker.agency]) for asker in blind})
                city.rows = _copied(was)
                city.load(layer)
            for asker in blind:
                alone, together = ({path: _masked(each) for path, each in one[asker.agency].items()} for one in answers)
                changed = [path for path in alone if alone[path] != together[path]]
                differences = [_difference(alone[path], together[path]) for path in changed[:2]]
                assert changed == [], (asker.agency, asker.parts, layer, changed, differences)
    finally:
        city.rows = was
        for layer in ("plots", "works"):
            city.load(layer)


def _happened(
    city: City, askers: list[Policy], was: Rows, chance: random.Random
) -> tuple[str, tuple[Rows, Rows], list[Policy]]:
    """A layer, its rows with something changed and with more changed, and agencies that see only the first."""
    for _ in range(300):
        city.rows = _copied(was)
        layer = happen(city, chance).layer
        alone = _copied(city.rows)
        for _ in range(HIDDEN):
            happen(city, chance, layer)
        blind = [
            asker for asker in askers
            if certain(asker.sees(was)) != certain(asker.sees(alone)) and asker.sees(alone) == asker.sees(city.rows)
        ]  # fmt: skip
        if len(blind) >= ASKED:
            return layer, (alone, _copied(city.rows)), chance.sample(blind, ASKED)
    pytest.fail("nothing is hidden from that many")


def _copied(rows: Rows) -> Rows:
    return {layer: dict(of) for layer, of in rows.items()}


def _asked(asker: Policy, names: dict[str, list[str]], then: str, chance: random.Random) -> list[str]:
    paths = [*general(asker.agency, names["plots"])]
    paths += [each for layer in names for each in addresses(layer, names[layer], then)]
    # How often a layer was loaded in all is told to who sees it whole; a GeoPackage has its instant in other bytes.
    return [path for path in paths
            if "/catalogue/changes" not in path and "f=gpkg" not in path and chance.random() < SHARE]  # fmt: skip


def _masked(answer: Told) -> Told:
    status, headers, body = answer
    return status, [each for each in headers if each[0] not in HEADERS], OWN.sub(b"", body)
