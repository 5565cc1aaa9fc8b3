"""gzip on the way out, as clients and caches meet it."""

from __future__ import annotations

import gzip
import socket
import zlib

import pytest

from sdi.service import lanes
from tests.service.conftest import Town

PLOTS = "/collections/plots/items"
TEXTS = (PLOTS, f"{PLOTS}?f=html", f"{PLOTS}?f=csv", f"{PLOTS}?f=jsonld", "/openapi", "/collections", "/?f=html",
         f"{PLOTS}/00004.1.1", "/static/map.js", "/lots/00004.1.1/dossier?f=html")  # fmt: skip


@pytest.mark.parametrize("path", TEXTS)
def test_who_takes_gzip_gets_the_same_smaller(town: Town, path: str) -> None:
    plain, small = town.ask(path), town.ask(path, Accept_Encoding="br;q=1.0, gzip;q=0.5")
    assert "Content-Encoding" not in plain.headers
    assert small.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(small.body)[:9000] == plain.body[:9000] or "dossier" in path
    assert len(small.body) < len(plain.body)
    assert "Accept-Encoding" in plain.headers.get_all("Vary")
    assert "Accept-Encoding" in small.headers.get_all("Vary")
    head = town.ask(path, "HEAD", Accept_Encoding="gzip")
    assert (head.status, head.body, head.headers["Content-Encoding"]) == (200, b"", "gzip")


@pytest.mark.parametrize("accepted", ["identity", "gzip;q=0", "br, zstd", "*;q=0", ""])
def test_who_does_not_take_it_gets_it_plain(town: Town, accepted: str) -> None:
    answer = town.ask(PLOTS, Accept_Encoding=accepted)
    assert "Content-Encoding" not in answer.headers
    assert answer.json["numberReturned"] == 10


def test_what_is_compressed_has_a_tag_of_its_own_that_serves_to_ask_again(town: Town) -> None:
    plain = town.ask(PLOTS).headers["ETag"]
    small = town.ask(PLOTS, Accept_Encoding="gzip").headers["ETag"]
    assert plain != small
    again = town.ask(PLOTS, Accept_Encoding="gzip", If_None_Match=f'"x", {small}')
    assert (again.status, again.body, again.headers["ETag"]) == (304, b"", small)
    assert town.ask(PLOTS, If_None_Match=small).status == 200
    assert town.ask(PLOTS, If_None_Match=plain).headers["ETag"] == plain


def test_small_answers_and_pictures_stay_as_they_are(town: Town) -> None:
    for path in ("/health", f"{PLOTS}/none", "/collections/ground/coverage?f=GTiff"):
        assert "Content-Encoding" not in town.ask(path, Accept_Encoding="gzip").headers, path


def test_a_stream_is_compressed_part_by_part(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = town.ask(f"{PLOTS}?limit=30")
    monkeypatch.setattr(lanes, "HELD", 0)
    assert gzip.decompress(town.ask(f"{PLOTS}?limit=30", Accept_Encoding="gzip").body) == plain.body
    host, port = town.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        request = f"GET {PLOTS}?limit=30 HTTP/1.1\r\nHost: {host}\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n"
        client.sendall(request.encode())
        received = b""
        while piece := client.recv(65536):
            received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"content-encoding: gzip" in head.lower()
    size, _, rest = body.partition(b"\r\n")
    # The first chunk alone can be read already.
    first = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(rest[: int(size, 16)])
    assert first == b'{"type":"FeatureCollection","features":['
