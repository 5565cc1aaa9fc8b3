"""What every answer tells a browser, and which sites may read it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sdi.service.pages import TEMPLATES
from sdi.service.wall.headers import Headers
from sdi.settings import Settings
from sdi.store import engine
from sdi.store.sharing import keys
from tests.service.conftest import Town, served

PATHS = [
    "/", "/collections", "/collections/plots/items?limit=1", "/collections/plots/items?limit=1&f=csv", "/nope",
    "/collections/plots/items?limit=x", "/static/map.js", "/health", "/openapi?f=html", "/metrics",
    "/collections/plots/tiles/WebMercatorQuad/0/0/0", "/agency",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_has_them(town: Town, path: str) -> None:
    for accept in ("*/*", "text/html"):
        headers = town.ask(path, Accept=accept).headers
        assert headers.get_all("X-Content-Type-Options") == ["nosniff"]
        assert headers.get_all("X-Frame-Options") == ["SAMEORIGIN"]
        assert headers.get_all("Referrer-Policy") == ["strict-origin-when-cross-origin"]
        assert "camera=()" in headers["Permissions-Policy"]
        assert headers.get_all("Cross-Origin-Resource-Policy") == ["cross-origin"]
        assert headers["Strict-Transport-Security"] is None
        if (headers["Content-Type"] or "").startswith("text/html"):
            policy = headers["Content-Security-Policy"]
            assert "unsafe" not in policy
            assert policy.startswith("default-src 'none'; script-src 'self';")
            assert "frame-ancestors 'self'" in policy


def test_what_a_key_opens_is_for_no_other_site(town: Town) -> None:
    with engine.connect(town.database) as connection:
        key = keys.make_key(connection, "so_thu")
    headers = town.ask("/collections", Authorization=f"Bearer {key}").headers
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Cache-Control"].startswith("private")


@pytest.mark.parametrize(
    ("url", "seconds", "told"),
    [
        ("https://sdi.example", 3600, "max-age=3600"),
        ("https://sdi.example", 0, None),
        ("http://sdi.example", 3600, None),
    ],
)
def test_browsers_are_told_to_come_by_https_where_that_is_set_and_so_served(
    url: str, seconds: int, told: str | None
) -> None:
    found = dict(Headers(Settings(url=url, hsts=seconds)).of({"type": "http", "headers": []}))
    assert found.get(b"strict-transport-security") == (told and told.encode())


def test_every_site_may_read_what_is_public_and_none_with_credentials(town: Town) -> None:
    headers = town.ask("/collections", Origin="https://any.example").headers
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert headers["Access-Control-Allow-Credentials"] is None
    asked = {"Origin": "https://any.example", "Access_Control_Request_Method": "GET"}
    with_key = town.ask("/collections", "OPTIONS", Access_Control_Request_Headers="authorization", **asked)
    assert with_key.status == 400
    assert town.ask("/collections", "OPTIONS", **asked).status == 200


def test_named_sites_may_send_a_key_and_others_may_not_even_read(town: Town) -> None:
    with served(town.database, town.registry, origins="https://map.example") as other:
        asked = {"Access_Control_Request_Method": "GET", "Access_Control_Request_Headers": "authorization,x-api-key"}
        good = other.ask("/collections", "OPTIONS", Origin="https://map.example", **asked)
        assert good.status == 200
        assert good.headers["Access-Control-Allow-Origin"] == "https://map.example"
        assert good.headers["Access-Control-Allow-Credentials"] is None
        assert other.ask("/collections", "OPTIONS", Origin="https://bad.example", **asked).status == 400
        read = other.ask("/collections", Origin="https://bad.example")
        assert read.headers["Access-Control-Allow-Origin"] is None
        assert "Origin" in ",".join(read.headers.get_all("Vary"))


def test_no_template_has_a_script_or_a_style_within_it() -> None:
    """The policy would not run them: they would fail silently."""
    found = []
    for path in sorted(Path(TEMPLATES).rglob("*.html")):
        text = path.read_text(encoding="utf-8")
        found += [
            (path.name, tag)
            for tag in re.findall(r"<[a-zA-Z][^>]*>", text)
            if re.search(r"\s(style|on[a-z]+)\s*=", tag) or re.search(r"javascript:", tag)
            or (tag.startswith("<script") and "src=" not in tag and 'type="application/' not in tag)
            or tag.startswith("<style")
        ]  # fmt: skip
    assert found == []
