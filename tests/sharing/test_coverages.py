"""A coverage is shared whole or not at all, and becomes a file for who may export it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from sdi.access import Grant
from sdi.contract.registry import read_registry
from sdi.errors import UsageError
from sdi.store import engine, migrate
from sdi.store.sharing import agencies, grants, keys
from tests.service.conftest import CORNER, TOWN, Town, enter_ground, served

GROUND = "/collections/ground"
READ = Grant(0, "reader", "ground", legal_basis="NĐ 194/2025/NĐ-CP", purpose="test")
HOLDERS = {"reader": READ, "taker": replace(READ, agency="taker", actions=frozenset({"read", "export"}))}
NARROW: dict[str, dict[str, Any]] = {
    "communes": {"communes": ("00004",)},
    "polygon": {"polygon": '{"type": "Polygon", "coordinates": [[[105, 20], [106, 20], [106, 21], [105, 20]]]}'},
    "generalised": {"precision": "generalised", "metres": 500.0},
    "none": {"precision": "none"},
    "rows": {"rows": "id IS NULL"},
}


@pytest.fixture(scope="module")
def town(new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """The ground is for agencies, by grant; each of `HOLDERS` has one."""
    folder = tmp_path_factory.mktemp("contracts") / "layers"
    shutil.copytree(TOWN, folder)
    with (folder / "ground.yaml").open("a", encoding="utf-8") as contract:
        contract.write("sharing: {level: agency}\n")
    registry, database = read_registry(folder), new_database()
    with engine.connect(database) as owner:
        migrate.apply(owner, registry)
        for name in (*HOLDERS, "narrowed"):
            agencies.add(owner, name, "ward", "Phường thử", "Test ward")
        for grant in HOLDERS.values():
            grants.give(owner, registry["ground"], grant)
    enter_ground(database, registry, tmp_path_factory.mktemp("ground"))
    with served(database, registry, data=tmp_path_factory.mktemp("data")) as found:
        yield found


def key_of(town: Town, agency: str) -> str:
    with engine.connect(town.database, engine.OWNER) as owner:
        key = keys.make_key(owner, agency)
    while town.ask("/", X_API_Key=key).status == 401:
        time.sleep(0.05)  # a service that has just looked at the register hears of it, or looks again
    return key


@pytest.mark.parametrize("what", NARROW)
def test_less_than_the_whole_of_a_coverage_cannot_be_granted(town: Town, what: str) -> None:
    with engine.connect(town.database, engine.OWNER) as owner, pytest.raises(UsageError, match="whole or not at all"):
        grants.give(owner, town.registry["ground"], replace(READ, **NARROW[what]))


def test_a_stored_grant_of_less_shows_nothing_of_it(town: Town) -> None:
    key = key_of(town, "narrowed")
    assert town.ask(GROUND, X_API_Key=key).status == 404
    with engine.connect(town.database, engine.OWNER) as owner:
        owner.execute(
            "INSERT INTO sdi.grant (agency, layer, classes, communes, precision, metres, actions, legal_basis, purpose,"
            " given_by) VALUES ('narrowed', 'ground', '{open}', '{00004}', 'exact', 0, '{read,export}', 'x', 'x', 'x')"
        )
    fresh = key_of(town, "narrowed")
    for path in (GROUND, f"{GROUND}/coverage", f"{GROUND}/coverage?f=GTiff", f"{GROUND}/schema"):
        assert town.ask(path, X_API_Key=fresh).status == 404, path
    assert "ground" not in town.ask("/collections?f=json", X_API_Key=fresh).text


def test_a_file_of_it_is_for_who_may_export(town: Town) -> None:
    box = f"bbox={CORNER[0]},{CORNER[1]},{CORNER[0] + 200},{CORNER[1] + 150}&bbox-crs=http://www.opengis.net/def/crs/EPSG/0/5897"
    for name, status in (("reader", 404), ("taker", 200)):
        key = key_of(town, name)
        assert town.ask(f"{GROUND}/coverage?f=json", X_API_Key=key).status == 200
        for question in ("f=GTiff", f"f=GTiff&{box}"):
            assert town.ask(f"{GROUND}/coverage?{question}", X_API_Key=key).status == status, (name, question)
        told = [town.ask(f"{GROUND}?f={form}", X_API_Key=key).text for form in ("json", "html")]
        assert [("GTiff" in each or "image/tiff" in each) for each in told] == [status == 200] * 2
