"""The columns that real files have find their attributes; what is personal finds none.

The column lists are those of the real sets (their SOURCE.md), so this holds without the files.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from sdi.contract.delivery import Request
from sdi.contract.registry import Registry
from sdi.ingest.conform import Match, match

DUY_NGHIA = (
    "id xaid shbando shthua dientich tenchusdd diachi namsinh cmnd mdsd thsd nguongoc loaidon mavach sophathanh "
    "sovaoso ngayvaoso sotocu sothuacu phathanhcu sosocu ghichu ghichu2 vi_tri giadat shape_length shape_area objectid"
)
THUAN_HOA = (
    "id thuaid xaid shbando shthua dientich dientichpl maloaidat khloaidat diadanh dtsd tenchu diachi mdsd2003 kh2003 "
    "mscolor shthuatam dtthocu"
)
PLAN = "name description _color _opacity _weight _dashArray _fillColor _fillOpacity"
COMMUNES = "code name nameEn fullName fullNameEn codeName gisServerId areaKm2 provinceCode"


def matched(registry: Registry, layer: str, columns: str, mapping: dict[str, str] | None = None) -> Match:
    return match(registry[layer], columns.split(), Request(Path("file"), mapping=mapping or {}))


def expect(found: Match, pairs: str) -> None:
    """`attribute=column` words; everything else must not have been found."""
    assert found.attributes == dict(pair.split("=") for pair in pairs.split())


def test_the_parcels_of_duy_nghia(registry: Registry) -> None:
    found = matched(registry, "cadastral_parcels", DUY_NGHIA)
    expect(
        found,
        "commune_code=xaid sheet_number=shbando parcel_number=shthua old_sheet_number=sotocu "
        "old_parcel_number=sothuacu measured_area=dientich land_use_code=mdsd origin=nguongoc address=diachi",
    )
    assert found.items == {("use_purposes", "code"): "mdsd", ("use_purposes", "term"): "thsd"}
    certificate = ["loaidon", "mavach", "sophathanh", "sovaoso", "ngayvaoso", "phathanhcu", "sosocu"]
    holder = ["tenchusdd", "namsinh", "cmnd"]
    assert set(found.personal) == {*holder, *certificate, "ghichu", "ghichu2", "vi_tri", "giadat"}


def test_the_parcels_of_thuan_hoa_whose_holder_column_holds_the_uses(registry: Registry) -> None:
    found = matched(registry, "cadastral_parcels", THUAN_HOA, {"tenchu": "use_purposes"})
    expect(
        found,
        "commune_code=xaid sheet_number=shbando parcel_number=shthua measured_area=dientich legal_area=dientichpl "
        "land_use_code=kh2003 use_purposes=tenchu address=diachi",
    )
    assert found.personal == []
    assert matched(registry, "cadastral_parcels", THUAN_HOA).personal == ["tenchu"]


def test_the_parcels_in_legacy_encodings(registry: Registry) -> None:
    found = matched(registry, "cadastral_parcels", "SHBANDO SHTHUA DIENTICH LOAIDAT DIACHI THOIHAN CHUSD GHICHU")
    expect(
        found, "sheet_number=SHBANDO parcel_number=SHTHUA measured_area=DIENTICH land_use_code=LOAIDAT address=DIACHI"
    )
    assert found.items == {("use_purposes", "code"): "LOAIDAT", ("use_purposes", "term"): "THOIHAN"}
    assert set(found.personal) == {"CHUSD", "GHICHU"}


@pytest.mark.parametrize(
    ("layer", "columns", "pairs"),
    [
        ("land_use", "fid NN Type", "object_code=fid land_use_name=Type"),
        ("planning_zones", PLAN, "name=name function=description"),
        ("land_use_plan", PLAN, "name=name land_use_name=description"),
        ("red_lines", PLAN, "name=name class_in_file=description"),
        (
            "construction_projects",
            "OBJECTID Id Shape_Leng Shape_Area Ten_du_an _color _opacity",
            "project_code=OBJECTID name=Ten_du_an project_area=Shape_Area",
        ),
        ("admin_units", "level1_id level1_name level2_id name", "code=level2_id name=name parent_code=level1_id"),
    ],
)
def test_other_real_files(registry: Registry, layer: str, columns: str, pairs: str) -> None:
    expect(matched(registry, layer, columns), pairs)


def test_the_communes_of_2025(registry: Registry) -> None:
    expect(
        matched(registry, "admin_units", COMMUNES),
        "code=code name=name full_name=fullName name_en=nameEn parent_code=provinceCode area=areaKm2",
    )


def test_the_parcels_and_buildings_of_france_and_the_parcels_of_cambridge(registry: Registry) -> None:
    expect(
        matched(registry, "cadastral_parcels", "OBJECT_RID IDU SUPF TEX CREAT_DATE"), "parcel_key=IDU legal_area=SUPF"
    )
    found = matched(registry, "cadastral_parcels", "id MAP GlobalID EditDate ML FCODE Editor LOT UYEAR Approved")
    expect(found, "parcel_key=ML sheet_number=MAP parcel_number=LOT")
    columns = "fid batiment_c batiment_g code_depar code_iris code_commu s_geom_cst hauteur altitude_s fictive_ge"
    found = matched(registry, "buildings", columns)
    expect(found, "building_code=batiment_c commune_code=code_commu height=hauteur")
