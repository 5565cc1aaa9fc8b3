"""Requests for layers from the terminal: asked, granted, narrowed, refused, and answered too late."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sdi.cli.app import Desk, app
from sdi.errors import NotFound, SdiError, UsageError
from sdi.settings import Settings
from sdi.store import engine
from sdi.store.sharing import grants, requests

PARCELS = "cadastral_parcels"
ASKED = ("--purpose", "cấp phép xây dựng", "--legal-basis", "NĐ 194/2025/NĐ-CP")


@dataclass
class Office:
    desk: Desk
    owner: engine.Connection

    def __call__(self, *words: str) -> str:
        done = CliRunner().invoke(app, ["--lang", "en", *words], obj=self.desk)
        if isinstance(done.exception, SdiError):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.output

    def asked(self, *words: str) -> int:
        self("requests", "ask", "so_xay_dung", PARCELS, *ASKED, *words)
        return requests.requests(self.owner)[-1].request_id

    def listed(self, *words: str) -> dict[int, dict[str, Any]]:
        found = self("requests", "list", *words, "--json")
        return {each["request_id"]: each for each in json.loads(found[found.index("[") :])}


@pytest.fixture(scope="module")
def office(new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    folder: Path = tmp_path_factory.mktemp("office")
    url = new_database()
    desk = Desk(language="en")
    desk.__dict__["settings"] = Settings(database_url=url, data=folder)
    found = Office(desk, None)  # type: ignore[arg-type]
    names = ("--name-vi", "Sở Xây dựng", "--name-en", "Construction")
    found("agencies", "add", "so_xay_dung", "--kind", "department", *names)
    with engine.connect(url, engine.OWNER) as owner:
        found.owner = owner
        yield found


def test_what_is_asked_for_waits_and_is_granted_as_it_was_asked(office: Office) -> None:
    number = office.asked("--class", "open", "--class", "agency", "--commune", "00070")
    assert office.listed()[number]["answer"] is None
    office("requests", "grant", str(number))
    assert number not in office.listed()
    told = office.listed("--all")[number]
    assert (told["answer"], told["purpose"]) == ("granted", "cấp phép xây dựng")
    (given,) = [each.grant for each in grants.given(office.owner) if each.grant.grant_id == told["grant_id"]]
    assert (given.agency, given.layer, given.communes) == ("so_xay_dung", PARCELS, ("00070",))
    assert (given.classes, given.legal_basis) == (frozenset({"open", "agency"}), "NĐ 194/2025/NĐ-CP")
    with pytest.raises(NotFound):
        office("requests", "grant", str(number))


def test_less_than_was_asked_for_needs_a_reason_and_is_told_with_it(office: Office) -> None:
    number = office.asked("--class", "agency", "--class", "open")
    with pytest.raises(UsageError, match="less"):
        office("requests", "grant", str(number), "--class", "open")
    assert number in office.listed()
    office("requests", "grant", str(number), "--class", "open", "--why", "không cần diện tích pháp lý")
    told = office.listed("--all")[number]
    assert (told["answer"], told["why"]) == ("narrowed", "không cần diện tích pháp lý")


def test_the_list_tells_all_that_is_decided_on(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "240")
    number = office.asked("--class", "agency", "--class", "restricted", "--commune", "00070", "--action", "edit")
    (line,) = [each for each in office("requests", "list").splitlines() if each.split()[:1] == [str(number)]]
    for told in ("agency+restricted · 00070", " edit ", "NĐ 194/2025/NĐ-CP", "cấp phép xây dựng"):
        assert told in line
    office("requests", "refuse", str(number), "--why", "x")


def test_what_a_merged_agency_asked_for_is_granted_to_its_successor(office: Office) -> None:
    names = ("--kind", "ward", "--name-vi", "Phường", "--name-en", "Ward")
    for name in ("ward_gone", "ward_heir"):
        office("agencies", "add", name, *names)
    office("requests", "ask", "ward_gone", PARCELS, *ASKED)
    number = requests.requests(office.owner)[-1].request_id
    office("agencies", "merge", "ward_gone", "ward_heir", "--why", "NQ 202/2025/QH15")
    assert office.listed()[number]["agency"] == "ward_heir"
    office("requests", "grant", str(number))
    told = office.listed("--all")[number]
    assert told["answer"] == "granted"
    (given,) = grants.given(office.owner, agency="ward_heir")
    assert given.grant.grant_id == told["grant_id"]


def test_more_than_was_asked_for_needs_no_reason(office: Office) -> None:
    number = office.asked("--class", "agency", "--commune", "00070")
    office("requests", "grant", str(number), "--class", "open", "--class", "agency", "--commune", "00070", "--commune",
           "00073", "--action", "read", "--action", "export")  # fmt: skip
    assert office.listed("--all")[number]["answer"] == "granted"


@pytest.mark.parametrize("less", [
    ("--action", "read"), ("--commune", "00070"), ("--rows", "land_use_code = 'ODT'"), ("--attribute", "legal_area"),
    ("--precision", "centroid"), ("--class", "open", "--class", "restricted"),
])  # fmt: skip
def test_whatever_is_less_needs_one(office: Office, less: tuple[str, ...]) -> None:
    number = office.asked("--action", "read", "--action", "export", "--commune", "00070", "--commune", "00073")
    with pytest.raises(UsageError, match="Say why less"):
        office("requests", "grant", str(number), *less)
    office("requests", "grant", str(number), *less, "--why", "đủ dùng")
    assert office.listed("--all")[number]["answer"] == "narrowed"


@pytest.mark.parametrize("long", ["purpose", "legal-basis", "commune"])
def test_what_is_asked_for_is_told_briefly(office: Office, long: str) -> None:
    office("requests", "ask", "so_xay_dung", PARCELS, *ASKED, f"--{long}", "x" * 2_000)
    with pytest.raises(UsageError, match="2000 characters"):
        office("requests", "ask", "so_xay_dung", PARCELS, *ASKED, f"--{long}", "x" * 2_001)


def test_a_refusal_has_its_ground_and_gives_nothing(office: Office) -> None:
    number = office.asked()
    before = len(grants.given(office.owner))
    with pytest.raises(UsageError, match="ground"):
        office("requests", "refuse", str(number), "--why", " ")
    office("requests", "refuse", str(number), "--why", "Luật Bảo vệ bí mật nhà nước")
    told = office.listed("--all")[number]
    assert (told["answer"], told["grant_id"]) == ("refused", None)
    assert len(grants.given(office.owner)) == before


def test_what_waits_longer_than_two_working_days_is_overdue(office: Office) -> None:
    late, early = office.asked(), office.asked()
    office.owner.execute(
        "UPDATE sdi.request SET asked_at = asked_at - interval '10 days' WHERE request_id = %s", [late]
    )
    assert late in office.listed("--overdue")
    assert early not in office.listed("--overdue")
    assert office.listed()[late]["overdue"] is True
    office("requests", "refuse", str(late), "--why", "quá muộn")
    assert late not in office.listed("--overdue")
    assert late in office.listed("--overdue", "--all")


@pytest.mark.parametrize(
    ("asked", "holidays", "ends"),
    [
        ((2026, 11, 18, 3), (), (2026, 11, 20, 17)),  # a Wednesday: until the end of Friday, Viet Nam's midnight
        ((2026, 11, 20, 3), (), (2026, 11, 24, 17)),  # a Friday: Monday and Tuesday
        ((2026, 11, 21, 3), (), (2026, 11, 24, 17)),  # a Saturday
        ((2026, 11, 18, 18), (), (2026, 11, 23, 17)),  # Thursday already in Viet Nam
        ((2026, 12, 30, 3), (date(2027, 1, 1),), (2027, 1, 4, 17)),  # New Year's Day is none
    ],
)
def test_the_clock_counts_working_days_of_viet_nam(
    asked: tuple[int, ...], holidays: tuple[date, ...], ends: tuple[int, ...]
) -> None:
    assert requests.due(datetime(*asked, tzinfo=UTC), holidays) == datetime(*ends, tzinfo=UTC)  # type: ignore[misc]


def test_a_holiday_that_is_entered_moves_the_end(office: Office) -> None:
    number = office.asked()
    before = office.listed()[number]["due"]
    day = requests.last_minute(datetime.fromisoformat(before)).date()
    office("requests", "holiday", day.isoformat(), "Nghỉ lễ")
    assert office.listed()[number]["due"] > before


@pytest.mark.parametrize("words", [("ask", "public", PARCELS, *ASKED), ("ask", "so_khong_co", PARCELS, *ASKED)])
def test_the_public_and_unknown_agencies_ask_for_nothing(office: Office, words: tuple[str, ...]) -> None:
    with pytest.raises(SdiError):
        office("requests", *words)
