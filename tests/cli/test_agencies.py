"""The register of agencies from the terminal: entering, granting, keys, mergers, and what an agency sees and why."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sdi.cli.app import Desk, app
from sdi.errors import NotAllowed, NotFound, SdiError, UsageError
from sdi.settings import Settings
from sdi.store import engine
from sdi.store.audit import search
from sdi.store.audit.search import Wanted
from sdi.store.sharing import agencies, grants, keys, register, requests

PARCELS, PERMITS, RED_LINES = "cadastral_parcels", "building_permits", "parcel_overview"
GROUND = ["--legal-basis", "QĐ 1", "--purpose", "thu thập"]
SQUARE = {"type": "Polygon", "coordinates": [[[105.8, 21.0], [105.9, 21.0], [105.9, 21.1], [105.8, 21.0]]]}


@dataclass
class Office:
    """The commands over one database, run in this process; `owner` looks at what they did."""

    desk: Desk
    owner: engine.Connection
    folder: Path
    group: str = "agencies"

    def __call__(self, *words: str) -> str:
        done = CliRunner().invoke(app, ["--lang", "en", self.group, *words], obj=self.desk)
        if isinstance(done.exception, SdiError):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.output

    def listed(self, *words: str) -> list[dict[str, Any]]:
        found = self("list", *words, "--json")
        return json.loads(found[found.index("[") :] if not words else found[found.index("{") :])

    def key(self, *words: str) -> str:
        return self(*words).strip().splitlines()[-1]

    def agency_of(self, key: str) -> str | None:
        """Whom the service would know by a key."""
        held = register.read(self.owner, self.desk.registry).holders
        return next((each.agency for each in held if each.sha256 == keys.digest(key)), None)


@pytest.fixture(scope="module")
def office(new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    folder = tmp_path_factory.mktemp("office")
    url = new_database()
    desk = Desk(language="en")
    desk.__dict__["settings"] = Settings(database_url=url, data=folder)
    found = Office(desk, None, folder)  # type: ignore[arg-type]
    found("add", "so_xay_dung", "--kind", "department", "--name-vi", "Sở Xây dựng", "--name-en", "Construction")
    with engine.connect(url, engine.OWNER) as owner:
        found.owner = owner
        yield found


@pytest.fixture
def ward(office: Office, request: pytest.FixtureRequest) -> str:
    """An agency for this test alone."""
    name = f"ward_{abs(hash(request.node.name)) % 10**9}"
    office("add", name, "--kind", "ward", "--name-vi", "Phường thử", "--name-en", "Test ward", "--since", "2025-07-01")
    return name


def test_an_agency_is_entered_once_and_listed_with_its_names(office: Office, ward: str) -> None:
    found = {each["id"]: each for each in office.listed()}
    assert (found[ward]["kind"], found[ward]["name_vi"], found[ward]["since"]) == ("ward", "Phường thử", "2025-07-01")
    assert found["public"]["kind"] == "public"
    with pytest.raises(UsageError, match="already"):
        office("add", ward, "--kind", "ward", "--name-vi", "Khác", "--name-en", "Other")
    with pytest.raises(UsageError, match="cannot be an agency's id"):
        office("add", "Sở-1", "--kind", "ward", "--name-vi", "Khác", "--name-en", "Other")


def test_a_grant_says_all_it_was_given_and_what_the_agency_sees_says_why(office: Office, ward: str) -> None:
    area = office.folder / "area.geojson"
    area.write_text(json.dumps({"type": "Feature", "properties": {}, "geometry": SQUARE}), encoding="utf-8")
    office(
        "grant", ward, PARCELS, "--class", "open", "--class", "agency", "--attribute", "parcel_number", "--rows",
        "land_use_code = 'ODT'", "--commune", "00070", "--polygon", str(area), "--precision", "generalised",
        "--metres", "50", "--action", "read", "--action", "export", "--from", "2026-01-01", "--to", "2099-01-01",
        "--legal-basis", "QĐ 1/2026", "--purpose", "quy hoạch",
    )  # fmt: skip
    (entry,) = [each for each in office.listed() if each["id"] == ward]
    (given,) = entry["grants"]
    assert given["classes"] == ["agency", "open"]
    assert (given["attributes"], given["communes"]) == (["parcel_number"], ["00070"])
    assert (given["rows"], given["precision"], given["metres"]) == ("land_use_code = 'ODT'", "generalised", 50.0)
    assert (given["actions"], given["valid_from"], given["valid_to"]) == (
        ["export", "read"],
        "2026-01-01",
        "2099-01-01",
    )
    assert given["polygon"] == SQUARE
    assert (given["legal_basis"], given["purpose"]) == ("QĐ 1/2026", "quy hoạch")
    view = {each["layer"]: each for each in office.listed(ward)["layers"]}  # type: ignore[call-overload]
    assert view[PARCELS]["why"] == [
        "hợp đồng · contract: open",
        f"quyền · grant {given['grant_id']}: QĐ 1/2026",
    ]
    assert view[PARCELS]["actions"] == ["export", "read"]
    shown = office("list", ward)
    assert "Test ward" in shown
    assert "generalised 50 m" in shown


def test_who_may_load_is_listed_whichever_register_says_so(office: Office, ward: str) -> None:
    office("grant", ward, PARCELS, "--action", "load", "--commune", "00070", "--to", "2099-01-01", *GROUND)
    office("grant", ward, PARCELS, "--action", "edit", "--action", "read", "--rows", "sheet_number = '1'", *GROUND)
    stewards = Office(office.desk, office.owner, office.folder, "steward")
    stewards("grant", PARCELS, "Chi nhánh", "--area", "00073")
    with pytest.raises(NotAllowed, match="Area 00070 of 'cadastral_parcels' is held by"):
        stewards("grant", PARCELS, "Chi nhánh", "--area", "00070")
    told = json.loads(stewards("list", PARCELS, "--json"))
    assert [(each["steward"], each.get("actions"), each.get("areas")) for each in told] == [
        ("Chi nhánh", None, None), (ward, ["load"], ["00070"]), (ward, ["edit"], None),
    ]  # fmt: skip
    shown = stewards("list").splitlines()
    assert [line.split()[1] for line in shown if ward in line] == ["00070", "…"]
    office("revoke", ward, "--why", "end of the test")
    stewards("revoke", PARCELS, "Chi nhánh")


def test_what_is_not_open_to_all_needs_a_legal_basis_and_a_purpose(office: Office, ward: str) -> None:
    with pytest.raises(UsageError, match="--legal-basis is missing"):
        office("grant", ward, PARCELS, "--class", "restricted")
    with pytest.raises(UsageError, match="--purpose is missing"):
        office("grant", ward, PARCELS, "--class", "restricted", "--legal-basis", "QĐ 1")
    office("grant", ward, PARCELS, "--class", "restricted", "--legal-basis", "QĐ 1", "--purpose", "thanh tra")
    office("grant", ward, PARCELS)
    for action in ("load", "edit", "approve"):
        with pytest.raises(UsageError, match="--legal-basis is missing"):
            office("grant", ward, PARCELS, "--action", action)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--class", "personal", "--legal-basis", "a", "--purpose", "b"], "'personal' cannot be granted"),
        (["--action", "delete"], "'delete' cannot be granted"),
        (["--action", "edit", *GROUND, "--attribute", "parcel_number"], "Features are written whole"),
        (["--action", "load", *GROUND, "--rows", "sheet_number = '1'"], "'load' cannot be granted of a part"),
        (["--attribute", "parcel_numbr"], "Did you mean 'parcel_number'"),
        (["--rows", "nothing = 1"], "nothing"),
        (["--precision", "generalised"], "step of its grid"),
        (["--from", "2026-01-02", "--to", "2026-01-02"], "ends before it begins"),
        (["--polygon", "bowtie.geojson"], "crosses itself"),
        (["--polygon", "line.geojson"], "no polygon"),
        (["--polygon", "absent.geojson"], "cannot be read as GeoJSON. Look at the path"),
    ],
)
def test_a_grant_that_cannot_be_kept_is_refused(office: Office, ward: str, words: list[str], said: str) -> None:
    bowtie = {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}
    (office.folder / "bowtie.geojson").write_text(json.dumps(bowtie), encoding="utf-8")
    line = {"type": "LineString", "coordinates": [[0, 0], [1, 1]]}
    (office.folder / "line.geojson").write_text(json.dumps(line), encoding="utf-8")
    words = [str(office.folder / word) if word.endswith(".geojson") else word for word in words]
    with pytest.raises(UsageError, match=said):
        office("grant", ward, PARCELS, *words)
    assert not grants.given(office.owner, agency=ward, revoked=True)


def test_the_public_is_granted_too_but_has_no_key(office: Office) -> None:
    before = office.listed("public")["layers"]  # type: ignore[call-overload]
    office("grant", "public", PARCELS, "--attribute", "parcel_number")
    after = {each["layer"]: each for each in office.listed("public")["layers"]}  # type: ignore[call-overload]
    assert len(after[PARCELS]["why"]) == 2
    assert len(before) == len(after)
    with pytest.raises(UsageError, match="needs no key"):
        office("key", "public")


def test_a_key_is_shown_once_has_a_holder_and_an_end(office: Office, ward: str) -> None:
    made = office.key("key", ward, "--name", "Nguyễn Văn Cán Bộ", "--note", "QGIS", "--days", "30")
    assert made.startswith(keys.PREFIX)
    assert office.agency_of(made) == ward
    (row,) = json.loads(office("keys", ward, "--json"))
    assert made not in json.dumps(row)
    assert keys.digest(made) not in json.dumps(row)
    assert (row["name"], row["note"]) == ("Nguyễn Văn Cán Bộ", "QGIS")
    left = datetime.fromisoformat(row["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=29, hours=23) < left <= timedelta(days=30)
    with pytest.raises(NotFound, match="no agency 'nobody'"):
        office("key", "nobody")


def test_a_steward_that_contracts_name_needs_no_entering(office: Office) -> None:
    made = office.key("key", "so_nnmt")
    assert office.agency_of(made) == "so_nnmt"
    assert {each["id"]: each for each in office.listed()}["so_nnmt"]["name_vi"].startswith("Sở")


@pytest.mark.parametrize("words", [
    ("agencies", "grant", "so_noi_vu", "admin_units"), ("agencies", "administrator", "so_noi_vu"),
    ("requests", "ask", "so_noi_vu", PARCELS, "--purpose", "x", "--legal-basis", "x"),
])  # fmt: skip
def test_nor_does_it_to_be_given_something_or_to_ask(office: Office, words: tuple[str, ...]) -> None:
    for table in ("sdi.request", "sdi.grant", "sdi.agency"):
        of = "id" if table == "sdi.agency" else "agency"
        office.owner.execute(f"DELETE FROM {table} WHERE {of} = 'so_noi_vu'".encode())
    done = CliRunner().invoke(app, ["--lang", "en", *words], obj=office.desk)
    assert done.exit_code == 0, (done.output, done.exception)
    assert "so_noi_vu" in {each["id"] for each in office.listed()}


def test_an_expired_key_and_a_revoked_one_open_nothing(office: Office, ward: str) -> None:
    past = keys.make_key(office.owner, ward, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    first, second = office.key("key", ward), office.key("key", ward)
    number = json.loads(office("keys", ward, "--json"))[1]["key_id"]
    office("revoke", ward, "--key", str(number))
    assert [office.agency_of(each) for each in (past, first, second)] == [None, None, ward]
    with pytest.raises(NotFound, match="no such key"):
        office("revoke", ward, "--key", str(number))


def test_a_rotated_key_has_the_name_of_the_old_one_which_ends_after_the_overlap(office: Office, ward: str) -> None:
    old = office.key("key", ward, "--name", "máy chủ", "--days", "10")
    new = office.key("rotate-key", ward, "--overlap", "2")
    assert [office.agency_of(each) for each in (old, new)] == [ward, ward]
    first, second = keys.keys(office.owner, ward)
    assert (second.name, first.revoked_at) == ("máy chủ", None)
    assert first.expires_at is not None
    assert second.expires_at is not None
    assert timedelta(hours=1, minutes=59) < first.expires_at - datetime.now(UTC) <= timedelta(hours=2)
    assert timedelta(days=9) < second.expires_at - datetime.now(UTC) <= timedelta(days=10)
    with pytest.raises(UsageError, match="2 keys: say which"):
        office("rotate-key", ward)
    last = office.key("rotate-key", ward, "--key", str(second.key_id), "--overlap", "0")
    assert [office.agency_of(each) for each in (new, last)] == [None, ward]


def test_a_grant_is_taken_back_by_its_number_with_a_reason(office: Office, ward: str) -> None:
    office("grant", ward, PARCELS)
    number = grants.given(office.owner, agency=ward)[0].grant.grant_id
    with pytest.raises(UsageError, match="--why is missing"):
        office("revoke", ward, "--grant", str(number))
    with pytest.raises(UsageError, match="has no grant"):
        office("revoke", "so_xay_dung", "--grant", str(number), "--why", "x")
    office("revoke", ward, "--grant", str(number), "--why", "hết nhiệm vụ")
    assert not grants.given(office.owner, agency=ward)
    (ended,) = grants.given(office.owner, agency=ward, revoked=True)
    assert (ended.revoked_why, ended.revoked_by is not None) == ("hết nhiệm vụ", True)
    assert "hết nhiệm vụ" in office("list", ward, "--all")


def test_all_of_an_agency_ends_at_once(office: Office, ward: str) -> None:
    office("grant", ward, PARCELS)
    office("grant", ward, PERMITS)
    made = office.key("key", ward)
    office("revoke", ward, "--why", "giải thể")
    assert office.agency_of(made) is None
    assert not grants.given(office.owner, agency=ward)


def test_a_merged_agencys_keys_and_grants_are_its_successors_from_the_day_on(office: Office, ward: str) -> None:
    office("grant", ward, PARCELS, "--attribute", "parcel_number")
    made = office.key("key", ward)
    heir, later = f"{ward}_heir", f"{ward}_later"
    for name in (heir, later):
        office("add", name, "--kind", "ward", "--name-vi", "Phường mới", "--name-en", "New ward")
    office("merge", ward, later, "--why", "NQ 1/2098", "--on", "2098-07-01")
    assert office.agency_of(made) == ward
    (entry,) = [each for each in agencies.entries(office.owner) if each.id == ward]
    assert entry.merged_at == datetime(2098, 6, 30, 17, tzinfo=UTC)
    assert register.read(office.owner, office.desk.registry).until is not None
    assert office.agency_of(office.key("key", ward)) == ward, "until that day it is an agency like any other"
    office("grant", ward, PARCELS, "--attribute", "sheet_number")
    office("revoke", ward, "--grant", str(grants.given(office.owner, agency=ward)[-1].grant.grant_id), "--why", "x")
    for words in (["merge", ward, heir, "--why", "x"], ["merge", heir, ward, "--why", "x"], ["administrator", ward]):
        with pytest.raises(UsageError, match=f"will be merged into '{later}'"):
            office(*words)
    office("unmerge", ward, "--why", "chưa có nghị quyết")  # it has not begun
    assert agencies.standing(office.owner, ward).merged_at is None
    office("merge", ward, heir, "--why", "NQ 202/2025/QH15")
    assert office.agency_of(made) == heir
    assert [each.layer for each in register.read(office.owner, office.desk.registry).agency(heir).grants] == [PARCELS]
    entry = {each["id"]: each for each in office.listed()}[ward]
    assert (entry["merged_into"], entry["merged_why"]) == (heir, "NQ 202/2025/QH15")
    for words in (["key", ward], ["merge", ward, later, "--why", "x"], ["merge", heir, ward, "--why", "x"],
                  ["grant", ward, PARCELS]):  # fmt: skip
        with pytest.raises(NotFound, match=f"was merged into '{heir}'"):
            office(*words)
    with pytest.raises(UsageError, match="into another one"):
        office("merge", heir, heir, "--why", "x")


def test_a_merger_is_undone_and_all_is_as_it_was(office: Office, ward: str) -> None:
    def standing() -> tuple[object, ...]:
        held = register.read(office.owner, office.desk.registry)
        return (
            [each for each in held.holders if each.agency in (ward, heir)], held.agency(ward), held.agency(heir),
            keys.keys(office.owner, ward), grants.given(office.owner, agency=ward),
            requests.requests(office.owner, request_id=asked),
        )  # fmt: skip

    heir = f"{ward}_heir"
    office("add", heir, "--kind", "ward", "--name-vi", "Phường mới", "--name-en", "New ward")
    office("grant", ward, PARCELS, "--attribute", "parcel_number")
    office("key", ward, "--name", "Bàn địa chính")
    asked = requests.ask(office.owner, office.desk.registry[PARCELS], ward, ["agency"], "thử", "Luật thử")
    before = standing()
    with pytest.raises(UsageError, match="merged into no other"):
        office("unmerge", ward, "--why", "x")
    office("merge", ward, heir, "--why", "NQ 1/2026")
    assert standing() != before
    with pytest.raises(UsageError, match="Say why"):
        office("unmerge", ward, "--why", " ")
    office("unmerge", ward, "--why", "NQ 2/2026")
    assert standing() == before
    entry = {each["id"]: each for each in office.listed()}[ward]
    assert (entry["merged_into"], entry["merged_at"], entry["merged_why"]) == (None, None, "NQ 2/2026")
    told = search.find(office.owner, Wanted(agency=ward, action="agency"))
    assert [each.body["row"].get("merged_into") for each in told] == [None, heir, None], "the trail tells of both"
    office("key", ward)


def test_an_administrator_is_told_so_and_is_not_merged_away(office: Office, ward: str) -> None:
    office("administrator", ward)
    assert register.read(office.owner, office.desk.registry).administrators >= {ward}
    with pytest.raises(UsageError, match="take that from it first"):
        office("merge", ward, "so_xay_dung", "--why", "x")
    office("administrator", ward, "--off")
    assert ward not in register.read(office.owner, office.desk.registry).administrators


@pytest.mark.parametrize(
    "command", ["add", "list", "grant", "revoke", "rotate-key", "merge", "unmerge", "key", "keys", "administrator"]
)
def test_a_command_explains_itself_in_both_languages(command: str) -> None:
    done = CliRunner().invoke(app, ["agencies", command, "--help"], obj=Desk())
    assert done.exit_code == 0
    assert "·" in done.output.partition("Options")[0]
