"""Every rule has a test that breaks it and one that keeps it.

What bench/defects.py plants is judged by recall and precision in `tests/pipeline/test_planted_defects.py`: each of its
rules is broken there, and not one of them speaks of what was not planted. The tests of all other rules, and of some of
those, are named here; where one test does both, it compares the whole list of findings. That a test named as the one
that keeps a rule does so is for its reader to see; that it exists, comes to speak of the rule where it breaks it, and
compares something is not.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from sdi.contract.rules import RULES

HERE = Path(__file__).resolve().parent
DEFECTS = (HERE.parent / "bench" / "defects.py").read_text(encoding="utf-8")
INGEST, BETWEEN, LIMITS = "ingest/test_{}.py", "store/test_between.py", "pipeline/test_planning_limits.py"
ATTRIBUTES, GEOMETRY, SHAPE, PLACE, COVERAGE, RASTER, TEXT, ENDED, REAL = (
    INGEST.format(name)
    for name in ("attributes", "geometry", "shape_checks", "place_checks", "coverage_checks", "raster", "text_checks",
                 "ended", "real_deliveries")
)  # fmt: skip
SOUND = (TEXT, "a_table_that_does_not_tell_its_encoding_is_told_as_a_whole")
ENDING = "store/test_ending.py"

Case = tuple[str, str]
"""File under tests/, name of the test without `test_`."""
PAIRS: dict[str, tuple[Case, Case]] = {
    "file.column_unknown": (
        (ATTRIBUTES, "personal_columns_are_dropped_all_of_them_and_unknown_ones_told_one_by_one"), SOUND,
    ),
    "file.personal_dropped": (
        (ATTRIBUTES, "personal_columns_are_dropped_all_of_them_and_unknown_ones_told_one_by_one"), SOUND,
    ),
    "file.encoding": ((REAL, "a_cpg_that_lies_is_found_and_the_text_is_right"), SOUND),
    "file.truncated": (("hostile/test_files.py", "a_shapefile_cut_short_refuses_the_whole_delivery"), SOUND),
    "file.unread": (
        ("hostile/test_drawings.py", "one_line_that_is_gone_does_not_lose_entities_without_a_word"),
        ("hostile/test_drawings.py", "nothing_is_told_of_sound_drawings"),
    ),
    "file.rows_merged": (
        ("hostile/test_rows.py", "rows_that_a_quotation_mark_made_one_are_told_with_their_lines"),
        ("hostile/test_rows.py", "a_table_that_is_well_written_is_not_accused"),
    ),
    "file.fields_lost": (
        ("hostile/test_rows.py", "fields_beyond_the_columns_are_told"),
        ("hostile/test_rows.py", "a_table_that_is_well_written_is_not_accused"),
    ),
    "file.zero_byte": (
        ("hostile/test_rows.py", "a_zero_byte_is_told"), ("hostile/test_rows.py", "nothing_is_told_of_real_tables"),
    ),
    "file.header_long": (
        ("hostile/test_rows.py", "a_first_line_that_took_a_row_into_it_is_told"),
        ("hostile/test_rows.py", "nothing_is_told_of_real_tables"),
    ),
    "delivery.shrinks": (
        (ENDING, "a_full_delivery_may_end_as_much_as_is_meant"),
        (ENDING, "what_stays_below_the_tolerance_or_is_named_is_not_too_much"),
    ),
    "delivery.ended_unknown": (
        (ENDING, "ids_that_end_nothing_are_told"),
        (ENDING, "what_a_delivery_names_as_ended_has_ended_in_either_mode"),
    ),
    "delivery.ended_delivered": (
        (ENDING, "ids_that_end_nothing_are_told"),
        (ENDING, "what_a_delivery_names_as_ended_has_ended_in_either_mode"),
    ),
    "delivery.ended_nameless": (
        (ENDED, "an_end_without_an_id_is_found_and_kept_apart"),
        (ENDED, "a_row_that_says_so_ends_its_feature_and_needs_no_more_than_an_id"),
    ),
    "text.unsure": (
        (TEXT, "a_text_that_does_not_tell_its_encoding_is_told_and_kept"),
        (TEXT, "text_that_is_right_as_it_stands_is_not_doubted"),
    ),
    "text.converted": (SOUND, (TEXT, "text_that_is_right_as_it_stands_is_not_doubted")),
    "reference.missing": (
        (BETWEEN, "an_id_that_the_other_layer_lacks_is_told_and_one_that_is_empty_is_not"),
        (BETWEEN, "what_a_delivery_refers_to_may_stand_in_it"),
    ),
    "code.review": (
        (ATTRIBUTES, "codes_are_held_against_the_list_of_the_datas_date"),
        (ATTRIBUTES, "codes_are_held_against_the_list_of_the_datas_date"),
    ),
    "geometry.type": (
        (GEOMETRY, "single_becomes_multi_and_the_reverse_where_it_has_one_part"),
        (GEOMETRY, "single_becomes_multi_and_the_reverse_where_it_has_one_part"),
    ),
    "geometry.unreadable": (
        (GEOMETRY, "one_broken_geometry_does_not_stop_the_others"),
        (GEOMETRY, "one_broken_geometry_does_not_stop_the_others"),
    ),
    "geometry.flattened": ((GEOMETRY, "z_and_m_go_and_curves_become_lines_with_a_count_each"), SOUND),
    "geometry.linearised": ((GEOMETRY, "curves_of_a_real_file_become_lines"), SOUND),
    "geometry.too_many_vertices": (
        (SHAPE, "a_polygon_of_ten_million_vertices_is_put_aside_unexamined"),
        (SHAPE, "a_polygon_of_ten_million_vertices_is_put_aside_unexamined"),
    ),
    "geometry.vertices_dropped": (
        (SHAPE, "a_repair_says_what_it_dropped_and_by_how_much_the_area_changed"),
        (SHAPE, "what_breaks_a_rule_of_form_is_told_and_what_keeps_it_is_not"),
    ),
    "geometry.finer": (
        (SHAPE, "decimals_below_the_promised_step_are_told_when_they_are_asked_for"),
        (SHAPE, "decimals_below_the_promised_step_are_told_when_they_are_asked_for"),
    ),
    "place.proposal": (
        (PLACE, "a_wrong_meridian_is_refused_and_the_right_one_proposed_never_applied"),
        (PLACE, "a_wrong_meridian_is_refused_and_the_right_one_proposed_never_applied"),
    ),
    "place.operation": (
        (INGEST.format("control"), "the_points_of_quang_ngai_fit_the_operation_of_old_web_maps"),
        (INGEST.format("control"), "the_points_of_quang_ngai_fit_the_operation_of_old_web_maps"),
    ),
    "place.zone": (
        (PLACE, "what_lies_beyond_the_zone_of_its_grid_is_told_with_the_metres"),
        (PLACE, "what_lies_beyond_the_zone_of_its_grid_is_told_with_the_metres"),
    ),
    "layer.absent": (
        (BETWEEN, "a_layer_that_holds_nothing_is_named_once_and_makes_no_finding_of_each_feature"),
        ("pipeline/test_between_layers.py", "buildings_across_a_boundary_are_those_that_were_planted"),
    ),
    "layer.crosses": (
        (BETWEEN, "a_house_across_a_boundary_is_told_with_what_lies_outside_its_main_plot"),
        ("pipeline/test_between_layers.py", "buildings_across_a_boundary_are_those_that_were_planted"),
    ),
    "layer.missing": (
        (BETWEEN, "a_house_without_a_paper_by_number_place_or_plot_is_told"),
        (LIMITS, "a_permit_without_a_parcel_is_told_and_one_with_a_number_or_a_place_is_not"),
    ),
    "layer.differs": (
        (BETWEEN, "a_use_is_held_against_the_plan_by_codes_and_their_groups"),
        (LIMITS, "land_used_against_the_plan_is_told_parcel_by_parcel"),
    ),
    "layer.exceeds": (
        (BETWEEN, "more_floors_than_the_zone_allows_are_told"),
        (LIMITS, "a_permit_for_more_than_the_zone_allows_is_told_indicator_by_indicator"),
    ),
    "coverage.crowded": (
        (COVERAGE, "a_thousand_copies_on_one_spot_are_told_in_part_and_counted_in_full"),
        ("pipeline/test_planted_defects.py", "every_defect_planted_into_generated_parcels_is_found_and_nothing_else"),
    ),
    "coverage.uncompared": (
        (COVERAGE, "what_could_not_be_compared_is_said"),
        ("pipeline/test_planted_defects.py", "every_defect_planted_into_generated_parcels_is_found_and_nothing_else"),
    ),
    "network.dangle": (
        (COVERAGE, "an_end_that_misses_the_main_is_told"),
        (COVERAGE, "a_ring_main_and_the_parts_of_one_line_touch_each_other"),
    ),
    "network.free_end": (
        (COVERAGE, "ends_that_touch_nothing_are_normal_unless_the_contract_says_no"),
        (COVERAGE, "ends_that_touch_nothing_are_normal_unless_the_contract_says_no"),
    ),
    "identifier.malformed": (
        (INGEST.format("law_checks"), "what_cannot_be_an_id_is_told_as_that_and_not_as_another_place"),
        (INGEST.format("law_checks"), "what_cannot_be_an_id_is_told_as_that_and_not_as_another_place"),
    ),
    **{
        f"raster.{name}": (
            (RASTER, "all_faults_of_the_header_are_told_at_once"),
            (RASTER, "the_cells_come_through_as_they_were_delivered"),
        )
        for name in ("type", "nodata", "resolution", "bands")
    },
    "raster.range": (
        (RASTER, "values_outside_the_contract_are_warned_of"),
        (RASTER, "the_cells_come_through_as_they_were_delivered"),
    ),
}  # fmt: skip
UNSPOKEN = {"place.operation"}
"""Rules that their test meets by the sentence, not by the code."""


@cache
def module(path: str) -> ast.Module:
    return ast.parse((HERE / path).read_text(encoding="utf-8"))


def defined(path: str) -> dict[str, ast.stmt]:
    """What a test file defines at its top: functions, and constants by name."""
    found: dict[str, ast.stmt] = {}
    for node in module(path).body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id: node for target in targets if isinstance(target, ast.Name)}
    return found


def said(path: str, name: str) -> str:
    """Every text in a test, and in the constants of its file that it comes to."""
    known, open_, seen = defined(path), [name], set[str]()
    texts: list[str] = []
    while open_:
        each = open_.pop()
        if each in seen or each not in known or (each != name and isinstance(known[each], ast.FunctionDef)):
            continue
        seen.add(each)
        for node in ast.walk(known[each]):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
            elif isinstance(node, ast.Name):
                open_.append(node.id)
    return "\n".join(texts)


def planted(rule: str) -> bool:
    return f'"{rule}"' in DEFECTS


def test_every_rule_is_planted_or_has_its_two_tests() -> None:
    assert {rule for rule in RULES if not planted(rule)} <= set(PAIRS) <= set(RULES)


@pytest.mark.parametrize("rule", PAIRS)
def test_the_two_tests_of_a_rule_are_there_and_the_one_that_breaks_it_speaks_of_it(rule: str) -> None:
    for path, name in PAIRS[rule]:
        test = defined(path).get(f"test_{name}")
        assert test is not None, f"{path} has no test_{name}"
        assert any(isinstance(node, ast.Assert) for node in ast.walk(test)), f"{name} asserts nothing"
    path, name = PAIRS[rule][0]
    spoken = re.search(rf"(?<![\w.]){re.escape(rule)}(?![\w.])", said(path, f"test_{name}"))
    assert spoken or rule in UNSPOKEN, f"{name} does not speak of {rule}"
