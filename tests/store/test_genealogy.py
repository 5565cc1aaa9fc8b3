"""Parents and children: what geometry shows, what a delivery tells, what a rollback takes back, and what it costs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import shapely

from sdi.contract.layer import Check, Genealogy, Layer
from sdi.errors import NotFound, UsageError
from sdi.store import genealogy, ledger, restore
from tests.store.town import EAST, NORTH, Town, plot

Pair = tuple[str, str]


@pytest.fixture
def place(town: Town) -> Town:
    """A town whose plots have a genealogy; `remark` tells former ids, `ward` and `dispute` a template of one."""
    return with_genealogy(town, Genealogy(parents=["remark", "{ward}/{dispute}"]))


def with_genealogy(town: Town, part: Genealogy, **more: Any) -> Town:
    layers = dict(town.registry.layers)
    any_end = Check(rule="delivery.shrinks", tolerance=100)  # small towns are divided anew as a whole
    layers["plots"] = layers["plots"].model_copy(update={"genealogy": part, "checks": [any_end], **more})
    return replace(town, registry=replace(town.registry, layers=layers))


def ground(name: str, west: float, east: float, **values: Any) -> dict[str, Any]:
    """A plot of a street that is 20 m deep, between two places along it, in metres."""
    shape = shapely.multipolygons([shapely.box(EAST + west, NORTH, EAST + east, NORTH + 20)])
    return plot(0, id=name, code=name, remark=None, geom=shape) | values


def relations(town: Town, *, held: str = "load_to IS NULL") -> dict[Pair, tuple[str, str]]:
    rows = town.rows(f"SELECT parent, child, kind, told_by FROM sdi.genealogy WHERE {held}")
    return {(parent, child): (kind, told) for parent, child, kind, told in rows}


def roll_back(town: Town, to_load: int) -> int:
    layer = town.registry["plots"]
    with (
        ledger.recorded(town.connection, layer, None, steward="b", restores=to_load) as load_id,
        town.connection.transaction(),
    ):
        return restore.restore(town.connection, layer, town.registry, to_load, load_id=load_id).load_id


# --- geometry shows it --------------------------------------------------------------------------------------------


def test_a_split_shows_the_parent_of_both_halves(place: Town) -> None:
    place.load("plots", [ground("A", 0, 40), ground("N", 40, 60)])
    load = place.load("plots", [ground("A1", 0, 10), ground("A2", 10, 40), ground("N", 40, 60)])
    assert relations(place) == {("A", "A1"): ("split", "geometry"), ("A", "A2"): ("split", "geometry")}
    [(shared, of_parent, of_child, origin)] = place.rows(
        "SELECT shared_m2, share_of_parent, share_of_child, origin FROM sdi.genealogy WHERE child = 'A1'"
    )
    assert (shared, of_parent, of_child) == (pytest.approx(200), pytest.approx(25), pytest.approx(100))
    assert origin == load.load_id


def test_a_split_in_which_the_parent_keeps_its_id(place: Town) -> None:
    place.load("plots", [ground("A", 0, 40)])
    place.load("plots", [ground("A", 0, 30), ground("B", 30, 40)])
    assert relations(place) == {("A", "B"): ("split", "geometry")}


def test_a_merge_shows_all_parents_of_the_child(place: Town) -> None:
    place.load("plots", [ground("A", 0, 20), ground("B", 20, 40), ground("C", 40, 60)])
    place.load("plots", [ground("ABC", 0, 60)])
    assert relations(place) == {(each, "ABC"): ("merge", "geometry") for each in "ABC"}


def test_a_merge_into_one_that_keeps_its_id(place: Town) -> None:
    place.load("plots", [ground("A", 0, 20), ground("B", 20, 40)])
    place.load("plots", [ground("A", 0, 40)])
    assert relations(place) == {("B", "A"): ("merge", "geometry")}


def test_a_redivision_relates_each_to_those_it_has_ground_of(place: Town) -> None:
    place.load("plots", [ground("A", 0, 30), ground("B", 30, 60)])
    place.load("plots", [ground("X", 0, 20), ground("Y", 20, 40), ground("Z", 40, 60)])
    kinds = {pair: kind for pair, (kind, _) in relations(place).items()}
    assert kinds == dict.fromkeys([("A", "X"), ("A", "Y"), ("B", "Y"), ("B", "Z")], "redivision")


def test_another_id_on_the_same_ground_is_a_renumbering_even_where_ids_are_exchanged(place: Town) -> None:
    place.load("plots", [ground("A", 0, 20), ground("B", 20, 40), ground("C", 40, 60)])
    place.load("plots", [ground("B", 0, 20), ground("A", 20, 40), ground("D", 40, 60)])
    found = relations(place)
    assert found == dict.fromkeys([("A", "B"), ("B", "A"), ("C", "D")], ("renumbering", "geometry"))


def test_less_than_the_share_of_either_and_the_overlap_that_is_let_pass_are_no_relation(place: Town) -> None:
    place.load("plots", [ground("A", 0, 40), ground("B", 40, 80)])
    place.load("plots", [ground("A", 0, 40.5), ground("C", 40.5, 80)])  # 10 m2: 1.25 % of each
    assert relations(place) == {("B", "C"): ("replacement", "geometry")}
    place.load("plots", [ground("A", 0, 45), ground("C", 45, 80)])  # 90 m2: over 10 % of both
    assert relations(place)["C", "A"][1] == "geometry"


def test_a_survey_that_moves_every_corner_by_a_millimetre_relates_nobody(place: Town) -> None:
    plots = [ground(f"P{n}", n * 20, n * 20 + 20) for n in range(5)]
    place.load("plots", plots)
    for each in plots:
        each["geom"] = shapely.transform(each["geom"], lambda xy: xy + 0.001)
    assert place.load("plots", plots).updated == 5
    assert relations(place) == {}


def test_attributes_alone_and_ends_alone_relate_nobody(place: Town) -> None:
    place.load("plots", [ground("A", 0, 20), ground("B", 20, 40)])
    place.load("plots", [ground("A", 0, 20, floors=9), ground("C", 100, 120)])
    assert relations(place) == {}


def test_a_first_load_has_no_parents(place: Town) -> None:
    place.load("plots", [ground("A", 0, 20), ground("B", 20, 40, remark="A")])
    assert relations(place) == {}


def test_a_parent_whose_row_stays_with_an_end_of_validity_has_ended(town: Town) -> None:
    end = town.registry["plots"].temporal
    assert end is not None
    place = with_genealogy(
        town, Genealogy(), temporal=end.model_copy(update={"start": None, "end": "surveyed_on"})
    )  # fmt: skip
    living = {"surveyed_on": None}
    place.load("plots", [ground("A", 0, 40, **living)])
    halves = [ground("A1", 0, 20, **living), ground("A2", 20, 40, **living)]
    place.load("plots", [ground("A", 0, 40), *halves])
    assert {pair: kind for pair, (kind, _) in relations(place).items()} == dict.fromkeys(
        [("A", "A1"), ("A", "A2")], "split"
    )


def test_a_layer_without_the_part_keeps_no_genealogy(town: Town) -> None:
    town.load("plots", [ground("A", 0, 40)])
    town.load("plots", [ground("A1", 0, 20), ground("A2", 20, 40)])
    assert relations(town) == {}
    with pytest.raises(UsageError, match="no genealogy"):
        genealogy.relatives(town.connection, town.registry["plots"], "A")


# --- the delivery tells it ----------------------------------------------------------------------------------------


def test_a_delivery_tells_parents_that_geometry_shows_too(place: Town) -> None:
    place.load("plots", [ground("A", 0, 20), ground("B", 20, 40)])
    place.load("plots", [ground("C", 0, 40, remark="A; B")])
    assert relations(place) == {("A", "C"): ("merge", "both"), ("B", "C"): ("merge", "both")}


def test_a_delivery_tells_parents_that_geometry_does_not_show(place: Town) -> None:
    place.load("plots", [ground("A", 0, 20), ground("00001/7", 20, 40)])
    place.load("plots", [ground("C", 500, 520, remark="A+nobody"), ground("D", 600, 620, dispute="7")])
    assert relations(place) == {("A", "C"): ("replacement", "delivery"), ("00001/7", "D"): ("replacement", "delivery")}


def test_one_that_still_is_what_it_was_is_no_parent(place: Town) -> None:
    """After a renumbering an old number may be another plot's number of today."""
    place.load("plots", [ground("A", 0, 20), ground("B", 20, 40)])
    place.load("plots", [ground("A", 0, 20), ground("B", 20, 40, floors=1), ground("C", 60, 80, remark="A")])
    assert relations(place) == {}


def test_one_of_which_only_something_else_is_written_is_no_parent(place: Town) -> None:
    """All plots of a ward are written anew, with the numbers that they had before they were numbered anew."""
    place.load("plots", [ground("A", 0, 20), ground("B", 20, 40)])
    place.load("plots", [ground("A", 0, 20, floors=1, remark="B"), ground("B", 20, 40, floors=1, remark="A")])
    assert relations(place) == {}
    place.load("plots", [ground("A", 0, 10, floors=1), ground("B", 20, 40), ground("C", 60, 80, remark="A; B")])
    assert relations(place) == {("A", "C"): ("split", "delivery")}  # A keeps the rest


def test_a_parent_may_be_told_later(place: Town) -> None:
    place.load("plots", [ground("A", 0, 20), ground("B", 20, 40)])
    place.load("plots", [ground("B", 20, 40), ground("C", 500, 520)])
    assert relations(place) == {}
    place.load("plots", [ground("B", 20, 40), ground("C", 500, 520, remark="A")])
    assert relations(place) == {("A", "C"): ("replacement", "delivery")}


# --- rollbacks ----------------------------------------------------------------------------------------------------


def test_a_rollback_ends_relations_and_a_rollback_of_it_brings_them_back(place: Town) -> None:
    first = place.load("plots", [ground("A", 0, 40)]).load_id
    second = place.load("plots", [ground("A1", 0, 20), ground("A2", 20, 40)]).load_id
    made = relations(place)
    assert len(made) == 2
    back = roll_back(place, first)
    assert relations(place) == {}
    again = roll_back(place, second)
    assert relations(place) == made
    assert {row[0] for row in place.rows("SELECT origin FROM sdi.genealogy")} == {second}
    at = "load_id <= {0} AND (load_to IS NULL OR load_to > {0})"
    sizes = [len(relations(place, held=at.format(load))) for load in (first, second, back, again)]
    assert sizes == [0, 2, 0, 2]


# --- reading ------------------------------------------------------------------------------------------------------


def tree(town: Town, feature: str) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    up, down = genealogy.relatives(town.connection, layer_of(town), feature)
    return [(k.relation.parent, k.generation) for k in up], [(k.relation.child, k.generation) for k in down]


def layer_of(town: Town) -> Layer:
    return town.registry["plots"]


def test_a_tree_goes_up_and_down_over_generations(place: Town) -> None:
    place.load("plots", [ground("A", 0, 20), ground("B", 20, 40)])
    place.load("plots", [ground("C", 0, 40)])
    place.load("plots", [ground("D", 0, 10), ground("E", 10, 40)])
    up, down = tree(place, "C")
    assert sorted(up) == [("A", 1), ("B", 1)]
    assert sorted(down) == [("D", 1), ("E", 1)]
    up, down = tree(place, "D")
    assert sorted(up) == [("A", 2), ("B", 2), ("C", 1)]
    assert down == []


def test_a_cycle_of_ids_ends(place: Town) -> None:
    place.load("plots", [ground("A", 0, 20)])
    place.load("plots", [ground("B", 0, 20)])
    place.load("plots", [ground("A", 0, 20)])
    assert tree(place, "A") == ([("B", 1), ("A", 2)], [("B", 1), ("A", 2)])


def test_a_feature_that_never_was_has_no_tree(place: Town) -> None:
    with pytest.raises(NotFound):
        genealogy.relatives(place.connection, layer_of(place), "nobody")


def test_two_thousand_plots_divided_anew_are_compared_with_their_neighbours_only(place: Town) -> None:
    """What is compared are neighbours: were all compared with all, four million intersections would be made."""

    def street(n: int, shift: float, name: str) -> dict[str, Any]:
        x, y = EAST + n % 50 * 20 + shift, NORTH + n // 50 * 20
        shape = shapely.multipolygons([shapely.box(x, y, x + 20, y + 20)])
        return plot(0, id=f"{name}{n}", code=f"{name}{n}", remark=None, geom=shape)

    place.load("plots", [street(n, 0, "A") for n in range(2000)])
    load = place.load("plots", [street(n, 8, "B") for n in range(2000)])
    assert load.deleted == 2000
    assert len(relations(place)) == 2000 + 2000 - 40  # each has ground of two, the first of each street of one
    place.load("plots", [street(n, 8, "C") for n in range(2000)])
    assert place.one("SELECT count(*) FROM sdi.genealogy WHERE kind = 'renumbering'") == 2000
