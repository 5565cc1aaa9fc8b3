"""Counts and sums by what a contract tells, as they exist for who asks."""

from __future__ import annotations

import csv
import io
from collections import Counter
from decimal import Decimal

import pytest

from tests.service.conftest import Town, plots

AT = "/collections/plots/statistics"


def seen_uses(town: Town) -> Counter[str | None]:
    """The truth by what the service itself shows feature by feature."""
    found: Counter[str | None] = Counter()
    path = "/collections/plots/items?f=json&limit=30"
    while path:
        page = town.get(path)
        found.update(feature["properties"]["use"] for feature in page["features"])
        following = [link["href"] for link in page["links"] if link["rel"] == "next"]
        path = following[0].removeprefix(town.url) if following else ""
    return found


def test_groups_have_the_count_and_the_sum_of_what_is_seen(town: Town) -> None:
    document = town.get(f"{AT}?by=use&f=json")
    uses = seen_uses(town)
    told = {group["use"]: group for group in document["groups"]}
    small = {use for use, count in uses.items() if count < 5}
    assert document["total"]["count"] == sum(uses.values())
    for use in uses.keys() - small - set(document["dimensions"][0].get("together", [])):
        assert told[use]["count"] == uses[use]
        rows = [row for row in plots()[0].to_pylist() if row["use"] == use]
        assert told[use]["legal_area"] == float(sum(Decimal(str(row["legal_area"])) for row in rows))
    assert "CQP" not in told


def test_a_date_is_counted_by_its_year(town: Town) -> None:
    document = town.get(f"{AT}?by=valid_from&f=json")
    years = Counter(str(row["valid_from"].year) for row in plots()[0].to_pylist() if row["use"] != "CQP")
    alone = {group["valid_from"]: group["count"] for group in document["groups"] if group["valid_from"] != "*"}
    assert alone
    assert all(count <= years[year] for year, count in alone.items())
    assert set(alone) <= {str(year) for year in range(2020, 2026)}


def test_two_dimensions_are_one_table_whose_order_does_not_matter(town: Town) -> None:
    one, other = (town.get(f"{AT}?by={by}&f=json") for by in ("use,disputed", "disputed,use"))
    assert one == other
    assert one["by"] == ["use", "disputed"]
    for group in one["groups"]:
        assert (group["count"] is None) == group.get("suppressed", False)
        assert group["count"] is None or group["count"] >= one["least"] == 5


def test_without_a_dimension_it_is_counted_by_the_first(town: Town) -> None:
    assert town.get(f"{AT}?f=json")["by"] == ["use"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("by=usee", "Did you mean 'use'?"),
        ("by=hidden_note", "not counted by 'hidden_note'"),
        ("by=height", "not counted by 'height'"),
        ("by=disputed,valid_from", "not counted together"),
        ("by=use,disputed,valid_from", "not counted together"),
        ("by=", "not counted by"),
        ("filter=number%3D1", "no parameter 'filter'"),
        ("bbox=105,20,106,22", "no parameter 'bbox'"),
    ],
)
def test_nothing_else_can_be_asked(town: Town, asked: str, said: str) -> None:
    answer = town.ask(f"{AT}?{asked}&lang=en&f=json")
    assert (answer.status, said in answer.json["detail"]) == (400, True), answer.text


def test_csv_has_a_line_for_each_group_with_titles_beside_codes(town: Town) -> None:
    answer = town.ask(f"{AT}?by=use,disputed&f=csv&lang=vi")
    assert answer.headers["Content-Type"].startswith("text/csv")
    assert 'filename="plots_by_use_disputed.csv"' in answer.headers["Content-Disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.body.decode("utf-8-sig"), newline="")))
    groups = town.get(f"{AT}?by=use,disputed&f=json")["groups"]
    assert [*rows[0]] == [
        "use", "use_title", "disputed", "disputed_title", "count", "legal_area", "suppressed",
    ]  # fmt: skip
    assert [row["count"] for row in rows] == ["" if each["count"] is None else str(each["count"]) for each in groups]
    assert {row["disputed_title"] for row in rows if row["disputed"] == "true"} <= {"Có"}


@pytest.mark.parametrize("language", ["vi", "en"])
def test_the_page_has_the_same_numbers_and_leads_to_every_table(town: Town, language: str) -> None:
    page = town.ask(f"{AT}?by=use,disputed&lang={language}", Accept="text/html").text
    assert ("Thống kê" if language == "vi" else "Statistics") in page
    for group in town.get(f"{AT}?by=use&f=json")["groups"]:
        assert f'<td class="number">{group["count"]}</td>' in page
    for by in ("use", "disputed", "valid_from", "use,disputed", "use,valid_from"):
        assert f"by={by}" in page
    assert "Traceback" not in page


def test_the_collection_leads_there_and_a_layer_without_statistics_has_none(town: Town) -> None:
    links = town.get("/collections/plots?f=json")["links"]
    assert any(link["href"] == f"{town.url}{AT}" for link in links)
    assert AT in town.ask("/collections/plots", Accept="text/html").text
    assert town.ask("/collections/works/statistics").status == 404
    assert town.ask("/collections/nothing/statistics").status == 404
    described = town.get("/openapi?f=json")["paths"]
    assert AT in described
    assert "/collections/works/statistics" not in described


def test_an_answer_has_a_tag_and_is_not_sent_twice(town: Town) -> None:
    first = town.ask(f"{AT}?by=use&f=json")
    again = town.ask(f"{AT}?by=use&f=json", If_None_Match=first.headers["ETag"])
    assert (first.status, again.status, again.body) == (200, 304, b"")
