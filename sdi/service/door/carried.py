"""A key that came in an address, carried into the addresses of the answer, for clients that can show one nowhere else.

Nothing behind the door knows the key: pages, documents and their entity tags are made without it, and it is written
into the links on their way out. Only a client that showed it in the address gets it back there.
"""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Send

from sdi.service.door.credentials import PARAMETER

_JSON = re.compile(r"application/(\S+\+)?json\b")
_HTML = "text/html"
_FORMS = re.compile(rb'<li class="forms">.*?</li>', re.DOTALL)
"""Links of a page's head to pages with forms, which a key in an address does not open."""


class Carried:
    """Sends an answer on with the key in its links. `url`: the service's public address, without a slash at its end."""

    def __init__(self, send: Send, key: str, url: str) -> None:
        self._send = send
        self._key = f"{PARAMETER}={quote(key, safe='')}".encode()
        root = urlsplit(url).path.encode()
        base = re.escape(url.encode())
        # Members that are addresses. An identifier ($id, @id) stays what it is: it names, and a name has no key in it.
        names = rb'("(?:href|url|contentUrl|featureSchema)"\s*:\s*"|"tiles"\s*:\s*\[\s*")'
        within = rb"(?:" + base + rb"|" + re.escape(root) + rb"(?=/(?!/)))"
        self._members = re.compile(names + rb"(" + base + rb'(?=[/?"])[^"\\]*)')
        self._script = re.compile(rb'("(?:source|item)"\s*:\s*")(' + within + rb'[^"]*)')
        static = re.escape(root + b"/static/")
        self._attributes = re.compile(rb'(\b(?:href|src|action)=")(?!' + static + rb")((?:" + within + rb'|\?)[^"]*)')
        self._header = re.compile(rb"(<)(" + base + rb"(?=[/?>])[^>]*)")
        self._location = re.compile(rb"()(" + within + rb".*)")
        self._start: Message | None = None
        self._rewritten = ""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._begin(message)
            return
        if message["type"] == "http.response.body":
            message = {**message, "body": self._with_key(message.get("body", b""))}
            if self._start is not None:
                start, self._start = self._start, None
                _measure(start, message)
                await self._send(start)
        await self._send(message)

    async def _begin(self, message: Message) -> None:
        headers = MutableHeaders(scope=message)
        headers["cache-control"] = "private, no-store"
        for name, pattern in (("link", self._header), ("location", self._location)):
            if name in headers:
                headers[name] = self._put(pattern, headers[name].encode("latin-1"), b"&").decode("latin-1")
        kind = headers.get("content-type", "")
        whole = message["status"] not in (206, 304) and "content-disposition" not in headers
        if whole and (_JSON.match(kind) or kind.startswith(_HTML)):
            self._rewritten, self._start = kind, message  # held until its length is known
        else:
            await self._send(message)

    def _with_key(self, body: bytes) -> bytes:
        """A part of a body. Every part that is sent ends where a document's member or an element does."""
        if self._rewritten.startswith(_HTML):
            body = self._put(self._attributes, _FORMS.sub(b"", body), b"&amp;")
            body = self._put(self._script, body, b"\\u0026")
            name, value = self._key.split(b"=", 1)
            hidden = b'<input type="hidden" name="' + name + b'" value="' + value + b'">'
            return re.sub(rb"(<form\b[^>]*>)", lambda found: found[1] + hidden, body)
        return self._put(self._members, body, b"&") if self._rewritten else body

    def _put(self, pattern: re.Pattern[bytes], text: bytes, ampersand: bytes) -> bytes:
        def addressed(found: re.Match[bytes]) -> bytes:
            address, hash_, fragment = found[2].partition(b"#")
            between = b"?" if b"?" not in address else b"" if address.endswith(b"?") else ampersand
            return found[1] + address + between + self._key + hash_ + fragment

        return pattern.sub(addressed, text)


def _measure(start: Message, body: Message) -> None:
    """The length that the answer has now, where all of it is there."""
    headers = MutableHeaders(scope=start)
    if "content-length" not in headers:
        return
    if body.get("more_body") or not body["body"]:
        # Streamed, or the head of something whose body is not sent.
        if headers["content-length"] != "0":
            del headers["content-length"]
    else:
        headers["content-length"] = str(len(body["body"]))
