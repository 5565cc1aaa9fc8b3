"""Links that are written out once, and filled in for each answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sdi.service import links

TITLE = "Trang này, “JSON”"


def made(id_: str, rest: str, after: str) -> list[dict[str, Any]]:
    path = f"https://example.vn/dữ-liệu/items/{id_}"
    wanted = [("self", "json", rest), *(("alternate", form, rest) for form in ("html", "csv"))]
    wanted += [("next", "json", after)] if after else []
    return [links.link(rel, links.in_format(path, form, more), "text/html", TITLE) for rel, form, more in wanted]


@pytest.mark.parametrize("id_", ["1", "00070.12.3", "%C4%90%22a%22%2Fb%5C", "id_", ""])
@pytest.mark.parametrize("rest", ["", "bbox=1,2,3,4&lang=en", "filter=" + "a%20" * 900])
@pytest.mark.parametrize("after", ["", "cursor=abc"])
def test_filled_in_links_are_those_that_would_have_been_made(id_: str, rest: str, after: str) -> None:
    frames = links.Frames()
    frames.filled("items", made, id_="x", rest="y", after="z")
    for _ in range(2):  # made, then filled in
        found = frames.filled("items", made, id_=id_, rest=rest, after=after)
        assert json.loads(found.document) == made(id_, rest, after)
        assert found.header == links.header(made(id_, rest, after))
    assert ("alternate" in found.header) == (len(rest) < 1000)


def test_no_more_kinds_are_kept_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "FRAMES", 3)
    frames = links.Frames()
    for number in range(20):
        found = frames.filled(number, made, id_=str(number), rest="", after="")
        assert json.loads(found.document) == made(str(number), "", "")
    assert len(frames._kept) <= 3
