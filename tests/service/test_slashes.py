"""A base address that ends with a slash, and then '/conformance': the way to the address with one slash."""

from __future__ import annotations

import time
from urllib.parse import parse_qsl, quote, urlsplit

import pytest

from sdi.store import engine
from sdi.store.sharing import keys
from tests.service.conftest import Town, served_apart

KNOWN = ["/conformance", "/", "/collections", "/collections/plots/items?limit=2&f=json", "/lots/00004.1.1/dossier",
         "/collections/works/items/01%2FGPXD?f=json", "/openapi?f=html&lang=en"]  # fmt: skip


@pytest.mark.parametrize("slashes", ["/", "//", "/%2F"])
@pytest.mark.parametrize("path", KNOWN)
def test_a_slash_too_many_at_the_beginning_leads_to_the_address(town: Town, path: str, slashes: str) -> None:
    answer = town.ask(slashes + path)
    assert answer.status == 308
    led = answer.headers["Location"]
    assert led.startswith("/")
    assert not led.startswith(("//", "/\\"))
    assert answer.headers["Cache-Control"] == "no-store"
    there, here = town.ask(led), town.ask(path)
    assert there.status == here.status == 200
    assert there.headers["Content-Type"] == here.headers["Content-Type"]
    assert town.ask(slashes + path, "HEAD").status == 308


@pytest.mark.parametrize(
    "path",
    ["//evil.example", "//evil.example/%2e%2e", "//%5Cevil.example", "///evil.example/x", "//conformance/",
     "/collections//plots", "//collections//plots", "/collections/plots/", "//../conformance", "//static/sdi.css"],
)  # fmt: skip
def test_what_is_no_address_with_one_slash_either_leads_nowhere(town: Town, path: str) -> None:
    answer = town.ask(path)
    assert answer.status == 404
    assert answer.headers["Location"] is None


@pytest.mark.parametrize("path", ["/metrics", "/health", "/conformance", "/collections/plots", "/", "//metrics",
                                  "/collections/plots/items/00004.1.1"])  # fmt: skip
def test_an_address_with_a_line_feed_at_its_end_is_no_address(town: Town, path: str) -> None:
    """A proxy that keeps `/metrics` in passes `/metrics%0A` on, for it is another address."""
    assert town.ask(f"{path}%0A").status == 404
    assert town.ask(f"{path}%0A", "HEAD").status == 404


def test_it_says_nothing_of_what_is_hidden(town: Town) -> None:
    """The answer follows from the address alone; what is there, one is told at the address itself."""
    for name in ("plots", "secrets", "nothing"):
        assert town.ask(f"//collections/{name}").headers["Location"] == f"/collections/{name}"
    assert town.ask("/collections/secrets").status == town.ask("/collections/nothing").status == 404
    assert town.ask("//admin/agencies").status == 308
    assert town.ask("/admin/agencies").status == 404
    assert town.ask("//requests", "POST").status == 405


def test_nothing_that_is_asked_leads_to_another_place(town: Town) -> None:
    for sent in ("/evil.example", "\\evil.example", "@evil.example", "\r\nSet-Cookie: a=b", "é\u2028", "https://evil"):
        answer = town.ask(f"//collections/plots/items/{quote(sent, safe='')}?x={quote(sent, safe='')}")
        assert answer.status == 308 or "\n" in sent
        assert (answer.headers["Location"] or "").startswith("/collections/plots/items/") == (answer.status == 308)
        assert answer.headers["Set-Cookie"] is None


def test_a_key_is_asked_for_first_and_goes_along_where_it_came_in_the_address(town: Town) -> None:
    assert town.ask("//conformance", X_API_Key="wrong").status == 401
    with engine.connect(town.database, engine.OWNER) as owner:
        key = keys.make_key(owner, "so_thu")
    ends = time.monotonic() + 60
    while (answer := town.ask(f"//collections?key={key}&f=json")).status == 401:
        assert time.monotonic() < ends, "the key is not heard of"
        time.sleep(0.6)
    led = urlsplit(answer.headers["Location"])
    assert (led.path, dict(parse_qsl(led.query))) == ("/collections", {"f": "json", "key": key})
    assert town.ask(answer.headers["Location"]).status == 200


def test_behind_a_proxy_it_leads_to_the_public_address(town: Town) -> None:
    with served_apart(town, SDI_URL="https://city.example/sdi/") as below:
        assert below.ask("//conformance?lang=en").headers["Location"] == "/sdi/conformance?lang=en"
