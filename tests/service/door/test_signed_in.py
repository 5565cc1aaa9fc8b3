"""The head of every page: who is signed in, what is theirs, and nothing of it for another."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape

import pytest

from sdi.store import engine
from sdi.store.sharing import agencies, keys
from tests.service.conftest import Answer, Town

STEWARD, OTHER = "so_thu", "phong_dau_trang"
NAME = ("Phòng <Đầu> trang", "Office of the <Head>")
PAGES = ("/", "/collections", "/collections/plots", "/collections/plots/items", "/collections/plots/items/00004.1.1",
         "/lots/00004.1.1/dossier", "/statistics", "/openapi", "/collections/nothing")  # fmt: skip
"""One in which a page of features is tagged by what it is made of, and one that is not there, too."""


@dataclass
class Door:
    town: Town
    owner: engine.Connection
    keys: dict[str, str]

    def page(self, who: str | None, path: str, language: str = "vi", **headers: str) -> Answer:
        shown = {} if who is None else {"X-API-Key": self.keys[who]}
        return self.town.ask(f"{path}?lang={language}", Accept="text/html", **shown, **headers)

    def own(self, page: Answer) -> list[str]:
        """The addresses in the head of a page that are for who is signed in, without a language."""
        head = re.search(r'<details class="who">.*?</details>', page.text, re.DOTALL)
        return [] if head is None else [unescape(each) for each in re.findall(r'href="([^"]+)"', head[0])]


@pytest.fixture(scope="module")
def door(town: Town) -> Iterator[Door]:
    with engine.connect(town.database, engine.OWNER) as owner:
        known = {each.id for each in agencies.entries(owner)}
        if STEWARD not in known:
            agencies.add(owner, STEWARD, "department", f"Cơ quan {STEWARD}", f"Agency {STEWARD}")
        agencies.add(owner, OTHER, "department", *NAME)
        made = {name: keys.make_key(owner, name) for name in (STEWARD, OTHER)}
        yield Door(town, owner, made)
        agencies.set_administrator(owner, OTHER, False)
        for name in made:
            keys.revoke(owner, name)


def paths(links: list[str]) -> list[str]:
    return [each.partition("?")[0] for each in links]


@pytest.mark.parametrize("path", PAGES)
def test_every_page_says_who_is_signed_in_and_what_is_theirs(door: Door, path: str) -> None:
    page = door.page(OTHER, path)
    assert "Phòng &lt;Đầu&gt; trang" in page.text
    assert "Office of the" not in page.text
    assert "Cơ quan đăng nhập" not in page.text
    assert "Office of the &lt;Head&gt;" in door.page(OTHER, path, "en").text
    assert paths(door.own(page)) == ["/requests", f"/qgis/{OTHER}.qgz"]
    assert paths(door.own(door.page(STEWARD, path))) == ["/requests", "/audit", f"/qgis/{STEWARD}.qgz"]
    public = door.page(None, path)
    assert door.own(public) == []
    assert "Cơ quan đăng nhập" in public.text


def test_what_is_theirs_is_there(door: Door) -> None:
    for who in (STEWARD, OTHER):
        for address in door.own(door.page(who, "/")):
            assert door.town.ask(address, X_API_Key=door.keys[who]).status == 200, address


def test_a_key_in_the_address_leads_to_what_it_opens(door: Door) -> None:
    """It sends no forms."""
    links = door.own(door.town.ask(f"/collections?f=html&key={door.keys[STEWARD]}"))
    assert paths(links) == ["/audit", f"/qgis/{STEWARD}.qgz"]
    for address in links:
        assert door.town.ask(address).status == 200, address


@pytest.mark.parametrize("path", [path for path in PAGES if path != "/collections/nothing"])
def test_nobody_is_told_that_a_page_of_another_is_theirs(door: Door, path: str) -> None:
    shown = {who: door.page(who, path) for who in (None, OTHER, STEWARD)}
    assert len({page.headers["ETag"] for page in shown.values()}) == 3
    for who, page in shown.items():
        private = page.headers["Cache-Control"].startswith("private")
        assert private == (who is not None)
        assert "Authorization" in page.headers["Vary"]
        assert "X-API-Key" in page.headers["Vary"]
        for other in shown:
            answered = door.page(other, path, If_None_Match=page.headers["ETag"])
            assert (answered.status == 304) == (other == who), (who, other)


def test_a_page_is_another_when_what_is_theirs_is(door: Door) -> None:
    path = "/collections/plots/items"
    before = door.page(OTHER, path)
    agencies.set_administrator(door.owner, OTHER, True)
    ends = time.monotonic() + 60
    while paths(door.own(door.page(OTHER, path)))[-1] != "/admin/agencies":
        assert time.monotonic() < ends, "the register is not heard"
        time.sleep(0.05)
    again = door.page(OTHER, path, If_None_Match=before.headers["ETag"])
    assert again.status == 200
    assert door.town.ask("/admin/agencies", X_API_Key=door.keys[OTHER]).status == 200
    assert door.page(OTHER, path, If_None_Match=again.headers["ETag"]).status == 304
