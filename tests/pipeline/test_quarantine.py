"""A bad feature on its way: held with its raw values, exported, corrected and loaded again, or waived."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pyogrio
import pytest
import shapely

from sdi import pipeline
from sdi.contract.quality import MARKS
from sdi.contract.rules import RULES
from sdi.errors import NotFound, UsageError
from sdi.national import vn2000
from sdi.pipeline import quality as quality_
from sdi.store import engine, quality, quarantine, waiver
from tests.deployment import Deployment

GRID = 5897
CORNER = (588_000.0, 2_326_000.0)
LAYER = "cadastral_parcels"
OWNER = "Nguyễn Văn Chủ"


def parcel(place: int, **said: Any) -> dict[str, Any]:
    """A parcel of 20 × 20 m; `use`, `area`, `commune`, `shape` may be told otherwise."""
    x, y = CORNER[0] + 30 * place, CORNER[1]
    plain = {"commune": "00070", "sheet": "7", "number": str(place), "use": "ODT", "area": 400.0,
             "shape": shapely.box(x, y, x + 20, y + 20), "remark": "bình thường"}  # fmt: skip
    return plain | said


BOW_TIE = shapely.from_wkt(
    f"POLYGON (({CORNER[0]} {CORNER[1] + 100}, {CORNER[0] + 20} {CORNER[1] + 120}, {CORNER[0] + 20} {CORNER[1] + 100},"
    f" {CORNER[0]} {CORNER[1] + 120}, {CORNER[0]} {CORNER[1] + 100}))"
)


def written(path: Path, *parcels: dict[str, Any]) -> Path:
    columns = {"maXa": "commune", "soTo": "sheet", "soThua": "number", "mdsd": "use", "dienTich": "area"}
    table = {name: pa.array([each[key] for each in parcels]) for name, key in columns.items()}
    table |= {"tenChu": pa.array([OWNER] * len(parcels))}
    shapes = np.array([each["shape"] for each in parcels], dtype=object)
    table["geom"] = pa.array(shapely.to_wkb(shapes), pa.binary())
    pyogrio.write_arrow(
        pa.table(table), path, layer="thua", driver="GPKG", geometry_name="geom", geometry_type="Polygon",
        crs=f"EPSG:{GRID}",
    )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def at_once(new_deployment: Callable[..., Deployment]) -> Deployment:
    return new_deployment(grid=GRID)


@pytest.fixture
def at(at_once: Deployment) -> Deployment:
    """A deployment in which nothing was ever delivered."""
    schemas = sorted({layer.theme for layer in at_once.registry})
    with engine.connect(engine.database_url(at_once.settings)) as owner:
        names = owner.execute(
            "SELECT format('%%I.%%I', schemaname, tablename) FROM pg_tables WHERE schemaname = ANY (%s)"
            " OR schemaname = 'sdi' AND tablename IN"
            " ('load', 'finding', 'quarantine', 'quality', 'waiver', 'publication')",
            [schemas],
        ).fetchall()
        owner.execute(f"TRUNCATE {', '.join(name for (name,) in names)} CASCADE".encode())
    return at_once


@pytest.fixture
def deliver(at: Deployment, tmp_path: Path) -> Callable[..., pipeline.Outcome]:
    def run(*parcels: dict[str, Any], name: str = "thua", **said: Any) -> pipeline.Outcome:
        path = tmp_path / f"{name}.gpkg"
        path.unlink(missing_ok=True)
        return at.deliver(LAYER, written(path, *parcels), **said)

    return run


def states(at: Deployment, *, ended: bool = True) -> list[tuple[str | None, str]]:
    with at.loader() as connection:
        return sorted((row.id, row.state) for row in quarantine.held(connection, LAYER, ended=ended))


def served(at: Deployment) -> set[str]:
    return {row[0] for row in at.rows(f"SELECT id FROM cadastre.{LAYER}")}


# --- states -------------------------------------------------------------------------------------------------------


def test_a_bad_feature_is_held_with_its_values_as_delivered(at: Deployment, deliver: Callable[..., Any]) -> None:
    deliver(parcel(1), parcel(2, use="XYZ", area=123.45))
    with at.loader() as connection:
        (row,) = quarantine.held(connection, LAYER)
    assert (row.id, row.state, row.rules, row.source_row) == ("00070.7.2", "open", "code.unknown", 2)
    assert (row.attributes["land_use_code"], float(row.attributes["measured_area"])) == ("XYZ", 123.45)
    assert OWNER not in json.dumps(row.attributes, ensure_ascii=False)
    assert "holder" not in row.attributes
    assert shapely.get_srid(shapely.from_wkb(row.geom)) == GRID
    assert served(at) == {"00070.7.1"}


def test_a_ring_there_and_back_is_held_where_it_lies(at: Deployment, deliver: Callable[..., Any]) -> None:
    """GEOS reads a ring of three points, and PostGIS takes none; torture_geojson_invalid has one."""
    x, y = CORNER
    line = shapely.from_wkt(f"POLYGON (({x} {y}, {x + 9} {y + 5}, {x} {y}))")  # shapely's own would have four points
    shell = f"({x} {y}, {x + 20} {y}, {x + 20} {y + 20}, {x} {y})"
    hole = f"({x + 5} {y + 1}, {x + 9} {y + 2}, {x + 5} {y + 1})"
    shapes = [
        line, shapely.from_wkt(f"POLYGON ({shell}, {hole})"), shapely.multipolygons([line, BOW_TIE]),
        shapely.geometrycollections([shapely.Point(x, y), shapely.multipolygons([line])]),
    ]  # fmt: skip
    assert shapely.get_num_coordinates(line) == 3
    done = deliver(*(parcel(place, shape=shape) for place, shape in enumerate(shapes, 5)), parcel(9))
    assert (done.report.kept, done.report.quarantined) == (2, 3)  # the hole of no area is taken away
    held = at.rows("SELECT ST_AsText(geom), ST_SRID(geom), ST_IsEmpty(geom_wgs84) FROM sdi.quarantine"
                   " ORDER BY source_row")  # fmt: skip
    assert [(srid, empty) for _, srid, empty in held] == [(GRID, False)] * 3
    met = [shapely.from_wkt(text) for text, _, _ in held]
    assert [shapely.get_type_id(shape) for shape in met] == [3, 6, 7]
    assert shapely.hausdorff_distance(met, [shapes[0], *shapes[2:]]).tolist() == [0, 0, 0]


def test_a_later_good_state_corrects_it_even_where_nothing_is_written(
    at: Deployment, deliver: Callable[..., Any]
) -> None:
    deliver(parcel(1))
    deliver(parcel(1, use="XYZ"))
    assert states(at) == [("00070.7.1", "open")]
    done = deliver(parcel(1))
    assert done.load.written == 0
    assert states(at) == [("00070.7.1", "corrected")]
    assert states(at, ended=False) == []


def test_the_line_of_a_load_tells_that_an_old_state_stays(deliver: Callable[..., Any]) -> None:
    """What is served is then more than what is new, changed or unchanged: one of it is not what was delivered."""
    deliver(parcel(1), parcel(2))
    done = deliver(parcel(1), unlike())
    assert done.sentence("vi").endswith("1 không đổi, 1 cách ly, 1 giữ bản cũ")
    assert done.sentence("en").endswith("1 unchanged, 1 in quarantine, 1 kept as they were")


def test_a_whole_delivery_that_no_longer_has_it_ends_it(at: Deployment, deliver: Callable[..., Any]) -> None:
    deliver(parcel(1), parcel(2, use="XYZ"), parcel(3, use="XYZ", commune="00073"))
    deliver(parcel(1))
    assert states(at) == [("00070.7.2", "corrected"), ("00073.7.3", "open")]


def test_a_partial_delivery_ends_nothing_that_it_lacks(at: Deployment, deliver: Callable[..., Any]) -> None:
    deliver(parcel(1), parcel(2, use="XYZ"))
    deliver(parcel(1), mode="partial")
    assert states(at) == [("00070.7.2", "open")]


def test_the_same_fault_again_stands_once(at: Deployment, deliver: Callable[..., Any]) -> None:
    first = deliver(parcel(1), parcel(2, use="XYZ"))
    again = deliver(parcel(1), parcel(2, use="UVW"))
    with at.loader() as connection:
        (row,) = quarantine.held(connection, LAYER)
        assert (row.load_id, row.attributes["land_use_code"]) == (again.load_id, "UVW")
        (old,) = quarantine.held(connection, LAYER, load_id=first.load_id)
    assert (old.state, old.ended_by) == ("repeated", again.load_id)


def test_a_feature_without_an_id_waits_until_its_commune_is_delivered_whole(
    at: Deployment, deliver: Callable[..., Any]
) -> None:
    deliver(parcel(1), parcel(2, number=None))
    assert states(at) == [(None, "open")]
    deliver(parcel(1, commune="00073"))
    assert states(at) == [(None, "open")]
    deliver(parcel(1), parcel(2))
    assert states(at) == [(None, "corrected")]


def test_a_refused_delivery_leaves_the_quarantine_and_shows_its_own_findings_until_the_next(
    at: Deployment, deliver: Callable[..., Any], tmp_path: Path
) -> None:
    deliver(parcel(1), parcel(2, use="XYZ"))
    far = parcel(1, shape=shapely.box(0, 0, 20, 20))
    assert deliver(far, name="xa").report.refused
    assert states(at) == [("00070.7.2", "open")]
    standing = "SELECT count(*) FROM sdi.finding f JOIN sdi.load USING (load_id) WHERE ended_by IS NULL AND status = %s"
    assert at.rows(standing, "refused")[0][0] > 0
    deliver(parcel(1), parcel(2))
    assert at.rows(standing, "refused") == [(0,)]


# --- round trip -----------------------------------------------------------------------------------------------------


def export(at: Deployment, path: Path, load_id: int | None = None) -> int:
    with at.loader() as connection:
        return quality_.write_quarantine(connection, at.registry[LAYER], path, load_id)


def test_broken_exported_corrected_and_loaded_again(
    at: Deployment, deliver: Callable[..., Any], tmp_path: Path
) -> None:
    done = deliver(parcel(1), parcel(2, use="XYZ"), parcel(3, shape=BOW_TIE))
    path = tmp_path / "sua.gpkg"
    assert export(at, path, done.load_id) == 2
    meta, table = pyogrio.read_arrow(path, layer=LAYER)
    assert meta["crs"] == f"EPSG:{GRID}"
    assert meta["geometry_type"] == "MultiPolygon"
    assert set(table["qa_rules"].to_pylist()) == {"code.unknown", "geometry.invalid"}
    assert all(sentence.endswith(".") for sentence in table["qa_sentence_vi"].to_pylist())
    assert {attribute.name for attribute in at.registry[LAYER].stored} <= set(table.column_names)
    shapes = shapely.from_wkb(table["wkb_geometry" if "wkb_geometry" in table.column_names else "geom"].to_numpy())
    bad = table["qa_rules"].to_pylist().index("geometry.invalid")
    assert not shapely.is_valid(shapes[bad]), "the geometry is the delivered one"

    # What the steward does in QGIS: the code and the shape are put right, the columns stay.
    shapes[bad] = shapely.MultiPolygon([parcel(3)["shape"]])
    codes = ["ODT"] * 2
    table = table.set_column(table.column_names.index("land_use_code"), "land_use_code", pa.array(codes))
    name = "wkb_geometry" if "wkb_geometry" in table.column_names else "geom"
    corrected = table.set_column(table.column_names.index(name), name, pa.array(shapely.to_wkb(shapes)))
    path.unlink()
    pyogrio.write_arrow(corrected, path, layer=LAYER, driver="GPKG", geometry_name=name, geometry_type="MultiPolygon",
                        crs=f"EPSG:{GRID}")  # fmt: skip

    again = at.deliver(LAYER, path, mode="partial")
    assert (again.load.inserted, again.report.quarantined) == (2, 0)
    assert not [finding for finding in again.report.findings if finding.rule == "file.column_unknown"]
    assert states(at) == [("00070.7.2", "corrected"), ("00070.7.3", "corrected")]
    assert served(at) == {"00070.7.1", "00070.7.2", "00070.7.3"}


def test_the_corrected_parcel_is_the_one_that_a_good_delivery_would_have_brought(
    at: Deployment, deliver: Callable[..., Any], new_deployment: Callable[..., Deployment], tmp_path: Path
) -> None:
    deliver(parcel(1, use="XYZ"))
    path = tmp_path / "sua.gpkg"
    export(at, path)
    _, table = pyogrio.read_arrow(path, layer=LAYER)
    table = table.set_column(table.column_names.index("land_use_code"), "land_use_code", pa.array(["ODT"]))
    name = next(field.name for field in table.schema if pa.types.is_binary(field.type))
    pyogrio.write_arrow(table, path, layer=LAYER, driver="GPKG", geometry_name=name, geometry_type="MultiPolygon",
                        crs=f"EPSG:{GRID}")  # fmt: skip
    at.deliver(LAYER, path, mode="partial", layer_in_file=LAYER)
    other = new_deployment(grid=GRID)
    other.deliver(LAYER, written(tmp_path / "tot.gpkg", parcel(1)))
    row = f"SELECT to_jsonb(p) - 'load_id' - 'source_row' FROM cadastre.{LAYER} p"
    assert at.rows(row) == other.rows(row)


def test_a_list_that_came_in_columns_is_corrected_with_the_attribute_whose_column_it_shares(
    at: Deployment, deliver: Callable[..., Any], new_deployment: Callable[..., Deployment], tmp_path: Path
) -> None:
    def with_terms(path: Path, *parcels: dict[str, Any]) -> Path:
        _, table = pyogrio.read_arrow(written(path, *parcels))
        table = table.append_column("thoiHanSuDung", pa.array(["50 năm", None, "Lâu dài"]))
        table = table.append_column("ngayHetHan", pa.array(["15/10/2063", None, None]))
        path.unlink()
        pyogrio.write_arrow(table, path, layer="thua", driver="GPKG", geometry_name="geom", geometry_type="Polygon",
                            crs=f"EPSG:{GRID}")  # fmt: skip
        return path

    good = [parcel(1, use="ONT(150.5);CLN(249.5)"), parcel(2, use="CLN"), parcel(3)]
    bad = [parcel(1, use="QQQ(150.5);CLN(249.5)"), parcel(2, use="QQQ"), parcel(3, area=-400.0)]
    assert at.deliver(LAYER, with_terms(tmp_path / "sai.gpkg", *bad)).report.quarantined == 3
    with at.loader() as connection:
        told = {row.id: row.attributes for row in quarantine.held(connection, LAYER)}
    assert told["00070.7.1"]["use_purposes__term"] == "50 năm"
    assert told["00070.7.2"]["use_purposes__code"] == "{land_use_code}"

    path = tmp_path / "sua.gpkg"
    export(at, path)
    _, table = pyogrio.read_arrow(path, layer=LAYER)
    for name, values in (
        ("land_use_code", [each["use"] for each in good]), ("measured_area", [str(each["area"]) for each in good]),
    ):  # fmt: skip
        table = table.set_column(table.column_names.index(name), name, pa.array(values))
    geometry = next(field.name for field in table.schema if pa.types.is_binary(field.type))
    pyogrio.write_arrow(table, path, layer=LAYER, driver="GPKG", geometry_name=geometry, geometry_type="MultiPolygon",
                        crs=f"EPSG:{GRID}")  # fmt: skip
    again = at.deliver(LAYER, path, mode="partial", layer_in_file=LAYER)
    assert (again.load.inserted, again.report.quarantined) == (3, 0)
    assert not again.report.findings.of("file.column_unknown")

    other = new_deployment(grid=GRID)
    other.deliver(LAYER, with_terms(tmp_path / "tot.gpkg", *good))
    row = f"SELECT to_jsonb(p) - 'load_id' - 'source_row' FROM cadastre.{LAYER} p ORDER BY id"
    assert at.rows(row) == other.rows(row)
    purposes = other.rows(f"SELECT use_purposes FROM cadastre.{LAYER} ORDER BY id")[0][0]
    assert purposes == [
        {"code": "ONT", "area": 150.5, "term": "50 năm", "expires_on": "2063-10-15"}, {"code": "CLN", "area": 249.5},
    ]  # fmt: skip
    assert at.deliver(LAYER, with_terms(tmp_path / "tot.gpkg", *good)).load.written == 0


def test_the_geopackage_opens_in_colours_by_rule(at: Deployment, deliver: Callable[..., Any], tmp_path: Path) -> None:
    done = deliver(parcel(1), parcel(2, use="XYZ"), parcel(3, shape=BOW_TIE))
    path = tmp_path / "sua.gpkg"
    export(at, path)
    _, styles = pyogrio.read_arrow(path, layer="layer_styles")
    (style,) = styles.to_pylist()
    assert (style["f_table_name"], style["useAsDefault"]) == (LAYER, True)
    for told in ('attr="qa_rules"', 'value="code.unknown"', 'value="geometry.invalid"', "SimpleFill", "qa_sentence_vi"):
        assert told in style["styleQML"]
    findings = tmp_path / "phathien.gpkg"
    with at.loader() as connection:
        assert quality_.write_findings_of(connection, findings, done.load_id) == len(done.report.findings)
    _, told = pyogrio.read_arrow(findings, layer="findings")
    assert told["vi"].to_pylist() == [finding.sentence("vi") for finding in done.report.findings]
    assert told["en"].to_pylist() == [finding.sentence("en") for finding in done.report.findings]
    assert "Mã loại đất" in " ".join(told["vi"].to_pylist())
    assert "land_use_code" in told["attribute"].to_pylist()
    _, styles = pyogrio.read_arrow(findings, layer="layer_styles")
    assert 'attr="severity"' in styles["styleQML"][0].as_py()


def test_features_of_two_grids_stand_in_a_layer_each(
    at: Deployment, deliver: Callable[..., Any], tmp_path: Path
) -> None:
    deliver(parcel(1, use="XYZ"))
    moved = shapely.transform(parcel(2)["shape"], lambda xy: vn2000.regrid(xy, GRID, 3405))
    path = tmp_path / "khac.gpkg"
    written(path, parcel(2, use="XYZ", shape=moved, commune="00073"))
    at.deliver(LAYER, path, crs="EPSG:3405")
    assert export(at, tmp_path / "sua.gpkg") == 2
    names = {name for name, kind in pyogrio.list_layers(tmp_path / "sua.gpkg") if kind}
    assert names == {f"{LAYER}_{GRID}", LAYER} or names == {f"{LAYER}_3405", LAYER}
    with pytest.raises(UsageError):
        export(at, tmp_path / "sua.csv")


def test_a_spreadsheet_does_not_calculate_what_a_file_said(
    at: Deployment, deliver: Callable[..., Any], tmp_path: Path
) -> None:
    deliver(parcel(1, use='=HYPERLINK("http://x","y")'))
    export(at, tmp_path / "sua.csv")
    (row,) = list(csv.DictReader((tmp_path / "sua.csv").open(encoding="utf-8-sig")))
    assert row["land_use_code"].startswith("'=")


def test_geojson_is_in_degrees(at: Deployment, deliver: Callable[..., Any], tmp_path: Path) -> None:
    deliver(parcel(1, use="XYZ"))
    export(at, tmp_path / "sua.geojson")
    (feature,) = json.loads((tmp_path / "sua.geojson").read_text(encoding="utf-8"))["features"]
    assert 105 < shapely.geometry.shape(feature["geometry"]).centroid.x < 106


def test_rings_are_shown_counterclockwise_however_they_were_delivered(
    at: Deployment, deliver: Callable[..., Any]
) -> None:
    """RFC 7946, 3.1.6; in its grid a feature stays as it came."""
    shape = parcel(2)["shape"]
    hole = shape.centroid.buffer(3)
    deliver(parcel(1), parcel(2, shape=shape.reverse()), parcel(3, shape=parcel(3)["shape"].difference(hole).reverse()))
    deliver(parcel(1), parcel(2, shape=shape.reverse()), parcel(4, shape=parcel(4)["shape"].reverse()), name="again")
    told = f"SELECT id, ST_IsPolygonCCW(geom_wgs84), ST_IsPolygonCCW(geom) FROM cadastre.{LAYER} ORDER BY id"
    assert at.rows(told) == [("00070.7.1", True, True), ("00070.7.2", True, False), ("00070.7.4", True, False)]


def test_nothing_in_quarantine_is_an_empty_file_and_no_fault(at: Deployment, tmp_path: Path) -> None:
    assert export(at, tmp_path / "sua.gpkg") == 0
    assert LAYER in pyogrio.list_layers(tmp_path / "sua.gpkg")[:, 0]


# --- waivers --------------------------------------------------------------------------------------------------------

UNLIKE = ("attribute.range", "00070.7.2")


def unlike() -> dict[str, Any]:
    """A parcel whose area is out of range, which quarantines it."""
    return parcel(2, area=-5.0)


def waive(at: Deployment, rule: str, feature: str, **said: Any) -> waiver.Waiver:
    with at.loader() as connection:
        told = {"reason": "Quyết định 12/QĐ-UBND", "steward": "binh"} | said
        return waiver.give(connection, at.registry[LAYER], rule, feature, **told)


def test_a_waived_feature_loads_with_the_next_delivery_and_the_reason_stays(
    at: Deployment, deliver: Callable[..., Any]
) -> None:
    deliver(parcel(1), unlike())
    assert states(at) == [("00070.7.2", "open")]
    waive(at, *UNLIKE)
    assert states(at) == [("00070.7.2", "waived")], "it is told at once, and loaded with the next delivery"
    assert served(at) == {"00070.7.1"}
    done = deliver(parcel(1), unlike())
    assert (done.report.quarantined, done.load.inserted) == (0, 1)
    (finding,) = done.report.findings.of("attribute.range")
    assert (finding.action, finding.waived) == ("waived", "Quyết định 12/QĐ-UBND")
    assert at.rows("SELECT action, waived FROM sdi.finding WHERE load_id = %s AND rule = 'attribute.range'",
                   done.load_id) == [("waived", "Quyết định 12/QĐ-UBND")]  # fmt: skip
    assert served(at) == {"00070.7.1", "00070.7.2"}
    assert states(at) == [("00070.7.2", "waived")]
    assert states(at, ended=False) == []


@pytest.mark.parametrize("ending", ["revoked", "expired"])
def test_a_waiver_that_has_ended_lets_nothing_pass(at: Deployment, deliver: Callable[..., Any], ending: str) -> None:
    if ending == "revoked":
        waive(at, *UNLIKE)
        with at.loader() as connection:
            waiver.revoke(connection, at.registry[LAYER], *UNLIKE, steward="an")
    else:
        waive(at, *UNLIKE, until=date.today() - timedelta(days=2))
    assert deliver(parcel(1), unlike()).report.quarantined == 1
    with at.loader() as connection:
        (given,) = waiver.every(connection, LAYER)
    assert given.state == ending


def test_a_waiver_covers_one_rule_of_one_feature(at: Deployment, deliver: Callable[..., Any]) -> None:
    waive(at, *UNLIKE)
    done = deliver(parcel(1, area=-5.0), unlike(), parcel(3, use="XYZ", area=-5.0))
    assert done.report.quarantined == 2
    assert served(at) == {"00070.7.2"}


def test_what_was_given_is_revoked_and_never_changed(at: Deployment) -> None:
    waive(at, *UNLIKE)
    waive(at, *UNLIKE, reason="Lý do mới", steward="an")
    with at.loader() as connection:
        told = [(each.reason, each.state, each.revoked_by) for each in waiver.every(connection, LAYER)]
        assert told == [("Lý do mới", "in force", None), ("Quyết định 12/QĐ-UBND", "revoked", "an")]
        assert waiver.in_force(connection, at.registry[LAYER]) == {UNLIKE: "Lý do mới"}
    for statement in (
        "UPDATE sdi.waiver SET reason = 'x'",
        "UPDATE sdi.waiver SET revoked_at = NULL, revoked_by = NULL",
        "DELETE FROM sdi.waiver",
    ):
        with pytest.raises(psycopg.errors.IntegrityConstraintViolation):
            at.rows(statement)


@pytest.mark.parametrize("rule", sorted(code for code, rule in RULES.items() if not rule.waivable))
def test_what_cannot_be_stored_or_is_of_a_whole_delivery_cannot_be_waived(at_once: Deployment, rule: str) -> None:
    with pytest.raises(UsageError):
        waive(at_once, rule, "00070.7.2")


def test_a_waiver_needs_a_rule_and_a_reason_and_revoking_needs_a_waiver(at: Deployment) -> None:
    with pytest.raises(UsageError, match="Did you mean"):
        waive(at, "attribute.rang", "x")
    with pytest.raises(UsageError, match="reason"):
        waive(at, *UNLIKE, reason="  ")
    with at.loader() as connection, pytest.raises(NotFound):
        waiver.revoke(connection, at.registry[LAYER], *UNLIKE, steward="an")


# --- how good a layer is ------------------------------------------------------------------------------------------


def rates(at: Deployment) -> dict[str, tuple[int, int, int]]:
    with at.loader() as connection:
        return {
            each.element: (each.evaluated, each.faulty, each.waived) for each in quality.measures(connection, LAYER)
        }


def test_quality_counts_features_at_fault_of_those_handed_in(at: Deployment, deliver: Callable[..., Any]) -> None:
    deliver(parcel(1), parcel(2, use="XYZ"), parcel(3, shape=BOW_TIE), parcel(4, use="XYZ", area=-5.0))
    told = rates(at)
    assert told["domain consistency"] == (4, 2, 0)
    assert told["topological consistency"][:2] == (4, 1)
    assert told["completeness commission"] == (4, 0, 0)
    assert set(told) == {rule.element for rule in RULES.values()}
    deliver(parcel(1), parcel(2), parcel(3), parcel(4))
    assert {faulty for _, faulty, _ in rates(at).values()} == {0}


def test_quality_is_that_of_the_layer_and_not_of_the_last_file(at: Deployment, deliver: Callable[..., Any]) -> None:
    deliver(parcel(1), parcel(2, use="XYZ"))
    deliver(parcel(1, commune="00073"), parcel(2, commune="00073"))
    assert rates(at)["domain consistency"] == (4, 1, 0)


def test_a_waived_fault_is_counted_apart(at: Deployment, deliver: Callable[..., Any]) -> None:
    waive(at, *UNLIKE)
    deliver(parcel(1), unlike())
    assert rates(at)["domain consistency"] == (2, 0, 1)


# --- the report of a real load ----------------------------------------------------------------------------------------


def test_the_account_of_a_load_and_of_a_check_say_the_same(
    at: Deployment, deliver: Callable[..., Any], tmp_path: Path
) -> None:
    from sdi.contract.delivery import Request

    parcels = [parcel(1), parcel(2, use="XYZ"), parcel(3, shape=BOW_TIE)]
    path = written(tmp_path / "x.gpkg", *parcels)
    request = Request(path, steward="binh")
    with at.loader() as connection:
        with pipeline.check(connection, at.settings, at.registry, LAYER, request) as checked:
            before = quality_.account_of_check(checked, at.registry[LAYER], at.settings, "binh")
        done = pipeline.deliver(connection, at.settings, at.registry, LAYER, request)
        after = quality_.account_of(connection, at.settings, at.registry, str(done.load_id))
        assert quality_.account_of(connection, at.settings, at.registry, LAYER).load_id == done.load_id
        with pytest.raises(NotFound):
            quality_.account_of(connection, at.settings, at.registry, "999999")
        quality_.write_report(tmp_path / "x.html", after, "vi")
    assert after.rules == before.rules
    assert sorted(map(str, after.findings)) == sorted(map(str, before.findings))
    assert sorted(map(str, after.marks)) == sorted(map(str, before.marks))
    assert (after.read, after.quarantined, after.good) == (before.read, before.quarantined, 1)
    assert {each.held for each in after.outlines} == {each.held for each in before.outlines} == {True, False}
    assert after.states == {"open": 2}
    text = (tmp_path / "x.html").read_text(encoding="utf-8")
    assert "00070.7.2" in text
    assert OWNER not in text


def test_the_marks_of_the_quarantine_are_columns_that_the_next_load_knows() -> None:
    assert {mark.name for mark in MARKS} == {
        "qa_state", "qa_rules", "qa_sentence_vi", "qa_sentence_en", "qa_feature", "qa_row", "qa_load", "qa_file_name",
        "qa_delivered_at",
    }  # fmt: skip
