"""What a request leaves in the trail, asked over HTTP and read from the database."""

from __future__ import annotations

import json
import logging
import random
import time
from base64 import b64encode
from collections.abc import Callable
from datetime import date
from pathlib import Path
from urllib.parse import quote

import pytest
from fastapi import FastAPI
from starlette.requests import Request

from sdi.access import PUBLIC, Agency, Grant
from sdi.contract.registry import read_registry
from sdi.service.audit import reads, refusals
from sdi.service.audit.record import LONGEST_ID, exceeds, is_recorded, without_secrets
from sdi.service.audit.recorder import Recorder
from sdi.service.texts.kept import Texts
from sdi.store import engine
from sdi.store.audit import chain, search
from sdi.store.audit.proof import verify
from sdi.store.audit.search import Wanted
from sdi.store.feed import webhooks
from sdi.store.sharing import keys, requests
from sdi.store.versions import BETWEEN
from tests.service.audit.conftest import PATIENCE, PURPOSE, Watched, granted, hurried
from tests.service.conftest import TOWN, served

ITEMS = "/collections/plots/items"


def test_an_item_is_recorded_with_who_what_and_why(watched: Watched) -> None:
    answer = watched.ask(f"{ITEMS}/00004.1.2")
    assert answer.status == 200
    (told,) = watched.bodies()
    assert told["action"] == "item"
    assert (told["agency"], told["status"], told["client"], told["method"]) == ("so_thu", 200, "127.0.0.1", "GET")
    assert told["request"] == answer.headers["X-Request-Id"]
    assert (told["purpose"], len(told["grants"])) == (PURPOSE, 1)
    with engine.connect(watched.town.database, engine.OWNER) as owner:
        (key,) = keys.keys(owner, "so_thu")
    assert (told["key"], told["member"]) == (key.key_id, "Bàn GIS")
    assert (told["layers"], told["asked"]) == (["plots"], ["00004.1.2"])
    (read,) = told["reads"]
    assert (read["layer"], read["count"], read["ids"]) == ("plots", 1, ["00004.1.2"])
    assert read["fields"] == list(answer.json["properties"])


@pytest.mark.parametrize("format_", ["json", "jsonfg", "geojsonseq", "csv", "fgb", "gpkg", "parquet", "html", "jsonld"])
def test_a_page_is_recorded_with_the_ids_that_it_has_in_every_format(watched: Watched, format_: str) -> None:
    expected = [each["id"] for each in json.loads(watched.ask(f"{ITEMS}?limit=7").body)["features"]]
    watched.bodies()
    assert watched.ask(f"{ITEMS}?limit=7&f={format_}").status == 200
    (told,) = watched.bodies()
    (read,) = told["reads"]
    assert (told["action"], told["query"]) == ("items", f"limit=7&f={format_}")
    assert (read["count"], sorted(read["ids"])) == (7, sorted(expected))


def test_the_fields_are_those_that_were_answered(watched: Watched) -> None:
    watched.ask(f"{ITEMS}?properties=number,use&limit=1")
    (told,) = watched.bodies()
    assert told["reads"][0]["fields"] == ["number", "use"]


def test_an_empty_page_an_error_and_what_is_not_there_are_recorded_too(watched: Watched) -> None:
    asked = {f"{ITEMS}?number=99999": 200, f"{ITEMS}?filter=nonsense(": 400, f"{ITEMS}/none": 404,
             "/collections/none/items": 404, "/nowhere": 404}  # fmt: skip
    for path, status in asked.items():
        assert watched.ask(path).status == status
    found = watched.bodies(len(asked))
    assert [told["status"] for told in found] == list(asked.values())
    assert [told["layers"] for told in found] == [["plots"]] * 3 + [[]] * 2
    assert found[0]["reads"][0]["count"] == 0


def test_what_a_client_holds_already_is_recorded_as_such(watched: Watched) -> None:
    tag = watched.ask(f"{ITEMS}/00004.1.3").headers["ETag"]
    assert watched.ask(f"{ITEMS}/00004.1.3", If_None_Match=tag).status == 304
    _, told = watched.bodies(2)
    assert (told["status"], told["asked"]) == (304, ["00004.1.3"])


def test_a_tile_is_recorded_by_its_address(watched: Watched) -> None:
    document = watched.ask("/collections/plots/tiles/WebMercatorQuad").json
    limits = next(each for each in document["tileMatrixSetLimits"] if each["tileMatrix"] == "18")
    path = f"/collections/plots/tiles/WebMercatorQuad/18/{limits['minTileRow']}/{limits['minTileCol']}"
    assert [watched.ask(path).status for _ in range(2)] == [200, 200]
    _, *tiles = watched.bodies(3)
    for told in tiles:  # the second came from the worker's memory
        assert (told["action"], told["path"], told["layers"]) == ("tile", path, ["plots"])
        assert "number" in told["reads"][0]["fields"]


def test_an_export_is_recorded_as_the_whole_layer(watched: Watched) -> None:
    status = 503
    while status == 503:
        answer = watched.ask("/collections/plots/export?f=csv")
        status = answer.status
    assert status == 200
    told = watched.entries(lambda found: any(each.body["status"] == 200 for each in found))[-1].body
    assert (told["action"], told["reads"][0]["ids"]) == ("export", ["*"])
    assert told["reads"][0]["count"] == answer.body.decode().count("\n") - 1
    # The grant of this agency is for reading: what it shows beside the contract is in no file.
    assert "hidden_note" not in told["reads"][0]["fields"]


def test_a_dossier_is_recorded_with_every_layer_that_it_shows(watched: Watched) -> None:
    registry = read_registry(TOWN)
    path = next(layer.dossier.path for layer in registry if layer.dossier is not None)
    assert watched.ask(f"/{path}/00004.1.2/dossier").status == 200
    (told,) = watched.bodies()
    assert told["action"] == "dossier"
    assert {"plots", "plot_card"} <= set(told["layers"])
    assert all("00004.1.2" in read["ids"] for read in told["reads"] if read["layer"] in ("plots", "plot_card"))


def test_the_feed_of_changes_is_recorded_with_the_ids_that_it_told(watched: Watched) -> None:
    expected = [each["id"] for each in json.loads(watched.ask("/collections/plots/changes?limit=5").body)["changes"]]
    (told,) = watched.bodies()
    assert (told["action"], told["reads"][0]["ids"]) == ("changes", expected)
    assert len(expected) == 5


def test_the_public_is_not_recorded_and_an_agency_is_in_whatever_it_asks(watched: Watched) -> None:
    for path in (f"{ITEMS}?limit=1", "/", f"{ITEMS}/00004.1.2"):
        assert watched.ask(path, who=None).status == 200
    for path in ("/", "/collections", "/collections/works/items?limit=1", "/collections/plots/schema", "/health"):
        assert watched.ask(path, who="so_la").status == 200
    found = watched.bodies(4)
    assert {told["agency"] for told in found} == {"so_la"}
    assert [told["path"] for told in found] == [
        "/",
        "/collections",
        "/collections/works/items",
        "/collections/plots/schema",
    ]


def test_what_is_not_open_is_decided_by_the_rule() -> None:
    registry = read_registry(TOWN)
    grant = Grant(1, "public", "plots", classes=frozenset({"open", "agency"}))
    more = Agency("public", grants=(grant,))
    assert [is_recorded(each) for each in (PUBLIC, more, Agency("so_thu"))] == [False, True, True]
    shown = [(), ("works",), ("plots",), ("works", "plots")]
    assert [exceeds(more, registry, layers) for layers in shown] == [False, False, True, True]


def test_a_purpose_that_is_told_goes_before_that_of_the_grant(watched: Watched) -> None:
    watched.ask(f"{ITEMS}/00004.1.2", X_Purpose=quote("Giải quyết khiếu nại số 12"))
    assert watched.bodies()[0]["purpose"] == "Giải quyết khiếu nại số 12"


def every(seconds: float) -> Callable[[FastAPI], None]:
    """How often refusals are told."""

    def also(app: FastAPI) -> None:
        hurried(app)
        app.state.refusals.every = seconds

    return also


def basic(name: str, key: str) -> str:
    return "Basic " + b64encode(f"{name}:{key}".encode()).decode()


def test_wrong_keys_are_one_entry_a_caller_with_their_number_and_without_what_was_typed(
    watched: Watched, tmp_path: Path
) -> None:
    typed = "sdi_what-somebody-typed"
    with served(watched.town.database, watched.town.registry, every(3600), data=tmp_path) as at:
        for header in (basic("so_thu", typed), basic(typed, "x"), f"Bearer {typed}", basic("so_thu", typed)):
            assert at.ask(f"{ITEMS}?limit=1", Authorization=header).status == 401
        assert at.ask(f"{ITEMS}?limit=1&key={typed}").status == 401
    (told,) = watched.bodies()
    assert (told["kind"], told["action"], told["status"], told["count"]) == ("refused", "refused", 401, 5)
    assert (told["client"], told["claimed"], told["path"]) == ("127.0.0.1", "so_thu", ITEMS)
    assert told.get("agency") is None
    assert told["at"] <= told["until"]
    assert typed not in str(told)


def test_what_the_limits_refuse_is_one_entry_a_caller_with_its_key(watched: Watched, tmp_path: Path) -> None:
    limits = {"rate_agency": 0.001, "rate_public": 0.001, "burst": 1}
    with served(watched.town.database, watched.town.registry, every(3600), data=tmp_path, **limits) as at:
        so_thu = basic("so_thu", watched.keys["so_thu"])
        asked = [at.ask("/collections", Authorization=so_thu).status for _ in range(3)]
        asked += [at.ask("/collections").status for _ in range(4)]
    assert asked == [200, 429, 429, 200, 429, 429, 429]
    found = {(told["kind"], told.get("agency")): told for told in watched.bodies(3)}
    assert found["refused", "so_thu"]["count"] == 2
    assert found["refused", "so_thu"]["key"] == found["read", "so_thu"]["key"]
    assert (found["refused", None]["count"], found["refused", None]["client"]) == (3, "127.0.0.1")


def test_refusals_come_in_while_the_service_runs(watched: Watched, tmp_path: Path) -> None:
    with served(watched.town.database, watched.town.registry, every(0.05), data=tmp_path) as at:
        assert at.ask("/collections", X_API_Key="wrong").status == 401
        (told,) = watched.bodies()
    assert (told["status"], told["count"]) == (401, 1)


def test_whoever_has_many_addresses_fills_no_trail(watched: Watched, tmp_path: Path) -> None:
    recorder = Recorder(watched.town.settings.model_copy(update={"data": tmp_path}), watched.town.database)
    kept = refusals.Refusals(recorder)
    for number in range(refusals.MOST + 50):
        scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b"",
                 "server": ("x", 80), "state": {"address": f"198.51.{number // 250}.{number % 250}"}}  # fmt: skip
        for _ in range(2):
            kept.tell(Request(scope), 401)
    kept.record()
    kept.record()
    recorder.write()
    (file,) = tmp_path.rglob("*.spool")
    told = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(told) == refusals.MOST + 1
    assert [(each["others"], each["count"]) for each in told if "client" not in each] == [(True, 100)]


@pytest.mark.parametrize(
    ("query", "kept"),
    [("key=s3cret&limit=1", "limit=1"), ("limit=1&KEY=s3cret", "limit=1"), ("%6bey=s3cret&a=b", "a=b"),
     ("key=s3cret", ""), ("k%65y=s3cret", ""), ("api_key=s3cret&x=1", "x=1"), ("access_token=s3cret", ""),
     ("keys=1&mykey=2", "keys=1&mykey=2"), ("filter=key%3D1", "filter=key%3D1"), ("a=%FF", "a=%FF"),
     ("x" * 5000, "x" * 3999 + "…")],
)  # fmt: skip
def test_what_opens_something_is_cut_out_of_a_query(query: str, kept: str) -> None:
    assert without_secrets(query) == kept


def test_no_key_stands_in_the_trail(keeping: Watched) -> None:
    secret = keeping.keys["so_thu"]
    for _ in range(2):  # the second answers were kept
        keeping.ask(f"{ITEMS}?limit=1&key={secret}")
        keeping.ask(f"{ITEMS}?limit=1", X_API_Key=secret)
    found = keeping.entries(lambda found: len(found) >= 4)
    assert secret not in str(found)
    with engine.connect(keeping.town.database) as connection:
        rows = connection.execute("SELECT body FROM sdi_audit.entry").fetchall()
        digests = [row[0] for row in connection.execute("SELECT sha256 FROM sdi.agency_key")]
    text = "\n".join(row[0] for row in rows)
    assert "agency_key" in text, "that keys were made is in it"
    assert not any(each in text for each in (*keeping.keys.values(), *digests))


@pytest.mark.parametrize("path", [f"{ITEMS}/%00", f"{ITEMS}/%ff", f"{ITEMS}/%22%5C%0A", f"{ITEMS}?filter=%00",
                                  f"{ITEMS}/%5Cu0000", f"{ITEMS}/{'x' * 6000}"])  # fmt: skip
def test_whatever_is_asked_comes_into_the_trail(watched: Watched, path: str) -> None:
    status = watched.ask(path).status
    (told,) = watched.bodies()
    assert (told["kind"], told["status"]) == ("read", status)


ODD = 'thửa "5"\\ \n\t\x1f</b> \u2028 ỷ 😀'


@pytest.mark.parametrize("odd", [ODD, ODD.replace("\n", "")])
def test_what_was_asked_is_told_sign_by_sign(watched: Watched, odd: str) -> None:
    path, query = f"{ITEMS}/{quote(odd, safe='')}", f"a={quote(odd)}&b='%5C&filter=x%22"
    assert watched.ask(f"{path}?{query}", X_Purpose=quote(odd)).status in (400, 404)
    (told,) = watched.bodies()
    assert (told["path"], told["query"], told["purpose"]) == (f"{ITEMS}/{odd}", query, odd)
    assert told.get("asked", [odd]) == [odd]  # no address with a line feed in it is one of a feature


def test_an_id_that_no_index_takes_is_cut_and_the_trail_goes_on(watched: Watched) -> None:
    """Any agency may ask for one; an index of PostgreSQL takes 2.7 kB, of what it cannot make shorter."""
    long = "".join(random.Random(7).choices([chr(number) for number in range(0x4E00, 0x9000)], k=600))
    assert watched.ask(f"{ITEMS}/{quote(long)}").status == 404
    assert watched.ask(f"{ITEMS}/00004.1.2").status == 200
    first, second = watched.bodies(2)
    assert first["asked"] == [long[: LONGEST_ID - 1] + "…"]
    assert second["asked"] == ["00004.1.2"]


@pytest.mark.parametrize("odd", ["", "ỷ", '"', "\\", "\t", "\x1f", ODD.replace("\n", "")])
def test_versions_and_ids_are_written_exactly(odd: str) -> None:
    names = [f"{odd}{number}{odd}" for number in range(reads.FEW + 1)]
    versions = [f"{number % 3} {name}" for number, name in enumerate(names)]
    opened: list[reads.Read] = []
    before = reads.OPENED.set(opened)
    for few in (names, names[:3]):
        reads.told("plots", ("a", odd), 9, few)
        encoded, kept = [each.encode() for each in versions[: len(few)]], Texts(10**6)
        kept.keep("GeoJSON", encoded, [b""] * len(encoded))
        assert kept.plain == (odd in ("", "ỷ"))
        reads.told_versions("plots", ("a", odd), len(few), BETWEEN.join(encoded), plain=kept.plain)
    reads.told("plots", ())
    reads.OPENED.reset(before)
    assert {read.layer for read in opened} == {"plots"}
    about = {"layer": "plots", "fields": ["a", odd]}
    assert [json.loads(read.text) for read in opened] == [
        about | {"count": 9, "versions": "\n".join(f"? {name}" for name in names)},
        about | {"count": len(names), "versions": "\n".join(versions)},
        about | {"count": 9, "ids": names[:3]},
        about | {"count": 3, "ids": names[:3]},
        {"layer": "plots", "fields": []},
    ]


def test_ids_are_read_before_places_of_any_length() -> None:
    opened: list[reads.Read] = []
    before = reads.OPENED.set(opened)
    long = "0" * 300_000
    reads.told_text("plots", (), f'"a ""1""",{long}\nb,"{long}"\n'.encode(), 2)
    reads.OPENED.reset(before)
    assert [json.loads(read.text)["ids"] for read in opened] == [['a "1"', "b"]]


def test_an_answer_that_was_kept_is_recorded_like_the_first(keeping: Watched) -> None:
    for path in (f"{ITEMS}/00004.3.1", f"{ITEMS}?limit=25"):
        first, second = keeping.ask(path), keeping.ask(path)
        assert first.body == second.body
        assert keeping.given == [path.partition("?")[0]]
        keeping.given.clear()
        told, again = keeping.bodies(2)
        assert told["request"] != again["request"]
        assert told["reads"] == again["reads"]
        assert {name: told[name] for name in told if name not in ("at", "request")} == {
            name: again[name] for name in again if name not in ("at", "request")
        }


def test_who_wants_another_answer_than_the_kept_one_is_refused_and_recorded(keeping: Watched) -> None:
    path = f"{ITEMS}?limit=3&lang=vi"
    tag = keeping.ask(path).headers["ETag"]
    assert keeping.ask(path, If_Match=tag).status == 200
    assert keeping.ask(path, If_Match='"other"').status == 412
    found = keeping.bodies(3)
    assert [told["status"] for told in found] == [200, 200, 412]
    assert len({told["request"] for told in found}) == 3
    assert ["reads" in told for told in found] == [True, True, False], "nothing was shown"


def test_of_a_kept_answer_it_is_told_who_has_it_now_and_what_for(keeping: Watched) -> None:
    with engine.connect(keeping.town.database, engine.OWNER) as owner:
        other = keys.make_key(owner, "so_thu", name="Xe hiện trường")
        numbers = {key.name: key.key_id for key in keys.keys(owner, "so_thu")}
    path = f"{ITEMS}?limit=3&lang=vi"
    keeping.entries(lambda found: any(told.body["action"] == "agency_key" for told in found))
    tag = keeping.ask(path).headers["ETag"]
    assert keeping.ask(path, X_Purpose=quote('"Giải quyết" khiếu nại')).status == 200
    assert keeping.ask(path, If_None_Match=tag).status == 304
    assert keeping.town.ask(path, X_API_Key=other).status == 200
    assert keeping.ask(path, who="so_la").status == 200
    found = keeping.bodies(5)
    assert [told["status"] for told in found] == [200, 200, 304, 200, 200]
    assert [told.get("purpose") for told in found] == [PURPOSE, '"Giải quyết" khiếu nại', PURPOSE, PURPOSE, None]
    desk, car = numbers["Bàn GIS"], numbers["Xe hiện trường"]
    assert [told["key"] for told in found[:4]] == [desk, desk, desk, car]
    assert [told["member"] for told in found[:4]] == ["Bàn GIS"] * 3 + ["Xe hiện trường"]
    assert [told["agency"] for told in found] == ["so_thu"] * 4 + ["so_la"]
    assert len({told["request"] for told in found}) == 5
    (one,) = {json.dumps(told["reads"]) for told in found[:4]}
    assert len(json.loads(one)[0]["fields"]) > len(found[4]["reads"][0]["fields"]), "so_la sees less, and has its own"
    assert keeping.given == [ITEMS] * 3


def test_the_public_is_recorded_where_a_grant_shows_it_more_also_of_what_is_kept(keeping: Watched) -> None:
    granted(keeping.town.database, "public", classes=frozenset({"open", "agency"}), purpose="Công khai")
    try:
        began, shown = time.monotonic(), 0
        while shown < 2:  # the first that the grant is in force for, and one more, which is kept
            shown += "hidden_note" in keeping.town.ask(f"{ITEMS}/00004.2.1").json["properties"]
            assert time.monotonic() - began < PATIENCE
        for _ in range(2):
            assert keeping.ask("/collections/works/items?limit=1", who=None).status == 200
        assert keeping.given[-2:] == [f"{ITEMS}/00004.2.1", "/collections/works/items"]
        keeping.ask(f"{ITEMS}/00004.2.2")
        found = keeping.entries(lambda found: any(told.body.get("asked") == ["00004.2.2"] for told in found))
    finally:
        with engine.connect(keeping.town.database, engine.OWNER) as owner:
            owner.execute("UPDATE sdi.grant SET revoked_at = now(), revoked_why = 'thử' WHERE agency = 'public'")
    read = [told.body for told in found if told.body["kind"] == "read" and told.body["agency"] == "public"]
    assert [(told["path"], told["purpose"]) for told in read] == [(f"{ITEMS}/00004.2.1", "Công khai")] * 2
    assert all("hidden_note" in told["reads"][0]["fields"] for told in read)


def test_reads_of_a_parcel_are_found_and_nobody_elses(watched: Watched) -> None:
    watched.ask(f"{ITEMS}/00004.2.5")
    watched.ask(f"{ITEMS}?id=00004.2.5")
    watched.ask(f"{ITEMS}/00004.2.6")
    watched.bodies(3)
    with engine.connect(watched.town.database, engine.STEWARD) as connection:
        found = search.find(connection, Wanted(agency="so_thu", layers=["plots"], feature="00004.2.5", limit=2))
    assert [entry.body["action"] for entry in found] == ["items", "item"]


def test_who_writes_is_recorded_by_the_tables_themselves(watched: Watched) -> None:
    from sdi.store import ledger, stewardship

    plots = read_registry(TOWN)["works"]
    with engine.connect(watched.town.database) as owner:
        ledger.withdraw(owner, plots)
        ledger.publish(owner, plots)
        stewardship.grant(owner, plots, "Ban Thử")
        stewardship.revoke(owner, plots, "Ban Thử")
        owner.execute("UPDATE sdi.grant SET revoked_at = now(), revoked_why = 'thử' WHERE agency = 'nobody'")
    found = watched.bodies(4)
    assert [(told["kind"], told["action"], told["operation"]) for told in found] == [
        ("write", "publication", "update"), ("write", "publication", "update"),
        ("write", "stewardship", "insert"), ("write", "stewardship", "update"),
    ]  # fmt: skip
    assert [told["row"].get("published") for told in found[:2]] == [False, True]
    assert all(told["login"] and told["member"] and told["layers"] == ["works"] for told in found)


def test_requests_holidays_and_webhooks_are_recorded_without_what_signs_calls(watched: Watched) -> None:
    plots = read_registry(TOWN)["plots"]
    with engine.connect(watched.town.database, engine.OWNER) as owner:
        number = requests.ask(owner, plots, "so_la", ["agency"], "thử", "Luật thử")
        requests.refuse(owner, requests.waiting(owner, number), "không có căn cứ")
        requests.holiday(owner, date(2027, 1, 1), "Tết Dương lịch")
        webhook, secret = webhooks.add(owner, "so_la", "plots", "https://so-la.example.vn/moi")
        owner.execute("UPDATE sdi.webhook SET attempts = 3")  # of each call nothing is told
        webhooks.remove(owner, webhook)
    found = watched.bodies(5)
    assert [(told["action"], told["operation"], told.get("agency")) for told in found] == [
        ("request", "insert", "so_la"), ("request", "update", "so_la"), ("holiday", "insert", None),
        ("webhook", "insert", "so_la"), ("webhook", "update", "so_la"),
    ]  # fmt: skip
    assert found[1]["row"]["why"] == "không có căn cứ"
    assert all("secret" not in told["row"] and secret.hex() not in str(told) for told in found)


def test_loads_grants_and_keys_are_in_the_trail_and_the_trail_holds(watched: Watched) -> None:
    with engine.connect(watched.town.database, engine.OWNER) as owner:
        found = search.find(owner, Wanted(limit=1000))
        proven = verify(owner, [chain.head(owner)])
    assert proven.holds, proven.faults
    writes = [each.body for each in found if each.body["kind"] == "write"]
    assert {"load", "publication", "agency", "agency_key", "grant"} <= {told["action"] for told in writes}
    loads = [told["row"] for told in writes if told["action"] == "load"]
    assert sum(row["inserted"] for row in loads if row["layer"] == "plots") == 40
    assert len({row["load_id"] for row in loads}) == len(loads)
    assert not logging.getLogger("sdi").handlers
