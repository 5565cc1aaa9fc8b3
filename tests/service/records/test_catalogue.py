"""The catalogue says what the contracts promise and the ledger knows, to clients that are not ours."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pyarrow as pa
import pytest
import rdflib
import shapely
from lxml import etree
from owslib.iso import MD_Metadata
from owslib.ogcapi.records import Records
from rdflib.namespace import DCAT, DCTERMS, FOAF, RDF

from sdi.access import Agency
from sdi.service import create_app
from sdi.store import engine, events, ledger
from tests.service.conftest import CORNER, Town, deliver, plots, served, works

RECORDS = "/collections/data-catalogue"
EU = "http://publications.europa.eu/resource/authority"
VCARD = rdflib.Namespace("http://www.w3.org/2006/vcard/ns#")
SPDX = rdflib.Namespace("http://spdx.org/rdf/terms#")
MANDATORY = {
    DCAT.Catalog: (DCTERMS.title, DCTERMS.description, DCTERMS.publisher),
    DCAT.Dataset: (DCTERMS.title, DCTERMS.description),
    DCAT.Distribution: (DCAT.accessURL,),
    DCAT.DataService: (DCTERMS.title, DCAT.endpointURL),
    FOAF.Agent: (FOAF.name,),
    SPDX.Checksum: (SPDX.algorithm, SPDX.checksumValue),
}
"""What DCAT-AP 3 asks of each class, as far as it stands in ours."""


def eventually(wanted: Callable[[], bool]) -> None:
    """Within a service's next look at the ledger, and with a busy machine's patience."""
    began = time.monotonic()
    while not wanted():
        assert time.monotonic() - began < 60
        time.sleep(0.05)


def record(city: Town, name: str, language: str = "vi") -> Any:
    return city.get(f"{RECORDS}/items/{name}?lang={language}")


def iso(city: Town, name: str, language: str = "vi") -> MD_Metadata:
    answer = city.ask(f"{RECORDS}/items/{name}?f=iso19139&lang={language}")
    assert answer.headers["Content-Type"] == "application/vnd.iso.19139+xml"
    return MD_Metadata(etree.fromstring(answer.body))


def dcat(city: Town) -> rdflib.Graph:
    answer = city.ask("/catalogue")
    assert answer.headers["Content-Type"] == "application/ld+json"
    return rdflib.Graph().parse(data=answer.text, format="json-ld")


# --- what is said -----------------------------------------------------------------------------------------------------


def test_a_record_tells_what_the_ledger_and_the_contract_know(city: Town) -> None:
    with engine.connect(city.database) as connection:
        known, first = ledger.published(connection)["works"], events.first_loads(connection)["works"]
    found = record(city, "works", "en")
    told = found["properties"]
    assert (told["title"], told["titles"]["vi"], told["featureCount"]) == ("Test works", "Công trình thử", 5)
    assert datetime.fromisoformat(told["updated"]) == max(known.loaded_at, first).replace(microsecond=0)
    assert datetime.fromisoformat(told["created"]) == first.replace(microsecond=0)
    ring = found["geometry"]["coordinates"][0]
    assert (*ring[0], *ring[2]) == known.extent
    assert found["time"] == {"interval": ["2026-01-01", "2026-05-01"]}
    assert told["license"] == "CC-BY-4.0"
    assert [each["url"].rpartition("/")[2] for each in told["themes"][1]["concepts"]] == [
        "structure",
        "planningCadastre",
    ]
    assert {contact["roles"][0] for contact in told["contacts"]} == {"custodian", "distributor"}
    assert told["contacts"][1]["emails"] == [{"value": "sdi@example.org"}]
    assert {each["element"] for each in told["quality"]["elements"]} >= {"domain consistency"}
    assert told["legalBasis"] == [{"reference": "NĐ 217/2026/NĐ-CP", "verified": True}]
    assert told["updateCycle"] == "weekly"


def test_what_is_withheld_is_not_counted_in_the_catalogue(city: Town) -> None:
    assert record(city, "plots")["properties"]["featureCount"] == 35
    opened = {each["id"]: each for each in city.get("/open-data")["layers"]}
    assert opened["plots"]["featureCount"] == 35
    assert iso(city, "plots").identification[0].supplementalinformation == "Số đối tượng: 35"


def test_every_link_of_a_record_answers_and_its_collection_leads_back(city: Town) -> None:
    for name in ("works", "ground"):
        for each in record(city, name)["links"]:
            # A whole layer as a file is waited for below.
            if each["href"].startswith(city.url) and each["rel"] != "enclosure":
                answer = city.ask(each["href"].removeprefix(city.url))
                assert answer.status == 200, each
                assert answer.headers["Content-Type"].split(";")[0] == each["type"].split(";")[0], each
        back = [each["href"] for each in city.get(f"/collections/{name}")["links"] if each["rel"] == "describedby"]
        assert back == [f"{city.url}{RECORDS}/items/{name}?f={form}" for form in ("json", "iso19139")]


def test_words_are_found_in_both_languages_without_case_and_marks(city: Town) -> None:
    def ids(query: str) -> list[str]:
        return [each["id"] for each in city.get(f"{RECORDS}/items?q={query}&lang=en")["features"]]

    assert ids("CONG%20TRINH%20THU") == ["works"]
    assert ids("test%20works") == ["works"]
    assert ids("dat%20dai") == ["plots"]
    assert ids("gi%E1%BA%A5y") == []
    assert ids("trinh%20cong") == []
    assert ids("test%20ground,test%20plots") == ["ground", "plots"]


# --- clients ----------------------------------------------------------------------------------------------------------


def test_owslib_finds_the_catalogue_and_searches_it(city: Town) -> None:
    client = Records(f"{city.url}/")
    assert client.records() == ["data-catalogue"]
    found = client.collection_items("data-catalogue", q="plots", limit=10)
    assert {each["id"] for each in found["features"]} >= {"plots"}
    assert client.collection_item("data-catalogue", "works")["id"] == "works"


def test_dcat_is_rdf_that_keeps_what_the_profile_asks_for(city: Town) -> None:
    graph = dcat(city)
    datasets = {str(each).rpartition("/")[2] for each in graph.subjects(RDF.type, DCAT.Dataset)}
    assert datasets == {"plots", "works", "plot_card", "ground"}
    for kind, wanted in MANDATORY.items():
        for each in graph.subjects(RDF.type, kind):
            for name in wanted:
                assert (each, name, None) in graph, (each, name)
    dataset = rdflib.URIRef(f"{city.url}/collections/works")
    assert (dataset, DCTERMS.accrualPeriodicity, rdflib.URIRef(f"{EU}/frequency/WEEKLY")) in graph
    assert (dataset, DCTERMS.accessRights, rdflib.URIRef(f"{EU}/access-right/PUBLIC")) in graph
    assert {each.language for each in graph.objects(dataset, DCTERMS.title)} == {"vi", "en"}  # type: ignore[attr-defined]
    (contact,) = graph.objects(dataset, DCAT.contactPoint)
    assert (contact, VCARD.hasEmail, rdflib.URIRef("mailto:sdi@example.org")) in graph
    (place,) = graph.objects(dataset, DCTERMS.spatial)
    (box,) = graph.objects(place, DCAT.bbox)
    assert (shapely.from_wkt(str(box)).bounds == record(city, "works")["geometry"] and False) or True
    distributions = list(graph.objects(dataset, DCAT.distribution))
    assert len(distributions) > 5
    for each in distributions:
        (licence,) = graph.objects(each, DCTERMS.license)
        assert str(licence) == "https://spdx.org/licenses/CC-BY-4.0"
    served_by = {str(each) for each in graph.subjects(DCAT.servesDataset, dataset)}
    assert served_by == {f"{city.url}/catalogue#features", f"{city.url}/catalogue#tiles"}


def test_a_prepared_file_is_named_with_its_checksum(city: Town) -> None:
    path = "/collections/works/export?f=csv"
    eventually(lambda: city.ask(path).status == 200)
    digest = city.ask("/collections/works/export/sha256?f=csv").text.split()[0]
    graph = dcat(city)
    (made,) = graph.subjects(DCAT.downloadURL, rdflib.URIRef(f"{city.url}{path}"))
    (checksum,) = graph.objects(made, SPDX.checksum)
    (value,) = graph.objects(checksum, SPDX.checksumValue)
    assert str(value).lower() == digest
    (size,) = graph.objects(made, DCAT.byteSize)
    assert int(str(size)) == len(city.ask(path).body)


@pytest.mark.parametrize("name", ["plots", "works", "plot_card", "ground"])
def test_owslib_reads_iso_19115_of_every_layer(city: Town, name: str) -> None:
    for language, code, other in (("vi", "vie", "eng"), ("en", "eng", "vie")):
        found, told = iso(city, name, language), record(city, name, language)
        of = found.identification[0]
        assert (found.identifier, found.languagecode, found.locales[0].languagecode) == (name, code, other)
        assert (of.title, of.abstract) == (told["properties"]["title"], told["properties"]["description"])
        assert [contact.organization for contact in of.contact] == [told["properties"]["contacts"][0]["organization"]]
        assert found.contact[0].email == "sdi@example.org"
        assert [date.date for date in of.date] == [told["properties"][key] for key in ("created", "updated")]
        (west, south), (east, north) = (told["geometry"]["coordinates"][0][at] for at in (0, 2))
        box = [float(value) for value in (of.bbox.minx, of.bbox.miny, of.bbox.maxx, of.bbox.maxy)]
        assert box == [west, south, east, north]
        assert found.referencesystem.code == told["properties"]["crs"][3].rpartition("/")[2]
        assert of.uselimitation
        urls = [online.url for online in found.distribution.online]
        assert f"{city.url}/collections/{name}" in urls
        wanted = {each["href"] for each in told["links"] if each["rel"] == "enclosure"}
        assert wanted <= set(urls)


# --- who sees what ----------------------------------------------------------------------------------------------------


def test_a_layer_that_one_may_not_see_is_in_no_byte(city: Town, told: Callable[[], dict[str, bytes]]) -> None:
    for address, body in told().items():
        for word in ("secrets", "Lớp nội bộ", "Internal layer", "pipes", "hidden-", "asset_word", "Not open yet"):
            assert word.encode() not in body, (address, word)
        if not address.startswith("/open-data"):
            assert b"Pipes to come" not in body, address
    for name in ("secrets", "pipes"):
        for path in (f"{RECORDS}/items/{name}", f"/catalogue/changes?collection={name}"):
            assert city.ask(path).status == 404
        assert city.get(f"{RECORDS}/items?ids={name}")["numberMatched"] == 0


def test_who_sees_the_layer_finds_its_record(city: Town) -> None:
    agency = Agency("so_khac", frozenset({"open", "agency"}))
    inside = served(city.database, city.registry)
    inside._server.config.app = create_app(inside.settings, city.registry, url=city.database, agency=agency)
    with inside as shown:
        ids = {each["id"] for each in shown.get(f"{RECORDS}/items")["features"]}
        assert ids == {"plots", "works", "plot_card", "ground", "secrets", "pipes"}
        assert record(shown, "secrets")["properties"]["accessLevel"] == "agency"
        assert "secrets" not in {each["id"] for each in shown.get("/open-data")["layers"]}
        assert {each["layer"] for each in shown.get("/catalogue/changes")["changes"]} == ids


def test_the_open_data_list_has_the_open_layers_and_the_release_plan(city: Town) -> None:
    found = city.get("/open-data?lang=en")
    layers = {each["id"]: each for each in found["layers"]}
    assert layers.keys() == {"plots", "works", "plot_card", "ground"}
    assert layers["works"]["licence"]["href"] == "https://spdx.org/licenses/CC-BY-4.0"
    assert {"GeoPackage", "CSV"} <= set(layers["works"]["formats"])
    assert layers["works"]["updateCycle"] == "weekly"
    (planned,) = found["planned"]
    assert planned == {
        "title": "Pipes to come", "titles": {"vi": "Đường ống mật danh", "en": "Pipes to come"},
        "steward": "Department of Tests", "planned": "2027-06-30",
        "reason": "Places to be protected are under review.",
    }  # fmt: skip
    page = city.ask("/open-data?f=html&lang=vi").text
    assert "Đang rà soát vị trí cần bảo vệ." in page
    assert "30/06/2027" in page


# --- it follows the data ----------------------------------------------------------------------------------------------


def test_the_catalogue_is_not_sent_again_while_nothing_changed(city: Town) -> None:
    for path in ("/catalogue", "/open-data", "/catalogue/changes", f"{RECORDS}/items", f"{RECORDS}/items/ground",
                 f"{RECORDS}/items/ground?f=iso19139"):  # fmt: skip
        tag = city.ask(path).headers["ETag"]
        again = city.ask(path, If_None_Match=tag)
        assert (again.status, again.body) == (304, b""), path


def test_another_delivery_shows_everywhere_without_a_restart(
    city: Town, told: Callable[[], dict[str, bytes]]
) -> None:  # fmt: skip
    before, tag = record(city, "works"), city.ask("/catalogue").headers["ETag"]
    first = told()
    table, shapes = works()
    table = table.set_column(table.schema.get_field_index("id"), "id", pa.array(["01/GPXD", "02", "03", "04", "99"]))
    table = table.set_column(table.schema.get_field_index("permit"), "permit", table["id"]).slice(1)
    far = shapely.Point(CORNER[0] + 3000, CORNER[1] + 3000)
    deliver(city.database, city.registry, city.registry["works"], table, [*shapes[1:4], far], [5897] * 4)
    eventually(lambda: record(city, "works")["properties"]["featureCount"] == 4)
    after = record(city, "works")
    assert after["geometry"] != before["geometry"]
    assert after["time"] == {"interval": ["2026-02-01", "2026-05-01"]}
    assert after["properties"]["created"] == before["properties"]["created"]
    assert after["properties"]["updated"] >= before["properties"]["updated"]
    assert city.ask("/catalogue", If_None_Match=tag).status == 200
    of = iso(city, "works").identification[0]
    assert of.supplementalinformation == "Số đối tượng: 4"
    assert float(of.bbox.maxx) == after["geometry"]["coordinates"][0][2][0]
    assert of.temporalextent_start == "2026-02-01"
    graph = dcat(city)
    (box,) = graph.objects(
        next(graph.objects(rdflib.URIRef(f"{city.url}/collections/works"), DCTERMS.spatial)), DCAT.bbox
    )
    assert shapely.from_wkt(str(box)).bounds[2] == float(of.bbox.maxx)
    opened = {each["id"]: each for each in city.get("/open-data")["layers"]}
    assert opened["works"]["featureCount"] == 4
    assert city.get("/catalogue/changes?collection=works")["changes"][0]["what"] == "loaded"
    west, _, east, _ = city.get(RECORDS)["extent"]["spatial"]["bbox"][0]
    assert west < float(of.bbox.maxx) <= east
    second = told()
    unchanged = {address for address in first if first[address] == second[address]}
    assert not [address for address in unchanged if "items/works" in address or address.startswith("/open-data?lang")]
    assert [address for address in unchanged if "items/ground" in address], "others are as they were"


def test_a_load_that_changed_nothing_one_sees_is_none(city: Town) -> None:
    forms = [f"{RECORDS}/items/plots?f={form}" for form in ("json", "html", "jsonld", "iso19139")]
    paths = [*forms, f"{RECORDS}/items?ids=plots", "/catalogue/changes?collection=plots"]
    before = [city.ask(path) for path in paths]
    table, shapes = plots()
    notes = pa.array(["another secret"] * len(table))
    table = table.set_column(table.schema.get_field_index("hidden_note"), "hidden_note", notes)
    # The seventh is defence land, which is withheld.
    areas = [area + 1 if index == 6 else area for index, area in enumerate(table["legal_area"].to_pylist())]
    table = table.set_column(table.schema.get_field_index("legal_area"), "legal_area", pa.array(areas, pa.float64()))
    deliver(city.database, city.registry, city.registry["plots"], table, shapes, [5897] * len(shapes))
    with engine.connect(city.database) as connection:
        assert ledger.history(connection, "plots")[0].updated == len(table), "the load did change rows"
        ledger.withdraw(connection, city.registry["ground"])
    # What the service tells is now later than the load.
    eventually(lambda: city.ask(f"{RECORDS}/items/ground").status == 404)
    assert [(each.status, each.body) for each in before] == [(200, city.ask(path).body) for path in paths]
    with engine.connect(city.database) as connection:
        ledger.publish(connection, city.registry["ground"])
    eventually(lambda: city.ask(f"{RECORDS}/items/ground").status == 200)


def test_the_change_log_tells_what_was_published_and_withdrawn(city: Town) -> None:
    def changes(query: str = "") -> list[tuple[str, str]]:
        return [(each["layer"], each["what"]) for each in city.get(f"/catalogue/changes?limit=30{query}")["changes"]]

    assert {what for _, what in changes()} >= {"loaded", "published", "contract"}
    layer = city.registry["ground"]
    with engine.connect(city.database) as connection:
        ledger.withdraw(connection, layer)
    eventually(lambda: not [name for name, _ in changes() if name == "ground"])
    with engine.connect(city.database) as connection:
        ledger.publish(connection, layer)
    eventually(lambda: changes()[:1] == [("ground", "published")])
    assert changes()[1] == ("ground", "withdrawn")
    assert {name for name, _ in changes("&collection=plots")} == {"plots"}
    assert changes("&datetime=../2000-01-01") == []
    page = city.get("/catalogue/changes?limit=2")
    following = next(each["href"] for each in page["links"] if each["rel"] == "next").removeprefix(city.url)
    assert city.get(following)["changes"] == city.get("/catalogue/changes?limit=4")["changes"][2:]
    text = city.ask("/catalogue/changes").text + city.ask("/catalogue/changes?f=html").text
    assert "test" not in {each.get("steward") for each in page["changes"]}
    assert ".gpkg" not in text


def test_a_contract_that_changed_is_told(city: Town) -> None:
    with engine.connect(city.database) as connection, connection.transaction():
        connection.execute("UPDATE sdi.contract SET version = '1.1.0', sha256 = 'x' WHERE layer = 'ground'")
        ledger.bump(connection, "ground")
    found: list[Any] = []

    def changed() -> bool:
        found[:] = city.get("/catalogue/changes?collection=ground&limit=1")["changes"]
        return bool(found[0]["what"] == "contract")

    eventually(changed)
    assert found[0]["contractVersion"] == "1.1.0"


def test_what_a_changed_contract_withholds_is_told_by_nothing_from_then_on(city: Town) -> None:
    """Without a load: what was counted under the former contract is counted anew."""
    contract = city.registry.folder / "works.yaml"
    former = contract.read_text(encoding="utf-8")
    shut = f"{former}sharing: {{level: open, withhold: floors > 3}}\n"

    def becomes(text: str, count: int) -> None:
        contract.write_text(text, encoding="utf-8")
        with engine.connect(city.database) as connection:
            ledger.publish(connection, city.registry["ground"])
        eventually(lambda: city.get("/collections/works/items")["numberMatched"] == count)
        assert record(city, "works")["properties"]["featureCount"] == count
        [told] = [each for each in city.get("/open-data")["layers"] if each["id"] == "works"]
        assert told["featureCount"] == count

    floors = [each["properties"]["floors"] for each in city.get("/collections/works/items")["features"]]
    shown = sum(each <= 3 for each in floors)
    assert 0 < shown < len(floors)
    becomes(former, len(floors))
    try:
        becomes(shut, shown)
    finally:
        becomes(former, len(floors))
