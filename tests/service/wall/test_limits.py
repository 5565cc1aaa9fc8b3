"""What is too large, too long or too slow is refused before it costs anything, and told so in both languages."""

from __future__ import annotations

import socket
from urllib.parse import quote

import pytest

from sdi.service.wall import protocol
from sdi.service.wall.limits import LARGEST_BODY, LONGEST_HEADERS, LONGEST_URL, MOST_HEADERS
from tests.service.conftest import Town

PLOTS = "/collections/plots/items"
GRID = "http://www.opengis.net/def/crs/EPSG/0/5897"


def raw(town: Town, sent: bytes, *more: bytes) -> bytes:
    """What the service answers to bytes, to the end of the connection."""
    host, port = town.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as client:
        client.sendall(sent)
        for part in more:
            try:
                client.sendall(part)
            except OSError:
                break  # it has closed already
        got = b""
        try:
            while part := client.recv(65536):
                got += part
        except ConnectionResetError:
            pass
        return got


def head(path: str, *fields: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", *fields, "", ""]).encode()


@pytest.mark.parametrize("hosts", [[], ["Host: a", "Host: b"]])
def test_a_request_names_one_host(town: Town, hosts: list[str]) -> None:
    """RFC 9112, 3.2: of two, a proxy and the service may take another each."""
    sent = "\r\n".join(["GET /conformance HTTP/1.1", *hosts, "Connection: close", "", ""]).encode()
    answer = raw(town, sent)
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"application/problem+json" in answer
    assert raw(town, b"GET /conformance HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("length", [LONGEST_URL + 1, 70_000, 90_000])
def test_an_address_that_is_too_long_is_a_414(town: Town, length: int) -> None:
    answer = raw(town, head("/collections?x=" + "a" * (length - len("/collections?x=") + 1)))
    assert answer.startswith(b"HTTP/1.1 414")
    assert b"application/problem+json" in answer
    told = raw(town, head("/collections?x=" + "a" * length, "Accept-Language: vi"))
    assert "Địa chỉ dài hơn 60.000 byte." in told.decode()


def test_an_address_as_long_as_is_taken_is_read(town: Town) -> None:
    assert raw(town, head("/collections?x=" + "a" * (LONGEST_URL - len("/collections?x=") - 100))).startswith(
        b"HTTP/1.1 400"
    )


@pytest.mark.parametrize(
    "fields",
    [
        [f"X-{number}: a" for number in range(MOST_HEADERS + 1)],
        ["X-Long: " + "a" * LONGEST_HEADERS],
        [f"X-{number}: " + "a" * 1000 for number in range(40)],
    ],
)
def test_too_many_headers_or_too_long_ones_are_a_431(town: Town, fields: list[str]) -> None:
    answer = raw(town, head("/collections", *fields))
    assert answer.startswith(b"HTTP/1.1 431")
    assert b"application/problem+json" in answer
    assert "tiêu đề" in raw(town, head("/collections", "Accept-Language: vi", *fields)).decode()


@pytest.mark.parametrize("piece", [b"X: " + b"a" * 1000 + b"\r\n", b"a" * 1000])
def test_a_head_without_end_is_cut_off(town: Town, piece: bytes) -> None:
    beginning = b"GET / HTTP/1.1\r\nHost: x\r\nX-Endless: "
    answer = raw(town, beginning, *[piece * 16] * 64)
    # Where more was under way when the connection was closed, the network may have lost the answer to it.
    assert answer[:12] in (b"HTTP/1.1 431", b"")


def test_a_head_that_does_not_come_is_waited_for_no_longer(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "IN_TIME", 0.3)
    assert raw(town, b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ").startswith(b"HTTP/1.1 408")
    assert raw(town, b"").startswith(b"HTTP/1.1 408")


def test_a_connection_is_kept_for_many_requests_and_a_body_before_a_head_does_no_harm(town: Town) -> None:
    body = b"x" * 500_000
    post = f"POST /collections HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    answers = raw(town, post + body + post, body, head("/conformance"))
    assert answers.count(b"HTTP/1.1 405") == 2
    assert answers.count(b"HTTP/1.1 200") == 1


@pytest.mark.parametrize("length", [str(LARGEST_BODY + 1), "9" * 30])
def test_a_body_that_is_too_large_is_a_413_before_it_is_sent(town: Town, length: str) -> None:
    answer = raw(town, head("/collections", f"Content-Length: {length}", method="POST"))
    # A length beyond 64 bits the parser itself refuses.
    assert answer.startswith(b"HTTP/1.1 413" if len(length) < 18 else b"HTTP/1.1 400")


def test_an_upgrade_to_another_protocol_is_not_made(town: Town) -> None:
    fields = ["Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"]
    lines = ["GET /conformance HTTP/1.1", "Host: x", "Connection: Upgrade, close", *fields, "", ""]
    assert b" 101 " not in raw(town, "\r\n".join(lines).encode())


BOX = "S_INTERSECTS(geometry, BBOX(460000,2090000,660000,2340000))"
RING = ",".join(f"105.{number:05d} 21.{number * number % 99999:05d}" for number in range(2100))


@pytest.mark.parametrize(
    ("query", "told"),
    [
        (f"filter=S_INTERSECTS(geometry,LINESTRING({RING}))", "vertices"),
        (f"filter={quote(' OR '.join([BOX] * 60))}&filter-crs={GRID}", "together"),
        ("sortby=" + ",".join(["number", "-number"]), "each once"),
        ("sortby=number,id,use,height,disputed,valid_from,valid_to,changed_at,legal_area", "at most 8"),
        ("filter=" + quote(" OR ".join(f"number={n}" for n in range(1100))), "longer|complex"),
        ("filter-lang=cql2-json&filter=" + quote('{"op":"not","args":[' * 60 + "true" + "]}" * 60), "complex"),
        ("filter=number IN (" + ",".join("1" for _ in range(3000)) + ")", "complex"),
        ("q=" + "a," * 300, "at most"),
    ],
)
def test_a_question_that_is_too_large_is_refused(town: Town, query: str, told: str) -> None:
    answer = town.ask(f"{PLOTS}?{query.replace(' ', '%20')}")
    assert answer.status == 400, answer.text[:300]
    assert any(each in answer.json["detail"] for each in told.split("|")), answer.json["detail"]
    assert (
        town.ask(f"{PLOTS}?{query.replace(' ', '%20')}", Accept_Language="vi").json["detail"] != answer.json["detail"]
    )


def test_a_few_large_boxes_in_a_grid_are_not_too_many(town: Town) -> None:
    written = quote(" OR ".join([BOX] * 3))
    assert town.get(f"{PLOTS}?filter={written}&filter-crs={GRID}&limit=1")["numberReturned"] == 1
