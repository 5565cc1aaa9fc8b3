"""What is sealed opens here and about the same only, and tells nothing to who cannot open it."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

import pytest

from sdi.service.cursors import Cursors

CURSORS = Cursors(b"a key")
ABOUT = ["changes", "an_agency", "plots"]


def bare(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


@pytest.mark.parametrize("content", [[1], ["đất ở", None, 2.5], [["x" * 70], True], [], [" "]], ids=str)
def test_what_was_sealed_opens_about_the_same_only(content: list[Any]) -> None:
    text = CURSORS.sealed(content, ABOUT)
    assert CURSORS.opened(text, ABOUT) == content
    assert CURSORS.sealed(content, ABOUT) == text
    assert CURSORS.opened(text, [*ABOUT, ""]) is None
    assert Cursors(b"another key").opened(text, ABOUT) is None
    for place in range(0, len(text), 7):
        other = "A" if text[place] != "A" else "B"
        assert CURSORS.opened(text[:place] + other + text[place + 1 :], ABOUT) is None


def test_who_has_the_text_alone_cannot_tell_what_it_is_of() -> None:
    numbers = (1, 2, 300, 10**6, 10**12)
    texts = [CURSORS.sealed([number], ABOUT) for number in numbers]
    assert len({len(text) for text in texts}) == 1
    assert not any(str(number).encode() in bare(text) for number, text in zip(numbers[2:], texts[2:], strict=True))
    # No stretch of one is that of another: what differs in one digit differs everywhere.
    pieces = [{bare(text)[at : at + 4] for at in range(0, len(bare(text)), 4)} for text in texts]
    assert sum(map(len, pieces)) == len(set().union(*pieces))


def test_a_cursor_of_former_days_opens_still() -> None:
    payload = json.dumps([7, "P1"], separators=(",", ":")).encode()
    bound = hashlib.sha256(repr(ABOUT).encode()).digest()
    seal = hmac.digest(b"a key", bound + payload, "sha256")[:16]
    assert CURSORS.opened(urlsafe_b64encode(seal + payload).decode().rstrip("="), ABOUT) == [7, "P1"]


@pytest.mark.parametrize("text", ["", "A", "x" * 22, "đ", "=" * 8, "A" * 40, "A" * 9000])
def test_what_was_never_sealed_does_not_open(text: str) -> None:
    assert CURSORS.opened(text, ABOUT) is None
