"""A town whose people wrote into every field what would run in a careless page, and a listener that nobody may call."""

from __future__ import annotations

import json
import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pytest

from sdi.access import Grant
from sdi.contract.registry import Registry, read_registry
from sdi.contract.report import Finding
from sdi.store import engine, migrate
from sdi.store.sharing import agencies, grants, keys, requests
from tests.service.conftest import TOWN, Town, deliver, plots, served_apart, works

NASTY = (
    "<script>window.ran=1</script>",
    '"><img src=x onerror=window.ran=1>',
    "'><svg onload=window.ran=1>",
    "</script><script>window.ran=1</script>",
    "<!--<script>window.ran=1",
    "javascript:window.ran=1",
    '" autofocus onfocus="window.ran=1',
    "' onmouseover='window.ran=1' x='",
    '<a href="javascript:window.ran=1">x</a>',
    '<iframe srcdoc="<script>parent.ran=1</script>"></iframe>',
    "</title><style>*{}</style><base href=//evil.example>",
    '<meta http-equiv=refresh content="0;url=//evil.example">',
    "&lt;script&gt;window.ran=1&lt;/script&gt;",
    "{{7*7*191}}${7*7*191}#{7*7*191}{%print(49*191)%}",
    "\\u003cscript\\u003ewindow.ran=1\\u003c/script\\u003e",
    '\\"};window.ran=1;//',
    "]]><script>window.ran=1</script>",
    "\u2028window.ran=1\u2029",
    '=HYPERLINK("http://evil.example";"x")',
)
CALCULATED = "9359"
"""What a template that ran would have made of one of them."""
TOGETHER = "".join(NASTY)
OFFICE = "so_thu"
TITLE = {"Thửa đất thử": NASTY[0], "Test plots": NASTY[1], "Thửa đất của thị trấn thử nghiệm.": NASTY[2],
         "Plots of the test town.": NASTY[3], "Loại chủ": NASTY[4], "Kind of holder": NASTY[9],
         "Cá nhân hay tổ chức.": NASTY[10], "Phiếu thửa đất": NASTY[7], "Giấy phép": NASTY[8],
         "Sở Thử nghiệm": NASTY[6], "Department of Tests": NASTY[11], "đất đai": NASTY[13]}  # fmt: skip
"""Words of the contracts, and what stands in their place."""


@pytest.fixture(scope="module")
def nasty(new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    folder = tmp_path_factory.mktemp("nasty") / "town"
    shutil.copytree(TOWN, folder)
    for path in folder.glob("*.yaml"):
        path.write_text(spoiled(path.read_text(encoding="utf-8")), encoding="utf-8")
    for path in folder.glob("code_lists/*.csv"):
        text = (
            path.read_text(encoding="utf-8").replace("Đất ở tại đô thị", NASTY[0]).replace("Perennial crops", NASTY[2])
        )
        path.write_text(text, encoding="utf-8")
    registry = read_registry(folder)
    database = new_database()
    with engine.connect(database) as connection:
        migrate.apply(connection, registry)
    load(database, registry)
    with engine.connect(database, engine.OWNER) as owner:
        peopled(owner, registry)
    settings = {
        "SDI_LAYERS": str(folder),
        "SDI_DATA": str(folder.parent / "data"),
        "SDI_TITLE_VI": NASTY[3],
        "SDI_TITLE_EN": NASTY[1],
        "SDI_CONTACT": NASTY[6],
    }
    town = Town("", database, registry, None)  # type: ignore[arg-type]
    with served_apart(town, **settings) as found:
        yield found


def spoiled(text: str) -> str:
    for word, instead in TITLE.items():
        text = re.sub(rf"(?<=: ){re.escape(word)}(?=[,}}])", lambda _, to=instead: json.dumps(to), text)
    return text.replace("label: number", "label: owner_kind")


def load(database: str, registry: Registry) -> None:
    table, shapes = works()
    number = table.schema.get_field_index("permit")
    ids = [*NASTY[:4], "05"]
    table = table.set_column(0, "id", pa.array(ids)).set_column(number, "permit", pa.array(ids))
    deliver(database, registry, registry["works"], table, shapes, [5897] * 4 + [3405])
    table, shapes = plots()
    ids = [*NASTY, *table["id"].to_pylist()[len(NASTY) :]]
    kinds = [NASTY[number % len(NASTY)] for number in range(len(table))]
    table = table.drop_columns(["id", "key", "owner_kind"])
    for name, values in (("owner_kind", kinds), ("key", ids), ("id", ids)):
        table = table.add_column(0, name, pa.array(values))
    told = [finding(number, each) for number, each in enumerate(NASTY, start=1)]
    deliver(database, registry, registry["plots"], table, shapes, [5897] * len(shapes), told, held=held(told),
            file_name=TOGETHER)  # fmt: skip


def finding(number: int, text: str) -> Finding:
    """Every other one is waived, and its feature not held."""
    waived = {"action": "waived", "waived": text} if number % 2 else {"action": "quarantine"}
    told = {"feature": text, "row": number, "attribute": text, "value": text, "limit": text, "other": text}
    return Finding("code.unknown", "error", **waived, **told, place=(105.848, 21.03))  # type: ignore[arg-type]


def held(told: list[Finding]) -> pa.Table:
    rows = [each for each in told if each.action == "quarantine"]
    words = ("key", "owner_kind", "use", "legal_area", "height")
    return pa.table(
        {
            "source_row": pa.array([each.row for each in rows], pa.int32()),
            "id": [each.feature for each in rows],
            "findings": [json.dumps([each.to_json()]) for each in rows],
            "attributes": [json.dumps(dict.fromkeys(words, each.feature)) for each in rows],
            "geom": pa.nulls(len(rows), pa.binary()), "geom_wgs84": pa.nulls(len(rows), pa.binary()),
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def key(nasty: Town) -> str:
    """A key of the agency that administers, and that collects all layers."""
    with engine.connect(nasty.database, engine.OWNER) as owner:
        made = keys.make_key(owner, OFFICE, NASTY[12], name=TOGETHER, by=NASTY[14])
    ends = time.monotonic() + 60
    while nasty.ask("/admin/agencies", X_API_Key=made).status != 200:
        assert time.monotonic() < ends, "the key is not heard of"
        time.sleep(0.05)
    return made


def peopled(owner: engine.Connection, registry: Registry) -> None:
    """Agencies, keys, grants and requests whose every word is nasty."""
    plots, asked = registry["plots"], []
    agencies.add(owner, OFFICE, "department", NASTY[0], NASTY[1], by=NASTY[2])
    agencies.set_administrator(owner, OFFICE, True)
    for number, text in enumerate(NASTY):
        name = f"xa_{number}"
        agencies.add(owner, name, "ward", text, text, by=text)
        keys.make_key(owner, name, text, name=text, by=text)
        rows = f"owner_kind = '{text.replace(chr(39), chr(39) * 2)}'"
        grant = Grant(0, name, "plots", classes=frozenset({"agency"}), rows=rows, legal_basis=text, purpose=text)
        grants.give(owner, plots, grant, by=text)
        asked.append(requests.ask(owner, plots, name, ["agency"], text, text, communes=(text,), by=text))
    agencies.add(owner, "xa_cu", "ward", NASTY[3], NASTY[4])
    agencies.merge(owner, "xa_cu", OFFICE, TOGETHER)
    for number, text in list(zip(asked, NASTY, strict=True))[::2]:
        requests.refuse(owner, requests.waiting(owner, number), text, by=text)
    requests.ask(owner, plots, OFFICE, ["agency"], TOGETHER, TOGETHER, by=TOGETHER)


@dataclass
class Canary:
    """A port of this machine that nobody has any reason to call."""

    port: int
    calls: int = 0


@pytest.fixture(scope="module")
def canary() -> Iterator[Canary]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        found = Canary(listening.getsockname()[1])

        def listen() -> None:
            while True:
                try:
                    caller, _ = listening.accept()
                except OSError:
                    return
                found.calls += 1
                caller.close()

        threading.Thread(target=listen, daemon=True).start()
        yield found
        listening.shutdown(socket.SHUT_RDWR)
