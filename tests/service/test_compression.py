"""zstd and gzip on the way out, as clients and caches meet them."""

from __future__ import annotations

import gzip
import socket
import zlib
from collections.abc import Callable

import pytest

from sdi.service.compression import taken, zstd
from tests.service.conftest import Town

PLOTS = "/collections/plots/items"
TEXTS = (PLOTS, f"{PLOTS}?f=html", f"{PLOTS}?f=csv", f"{PLOTS}?f=jsonld", "/openapi", "/collections", "/?f=html",
         f"{PLOTS}/00004.1.1", "/static/map.js", "/lots/00004.1.1/dossier?f=html")  # fmt: skip


UNPACK: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.decompress, "zstd": zstd.decompress}
CODINGS = sorted(UNPACK)


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("path", TEXTS)
def test_who_takes_a_coding_gets_the_same_smaller(town: Town, path: str, coding: str) -> None:
    plain, small = town.ask(path), town.ask(path, Accept_Encoding=f"br;q=1.0, {coding};q=0.5")
    assert "Content-Encoding" not in plain.headers
    assert small.headers["Content-Encoding"] == coding
    assert UNPACK[coding](small.body)[:9000] == plain.body[:9000] or "dossier" in path
    assert len(small.body) < len(plain.body)
    assert "Accept-Encoding" in plain.headers.get_all("Vary")
    assert "Accept-Encoding" in small.headers.get_all("Vary")
    head = town.ask(path, "HEAD", Accept_Encoding=coding)
    assert (head.status, head.body, head.headers["Content-Encoding"]) == (200, b"", coding)


@pytest.mark.parametrize(
    ("accepted", "sent"),
    [
        ("gzip, deflate, br, zstd", "zstd"), ("zstd;q=0.5, gzip", "gzip"), ("zstd;q=0.5, gzip;q=0.4", "zstd"),
        ("ZSTD", "zstd"), ("*", "zstd"), ("*;q=0.5, zstd;q=0", "gzip"), ("identity;q=0.5, gzip;q=0.5", "gzip"),
        ("identity, gzip;q=0.5", None), ("identity", None), ("gzip;q=0", None), ("br", None), ("*;q=0", None),
        ("zstd;q=x", None), ("", None),
    ],
)  # fmt: skip
def test_the_best_coding_that_is_taken_is_sent(accepted: str, sent: str | None) -> None:
    assert next(iter(taken(accepted)), None) == sent


@pytest.mark.parametrize("accepted", ["identity", "gzip;q=0", "br", ""])
def test_who_does_not_take_any_gets_it_plain(town: Town, accepted: str) -> None:
    answer = town.ask(PLOTS, Accept_Encoding=accepted)
    assert "Content-Encoding" not in answer.headers
    assert answer.json["numberReturned"] == 10


@pytest.mark.parametrize("coding", CODINGS)
def test_what_is_compressed_has_a_tag_of_its_own_that_serves_to_ask_again(town: Town, coding: str) -> None:
    plain = town.ask(PLOTS).headers["ETag"]
    small = town.ask(PLOTS, Accept_Encoding=coding).headers["ETag"]
    assert plain != small
    again = town.ask(PLOTS, Accept_Encoding=coding, If_None_Match=f'"x", {small}')
    assert (again.status, again.body, again.headers["ETag"]) == (304, b"", small)
    again = town.ask(PLOTS, Accept_Encoding="gzip, zstd", If_None_Match=small)
    assert (again.status, again.headers["ETag"]) == (304, small), "whichever of both it would be sent now"
    assert town.ask(PLOTS, If_None_Match=small).status == 200
    (other,) = set(CODINGS) - {coding}
    assert town.ask(PLOTS, Accept_Encoding=other, If_None_Match=small).status == 200
    assert town.ask(PLOTS, If_None_Match=plain).headers["ETag"] == plain


def test_small_answers_and_pictures_stay_as_they_are(town: Town) -> None:
    for path in ("/health", f"{PLOTS}/none", "/collections/ground/coverage?f=GTiff"):
        assert "Content-Encoding" not in town.ask(path, Accept_Encoding="gzip, zstd").headers, path


@pytest.mark.parametrize("coding", CODINGS)
def test_a_stream_is_compressed_part_by_part(town: Town, coding: str, streamed: Callable[[], None]) -> None:
    plain = town.ask(f"{PLOTS}?limit=30")
    streamed()
    assert UNPACK[coding](town.ask(f"{PLOTS}?limit=30", Accept_Encoding=coding).body) == plain.body
    host, port = town.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        headers = f"Host: {host}\r\nAccept-Encoding: {coding}\r\nConnection: close"
        client.sendall(f"GET {PLOTS}?limit=30 HTTP/1.1\r\n{headers}\r\n\r\n".encode())
        received = b""
        while piece := client.recv(65536):
            received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    assert f"content-encoding: {coding}".encode() in head.lower()
    size, _, rest = body.partition(b"\r\n")
    # The first chunk alone can be read already.
    unpack = zlib.decompressobj(zlib.MAX_WBITS | 16) if coding == "gzip" else zstd.ZstdDecompressor()
    assert unpack.decompress(rest[: int(size, 16)]) == b'{"type":"FeatureCollection","features":['
