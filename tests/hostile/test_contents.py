"""Files whose name is good and whose content is not: traps, headers that lie, sizes beyond reason."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyogrio
import pytest
import shapely

from sdi.contract.delivery import Request
from sdi.errors import SourceError
from sdi.ingest.deliver import receive
from sdi.ingest.source import Limits, read
from tests.hostile import samples
from tests.hostile.conduct import WORLD, End, hand_in, registry, together
from tests.hostile.watch import Listener, Watch

# --- contents that point elsewhere -----------------------------------------------------------------------------------

CORNERS = 10_000_000 if os.environ.get("SDI_TEST_TORTURE") == "all" else 1_200_000

VRT = '<OGRVRTDataSource><OGRVRTLayer name="secret"><SrcDataSource>{}</SrcDataSource></OGRVRTLayer></OGRVRTDataSource>'
KML = '<?xml version="1.0"?>{}<kml xmlns="http://www.opengis.net/kml/2.2"{}><Document>{}</Document></kml>'
PLACE = "<Placemark><name>{}</name><Point><coordinates>106.7,10.77</coordinates></Point></Placemark>"
GML = (
    '<?xml version="1.0"?>{}<ogr:FeatureCollection xmlns:ogr="http://ogr.maptools.org/" {} '
    'xmlns:gml="http://www.opengis.net/gml" xmlns:xlink="http://www.w3.org/1999/xlink" '
    'xmlns:xi="http://www.w3.org/2001/XInclude"><gml:featureMember><ogr:plots><ogr:name>{}</ogr:name>{}</ogr:plots>'
    "</gml:featureMember></ogr:FeatureCollection>"
)
SHAPE = "<ogr:geom><gml:Point><gml:coordinates>106.7,10.77</gml:coordinates></gml:Point></ogr:geom>"
GPX = (
    '<?xml version="1.0"?>{}<gpx version="1.1" xmlns="http://www.topografix.com/GPX/1/1"><wpt lat="10" lon="106">'
    "<name>{}</name></wpt></gpx>"
)
XSI = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="http://ogr.maptools.org/ {}"'
ENTITY = '<!DOCTYPE x [<!ENTITY secret SYSTEM "{}">]>'
REMOTE_DTD = '<!DOCTYPE x SYSTEM "{}">'


def collection(more: dict[str, Any]) -> str:
    shape = {"type": "Point", "coordinates": [106.7, 10.77]}
    return json.dumps({"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": shape}]} | more)


def traps(decoy: Path, url: str) -> dict[str, str]:
    """File name -> content that names another file or a server."""
    return {
        "vrt.gpkg": VRT.format(decoy), "vrt.geojson": VRT.format(decoy), "vrt.kml": VRT.format(decoy),
        "vrt.gml": VRT.format(decoy), "vrt.csv": VRT.format(decoy), "vrt.xml": VRT.format(f"/vsicurl/{url}/a.geojson"),
        "curl.json": f"/vsicurl/{url}/a.geojson", "url.geojson": f"{url}/a.geojson", "pg.geojson": f"PG:host={url}",
        "wfs.xml": f"<OGRWFSDataSource><URL>{url}</URL></OGRWFSDataSource>",
        "tab.tab": f'!table\n!version 300\nDefinition Table\n  Type NATIVE Charset "Neutral"\n  File "{decoy}"\n',
        "link.kml": KML.format("", "", f"<NetworkLink><Link><href>{url}/a.kml</href></Link></NetworkLink>"
                               + PLACE.format("a")),
        "schema.kml": KML.format("", "", f'<Schema name="a" id="a"/><Placemark><ExtendedData><SchemaData schemaUrl='
                                 f'"{url}/a.kml#a"/></ExtendedData><Point><coordinates>1,2</coordinates></Point></Placemark>'),
        "entity.kml": KML.format(ENTITY.format(decoy.as_uri()), "", PLACE.format("&secret;")),
        "remote.kml": KML.format(ENTITY.format(f"{url}/a"), "", PLACE.format("&secret;")),
        "dtd.kml": KML.format(REMOTE_DTD.format(f"{url}/a.dtd"), "", PLACE.format("a")),
        "entity.gml": GML.format(ENTITY.format(decoy.as_uri()), "", "&secret;", SHAPE),
        "dtd.gml": GML.format(REMOTE_DTD.format(f"{url}/a.dtd"), "", "a", SHAPE),
        "schema.gml": GML.format("", XSI.format(f"{url}/a.xsd"), "a", SHAPE),
        "local.gml": GML.format("", XSI.format(decoy), "a", SHAPE),
        "include.gml": GML.format("", "", f'<xi:include href="{decoy.as_uri()}" parse="text"/>', SHAPE),
        "xlink.gml": GML.format("", "", "a", f'<ogr:geom xlink:href="{url}/a.gml#b"/>' + SHAPE),
        "entity.gpx": GPX.format(ENTITY.format(decoy.as_uri()), "&secret;"),
        "crs.geojson": collection({"crs": {"type": "link", "properties": {"href": f"{url}/a", "type": "proj4"}}}),
        "next.geojson": collection({"links": [{"rel": "next", "href": f"{url}/b"}]}),
        "esri.json": json.dumps({
            "geometryType": "esriGeometryPoint", "spatialReference": {"wkid": 4326}, "exceededTransferLimit": True,
            "url": url, "fields": [], "features": [{"attributes": {}, "geometry": {"x": 106.7, "y": 10.7}}],
        }),
    }  # fmt: skip


def database(path: Path, url: str, decoy: Path) -> Path:
    """A GeoPackage whose layer is a view that asks for what is elsewhere, with triggers that would write."""
    samples.write(path.parent, "gpkg").rename(path)
    asked = (
        f"gdal_get_pixel_value('/vsicurl/{url}/a.tif', 1, 'pixel', 0, 0)", f"ogr_geocode('a', 'geometry', '{url}')",
        f"readfile('{decoy}')", f"load_extension('{decoy}')",
    )  # fmt: skip
    with sqlite3.connect(path) as base:
        base.execute("DROP TABLE gpkg_ogr_contents")
        for number, call in enumerate(asked):
            base.execute(f"CREATE VIEW v{number} AS SELECT fid, geom, {call} AS name FROM plots")
            base.execute(
                "INSERT INTO gpkg_contents (table_name, data_type, identifier, srs_id) "
                f"SELECT 'v{number}', data_type, 'v{number}', srs_id FROM gpkg_contents WHERE table_name = 'plots'"
            )
            base.execute(
                "INSERT INTO gpkg_geometry_columns SELECT "
                f"'v{number}', column_name, geometry_type_name, srs_id, z, m FROM gpkg_geometry_columns LIMIT 1"
            )
        base.execute(
            "CREATE TRIGGER boom AFTER INSERT ON plots BEGIN "
            f"SELECT load_extension('{decoy}'); DELETE FROM gpkg_contents; END"
        )
    base.close()
    return path


def test_no_content_makes_the_reader_ask_a_server_or_open_another_file(tmp_path: Path) -> None:
    decoy = tmp_path / "outside" / "secret.csv"
    decoy.parent.mkdir()
    decoy.write_text("name,wkt\npassword,POINT (1 2)\n", encoding="utf-8")
    with Listener() as listener:
        url = f"http://127.0.0.1:{listener.port}"
        paths = []
        for number, (name, content) in enumerate(traps(decoy, url).items()):
            paths.append(tmp_path / f"{number}" / name)
            paths[-1].parent.mkdir()
            paths[-1].write_text(content, encoding="utf-8")
        (tmp_path / "db").mkdir()
        paths.append(database(tmp_path / "db" / "view.gpkg", url, decoy))
        with Watch(decoy, decoy.parent) as watch:
            ends = [end for ends in together(paths, crs="EPSG:9210") for end in ends]
    assert not watch.touched
    assert listener.knocks == 0
    assert {end.kind for end in ends} >= {"report", "sentence"}
    assert not any("password" in str(end.sentence) for end in ends)


def test_the_watch_and_the_port_notice_whoever_looks(tmp_path: Path) -> None:
    import urllib.request

    decoy = tmp_path / "secret.csv"
    decoy.write_text("a", encoding="utf-8")
    with Listener() as listener, Watch(decoy) as watch:
        decoy.read_text(encoding="utf-8")
        with pytest.raises(OSError, match=r".*"):
            urllib.request.urlopen(f"http://127.0.0.1:{listener.port}", timeout=5)
    assert watch.touched
    assert listener.knocks == 1


def test_the_reading_process_can_open_its_own_file_and_no_other(tmp_path: Path) -> None:
    """Where the kernel has Landlock; without it the drivers' allow-list alone holds."""
    import subprocess
    import sys

    from sdi.ingest.source import _environment

    (tmp_path / "mine").mkdir()
    for path in (tmp_path / "mine" / "a", tmp_path / "other"):
        path.write_text("x", encoding="utf-8")
    paths = [str(tmp_path / "mine" / "a"), str(tmp_path / "other"), "/etc/passwd", "/proc/self/environ"]
    script = (
        "import sys\nfrom sdi.ingest import confinement\n"
        f"if not confinement.leave_files([{str(tmp_path / 'mine')!r}]): print('old kernel'); sys.exit()\n"
        f"for path in {paths!r}:\n"
        "    try: open(path).read(); print('open')\n"
        "    except PermissionError: print('closed')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=_environment(str(tmp_path)), capture_output=True, text=True, check=True
    )
    if done.stdout.strip() == "old kernel":
        pytest.skip("this kernel has no Landlock")
    assert done.stdout.split() == ["open", "closed", "closed", "closed"]


def test_an_entity_bomb_ends_as_a_sentence_whatever_the_format(tmp_path: Path) -> None:
    entities = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))
    bomb = f'<!DOCTYPE x [<!ENTITY l0 "lol">{entities}]>'
    contents = {
        "a.kml": KML.format(bomb, "", PLACE.format("&l9;")), "a.gml": GML.format(bomb, "", "&l9;", SHAPE),
        "a.gpx": GPX.format(bomb, "&l9;"),
    }  # fmt: skip
    for name, content in contents.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    sheet = samples.write(tmp_path, "xlsx", 1)
    with zipfile.ZipFile(sheet) as old, zipfile.ZipFile(tmp_path / "a.xlsx", "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.namelist():
            text = old.read(entry)
            if entry.endswith("sharedStrings.xml"):
                text = text.replace(b"<sst", bomb.encode() + b"<sst").replace("Thửa".encode(), b"&l9;")
            new.writestr(entry, text)
    for ends in together([tmp_path / name for name in (*contents, "a.xlsx")], memory=1 << 30):
        assert all(len(str(end.sentence)) < 500 for end in ends)


# --- headers that lie ------------------------------------------------------------------------------------------------


def test_a_dbf_of_another_export_is_not_laid_beside_the_shapes(tmp_path: Path) -> None:
    path = samples.write(tmp_path, "shp")
    table = path.with_suffix(".dbf")
    raw = bytearray(table.read_bytes())
    struct.pack_into("<I", raw, 4, samples.COUNT - 2)
    table.write_bytes(raw)
    with pytest.raises(SourceError, match="has 40 shapes and its"):
        read(Request(path=path))


@pytest.mark.parametrize("length", [0, 1, 65535])
def test_a_dbf_whose_header_lies_about_its_fields_ends_as_a_sentence_or_refused(tmp_path: Path, length: int) -> None:
    path = samples.write(tmp_path, "shp")
    table = path.with_suffix(".dbf")
    for offset in (8, 10):  # length of the header, of a record
        raw = bytearray(table.read_bytes())
        struct.pack_into("<H", raw, offset, length)
        (tmp_path / "lie").mkdir(exist_ok=True)
        for part in path.parent.glob("plots.*"):
            (tmp_path / "lie" / part.name).write_bytes(part.read_bytes())
        (tmp_path / "lie" / "plots.dbf").write_bytes(raw)
        assert all(end.kind != "report" for end in hand_in(tmp_path / "lie" / "plots.shp"))


def edit(path: Path, statement: str) -> None:
    """Change a GeoPackage behind its triggers, whose functions SQLite alone lacks."""
    with sqlite3.connect(path) as base:
        for (name,) in base.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            base.execute(f'DROP TRIGGER "{name}"')
        base.execute(statement)
    base.close()


def test_a_geopackage_that_lies_about_its_count_is_read_whole(tmp_path: Path) -> None:
    path = samples.write(tmp_path, "gpkg")
    edit(path, "UPDATE gpkg_ogr_contents SET feature_count = 3")
    assert read(Request(path=path)).facts.feature_count == samples.COUNT


def test_a_geopackage_whose_tables_lie_ends_as_a_report_or_a_sentence(tmp_path: Path) -> None:
    lies = [
        "UPDATE gpkg_geometry_columns SET geometry_type_name = 'POINT'",
        "UPDATE gpkg_geometry_columns SET column_name = 'name'",
        "UPDATE gpkg_geometry_columns SET srs_id = 424242",
        "UPDATE gpkg_contents SET table_name = 'nowhere'",
        "UPDATE gpkg_spatial_ref_sys SET definition = 'PROJCS[' || hex(zeroblob(100000))",
        "UPDATE plots SET geom = x'4750'",
        "UPDATE plots SET geom = zeroblob(100)",
        "DELETE FROM gpkg_contents",
        "PRAGMA application_id = 0",
        "PRAGMA user_version = 2000000000",
    ]
    paths = []
    for number, lie in enumerate(lies):
        (tmp_path / str(number)).mkdir()
        paths.append(samples.write(tmp_path / str(number), "gpkg"))
        edit(paths[-1], lie)
    for lie, ends in zip(lies, together(paths, crs="EPSG:9210"), strict=True):
        for end in ends:
            assert end.report is None or end.report.read == samples.COUNT, lie


# --- sizes beyond reason ---------------------------------------------------------------------------------------------


def test_a_polygon_of_millions_of_corners_is_read_and_held_back(tmp_path: Path) -> None:
    angle = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    ring = np.column_stack([603_000 + 500 * np.cos(angle), 1_191_000 + 500 * np.sin(angle)])
    path = tmp_path / "plots.gpkg"
    pyogrio.raw.write(
        path, geometry=shapely.to_wkb([shapely.Polygon(ring)]), field_data=[], fields=[], crs="EPSG:9210",
        driver="GPKG", geometry_type="Polygon",
    )  # fmt: skip
    (end,) = hand_in(path, seconds=120, memory=4 << 30, crs="EPSG:9210")
    assert end.report is not None
    assert (end.report.read, end.report.quarantined) == (1, 1)
    assert end.report.by_rule()["geometry.too_many_vertices"] == 1


def test_five_thousand_columns_are_read_and_told(tmp_path: Path) -> None:
    path = tmp_path / "plots.csv"
    names = [f"c{number}" for number in range(5000)]
    path.write_text(",".join([*names, "wkt"]) + "\n" + ",".join(["1"] * 5000 + ["POINT (603000 1191000)"]) + "\n")
    (end,) = hand_in(path, seconds=60, crs="EPSG:9210")
    assert end.report is not None
    assert end.report.by_rule()["file.column_unknown"] == 5000


def test_a_text_of_two_million_letters_stays_one_value(tmp_path: Path) -> None:
    path = tmp_path / "plots.geojson"
    properties = '{"name":"' + "ạ" * 2_000_000 + '"}'
    path.write_text(
        f'{{"type":"Feature","properties":{properties},"geometry":{{"type":"Point","coordinates":[106.7,10.7]}}}}'
    )
    (end,) = hand_in(path, seconds=60, memory=2 << 30, crs="EPSG:4326")
    assert end.report is not None
    assert end.report.kept + end.report.quarantined == 1


def test_json_a_hundred_thousand_levels_deep_ends_as_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "plots.geojson"
    path.write_text('{"type":"FeatureCollection","features":' + "[" * 100_000 + "]" * 100_000 + "}")
    assert [end.kind for end in hand_in(path)] == ["sentence"]


def test_what_needs_more_memory_than_is_allowed_says_so(tmp_path: Path) -> None:
    path = tmp_path / "plots.geojson"
    path.write_text(
        collection({}).replace('"features"', f'"name": "{"x" * 150_000_000}", "features"'), encoding="utf-8"
    )
    with pytest.raises(SourceError, match="more memory than is allowed"):
        read(Request(path=path), Limits(timeout=60, memory=450 << 20))


def test_what_takes_longer_than_is_allowed_says_so(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"took longer than 0.01 s"):
        read(Request(path=samples.write(tmp_path, "geojson")), Limits(timeout=0.01))


# --- letters that are none -------------------------------------------------------------------------------------------


def geojson_with_nul(folder: Path) -> Path:
    path = folder / "nul.geojson"
    path.write_text(
        '{"type":"Feature","properties":{"name":"a\\u0000b\\u001b[2J","na\\u0000me2":"c"},'
        '"geometry":{"type":"Point","coordinates":[106.7,10.7]}}'
    )
    return path


def geopackage_with_nul(folder: Path) -> Path:
    path = samples.write(folder, "gpkg", 3)
    edit(path, "UPDATE plots SET name = 'a' || char(0) || 'b' || char(27) || '[2J'")
    return path


def dbf_with_nul(folder: Path) -> Path:
    path = samples.write(folder, "shp", 3)
    table = path.with_suffix(".dbf")
    table.write_bytes(table.read_bytes().replace(b"t s", b"\x00\x1bs"))
    return path


def csv_with_nul(folder: Path) -> Path:
    path = folder / "nul.csv"
    path.write_bytes(b"na\x00me,x,y\na\x00b\x1b[2J,603000,1191000\n\xff\xfe,603000,1191000\n")
    return path


@pytest.mark.parametrize("make", [geojson_with_nul, geopackage_with_nul, dbf_with_nul, csv_with_nul])
def test_no_text_that_is_kept_holds_what_a_database_or_a_terminal_cannot_take(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    known = registry()
    for layer in known:
        with receive(Request(path=make(tmp_path), crs="EPSG:9210"), layer, known, grid=9210, extent=WORLD) as received:
            tables = [received.features().read_all(), received.quarantined().read_all()]
            texts = [value for table in tables for name in table.column_names for value in table[name].to_pylist()]
            texts += [finding.sentence("vi") for finding in received.report.findings]
    assert texts
    for text in texts:
        if isinstance(text, str):
            assert "\x00" not in text
            assert "\x1b" not in text
            assert "\\u0000" not in text


def test_a_workbook_with_formulas_gives_what_they_came_to(tmp_path: Path) -> None:
    pyogrio.write_arrow(
        pa.table({"name": ["kết quả"], "x": [603000], "y": [1191000]}), tmp_path / "plain.xlsx", driver="XLSX"
    )
    formula = b'<c r="A2" t="str"><f>HYPERLINK("http://127.0.0.1/","a")</f><v>a</v></c>'
    with zipfile.ZipFile(tmp_path / "plain.xlsx") as plain, zipfile.ZipFile(tmp_path / "plots.xlsx", "w") as out:
        for part in plain.namelist():
            content = plain.read(part)
            if part == "xl/worksheets/sheet1.xml":
                content, changed = re.subn(rb'(?s)<c r="A2"[^>]*>.*?</c>', formula, content)
                assert changed == 1
            out.writestr(part, content)
    ends: list[End] = hand_in(tmp_path / "plots.xlsx")
    assert [end.report and end.report.read for end in ends] == [1]


def test_what_the_reading_process_keeps_is_told_by_the_doctor(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the kernel of these tests has it; then as one that refuses has it."""
    import subprocess
    import sys

    from sdi import diagnosis
    from sdi.ingest import confinement

    script = "from sdi.ingest import confinement as c; print(c.leave_network())"
    here = {"PYTHONPATH": str(confinement.PACKAGE_ROOT), "PATH": os.defpath}
    done = subprocess.run([sys.executable, "-c", script], env=here, capture_output=True, text=True, check=True)
    kept = confinement.kept()
    assert ("network" in kept) == (done.stdout.strip() == "False")
    assert diagnosis.reading(kept).state == ("warning" if kept else "ok")
    told = diagnosis.reading(("network",))
    assert (told.state, told.finding) == ("warning", "the kernel does not take from it: network")
    monkeypatch.setattr(sys, "executable", "/bin/false")  # a process that ends badly has given up nothing
    assert confinement.kept() == ("network", "files")
