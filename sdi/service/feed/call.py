"""One signed call to an address of an allowed host (Standard Webhooks), and to no other machine.

What a name means is looked up once, every address that it has is checked, and the connection goes to the checked one:
a name that is another address a moment later leads nowhere else. Nothing is followed, and of an answer only the status
is read.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import socket
import ssl
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from urllib.parse import SplitResult, urlsplit

from sdi.errors import UsageError

WITHIN = 10.0
"""Seconds for connecting, and for each step of the call."""
WHOLE = 30.0
"""Seconds that a call may take in all."""

Network = IPv4Network | IPv6Network


@dataclass(frozen=True)
class Allowed:
    """Where calls may go. `networks`: addresses that are allowed though they are private, or have no name."""

    hosts: frozenset[str]
    networks: tuple[Network, ...]
    plain: bool = False
    """Whether `http` is allowed beside `https`."""

    @classmethod
    def of(cls, listed: Sequence[str], *, plain: bool) -> Allowed:
        """Of a list of host names and networks."""
        hosts, networks = set(), []
        for each in listed:
            try:
                networks.append(ip_network(each, strict=False))
            except ValueError:
                hosts.add(each.lower().rstrip("."))
        return cls(frozenset(hosts), tuple(networks), plain)

    def checked(self, url: str) -> SplitResult:
        """The parts of an address that may be called. Raises UsageError."""
        parts = _parts(url)
        if parts is None or parts.username is not None or parts.password is not None or parts.fragment:
            raise UsageError("This is no address that a webhook can call.", hint="Write https://host/path.")
        if parts.scheme != "https" and not (self.plain and parts.scheme == "http"):
            raise UsageError("A webhook is called by https only.", hint="Write https://host/path.")
        assert parts.hostname is not None
        host = parts.hostname.rstrip(".")
        if host not in self.hosts and not self._inside(host):
            raise UsageError(f"The host '{host[:100]}' may not be called.", hint="Enter it in SDI_WEBHOOK_HOSTS.")
        return parts

    def addresses(self, host: str, port: int) -> list[str]:
        """The addresses of a host, all of them allowed; empty: it has none, or one that is not."""
        found = {str(each[4][0]) for each in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
        return sorted(found) if all(self._reachable(each) for each in found) else []

    def _inside(self, host: str) -> bool:
        try:
            return any(ip_address(host) in network for network in self.networks)
        except ValueError:
            return False

    def _reachable(self, address: str) -> bool:
        found = ip_address(address.partition("%")[0])
        found = getattr(found, "ipv4_mapped", None) or found
        return (found.is_global and not found.is_multicast) or any(found in network for network in self.networks)


def _parts(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port  # a number, or ValueError
    except ValueError:
        return None
    printable = url.isascii() and url.isprintable() and " " not in url
    return parts if printable and parts.scheme in ("http", "https") and parts.hostname else None


def secret_text(secret: bytes) -> str:
    """A secret as receivers are told it."""
    return "whsec_" + base64.b64encode(secret).decode()


def signature(secret: bytes, message: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`."""
    signed = f"{message}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()


def post(allowed: Allowed, url: str, secret: bytes, message: str, timestamp: int, body: bytes) -> tuple[bool, str]:
    """Call an address with a JSON body; whether it was taken (2xx), and a word about it. Raises nothing."""
    try:
        parts = allowed.checked(url)
        assert parts.hostname is not None
        port = parts.port or (443 if parts.scheme == "https" else 80)
        addresses = allowed.addresses(parts.hostname, port)
        if not addresses:
            return False, "address not allowed"
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {
            "Content-Type": "application/json", "User-Agent": "sdi", "webhook-id": message,
            "webhook-timestamp": str(timestamp), "webhook-signature": signature(secret, message, timestamp, body),
        }  # fmt: skip
        status = _status(parts, addresses[0], port, path, headers, body)
        return 200 <= status < 300, str(status)
    except UsageError:
        return False, "host not allowed"
    except TimeoutError:
        return False, "timed out"
    except ssl.SSLError:
        return False, "TLS failed"
    except socket.gaierror:
        return False, "no such host"
    except (OSError, HTTPException, ValueError):
        return False, "no connection"


def _status(
    parts: SplitResult, address: str, port: int, path: str, headers: dict[str, str], body: bytes
) -> int:  # fmt: skip
    assert parts.hostname is not None
    connection = HTTPConnection(parts.hostname, port, timeout=WITHIN)
    connection.sock = plain = socket.create_connection((address, port), WITHIN)
    # Who answers a byte at a time ends all the same.
    late = threading.Timer(WHOLE, _cut, [connection])
    late.daemon = True
    late.start()
    try:
        if parts.scheme == "https":
            connection.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=parts.hostname)
            connection.default_port = 443
        connection.request("POST", path, body, headers)
        return connection.getresponse().status
    finally:
        late.cancel()
        connection.close()
        plain.close()


def _cut(connection: HTTPConnection) -> None:
    with suppress(OSError):
        if connection.sock is not None:
            connection.sock.shutdown(socket.SHUT_RDWR)
