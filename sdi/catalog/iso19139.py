"""A layer's entry as ISO 19115 metadata in XML by ISO 19139 (gmd), in one language with the other beside it.

The XML of ISO 19115-3 (mdb) is the newer one, but gmd is what QGIS's MetaSearch reads; OWSLib and GeoNetwork read both.
"""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree.ElementTree import Element, SubElement, register_namespace, tostring

from sdi.catalog.collection import crs_list
from sdi.catalog.entry import DOWNLOADS, Entry, licence_at, stamp
from sdi.contract.elements import STANDARD, element
from sdi.contract.layer import Text

NAMESPACES = {
    "gmd": "http://www.isotc211.org/2005/gmd", "gco": "http://www.isotc211.org/2005/gco",
    "gmx": "http://www.isotc211.org/2005/gmx", "gml": "http://www.opengis.net/gml/3.2",
    "xlink": "http://www.w3.org/1999/xlink",
}  # fmt: skip
CODES = "http://standards.iso.org/iso/19139/resources/gmxCodelists.xml"
ISO_639_2 = "http://www.loc.gov/standards/iso639-2/"
LANGUAGES = {"vi": "vie", "en": "eng"}
RESTRICTIONS = {"open": "license", "agency": "restricted", "restricted": "restricted"}
REPORTS = {
    "completeness commission": "CompletenessCommission", "completeness omission": "CompletenessOmission",
    "conceptual consistency": "ConceptualConsistency", "domain consistency": "DomainConsistency",
    "format consistency": "FormatConsistency", "topological consistency": "TopologicalConsistency",
    "absolute positional accuracy": "AbsoluteExternalPositionalAccuracy",
    "relative internal positional accuracy": "RelativeInternalPositionalAccuracy",
    "thematic classification correctness": "ThematicClassificationCorrectness",
    "quantitative attribute correctness": "QuantitativeAttributeAccuracy",
    "temporal consistency": "TemporalConsistency", "temporal validity": "TemporalValidity",
}  # fmt: skip
"""Elements of ISO 19157-1 -> the classes that ISO 19139 has for them."""


class _Sheet:
    """Writes gmd elements in one language; `/` in a path goes down, from the element that is given."""

    def __init__(self, language: str) -> None:
        self.language = language
        self.other = "en" if language == "vi" else "vi"

    def at(self, above: Element, path: str) -> Element:
        for step in path.split("/"):
            above = SubElement(above, _named(step))
        return above

    def text(self, above: Element, path: str, value: str) -> None:
        self.at(above, f"{path}/gco:CharacterString").text = value

    def texts(self, above: Element, path: str, text: Text) -> None:
        """A text, and the same in the other language."""
        place = self.at(above, path)
        place.set(_named("xsi:type"), "gmd:PT_FreeText_PropertyType")
        SubElement(place, _named("gco:CharacterString")).text = text.in_language(self.language)
        other = self.at(place, "gmd:PT_FreeText/gmd:textGroup/gmd:LocalisedCharacterString")
        other.set("locale", f"#{self.other.upper()}")
        other.text = text.in_language(self.other)

    def code(self, above: Element, path: str, value: str, at: str = CODES) -> None:
        found = self.at(above, path)
        name = found.tag.rpartition("}")[2]
        found.set("codeList", at if at == ISO_639_2 else f"{at}#{name}")
        found.set("codeListValue", value)
        found.text = value


def metadata(entry: Entry, language: str) -> bytes:
    """The document, UTF-8 with its XML declaration."""
    for prefix, uri in (NAMESPACES | {"xsi": _XSI}).items():
        register_namespace(prefix, uri)
    sheet = _Sheet(language)
    root = Element(_named("gmd:MD_Metadata"))
    sheet.text(root, "gmd:fileIdentifier", entry.layer.id)
    sheet.code(root, "gmd:language/gmd:LanguageCode", LANGUAGES[language], ISO_639_2)
    sheet.code(root, "gmd:characterSet/gmd:MD_CharacterSetCode", "utf8")
    sheet.code(root, "gmd:hierarchyLevel/gmd:MD_ScopeCode", "dataset")
    _operator(sheet, sheet.at(root, "gmd:contact"), entry)
    sheet.at(root, "gmd:dateStamp/gco:DateTime").text = stamp(entry.updated)
    sheet.text(root, "gmd:metadataStandardName", "ISO 19115:2003/19139")
    sheet.text(root, "gmd:metadataStandardVersion", "1.0")
    sheet.text(root, "gmd:dataSetURI", entry.collection)
    locale = sheet.at(root, "gmd:locale/gmd:PT_Locale")
    locale.set("id", sheet.other.upper())
    sheet.code(locale, "gmd:languageCode/gmd:LanguageCode", LANGUAGES[sheet.other], ISO_639_2)
    sheet.code(locale, "gmd:characterEncoding/gmd:MD_CharacterSetCode", "utf8")
    for epsg in _grids(entry):
        name = sheet.at(root, "gmd:referenceSystemInfo/gmd:MD_ReferenceSystem/gmd:referenceSystemIdentifier"
                        "/gmd:RS_Identifier")  # fmt: skip
        sheet.text(name, "gmd:code", str(epsg))
        sheet.text(name, "gmd:codeSpace", "EPSG")
    _identification(sheet, sheet.at(root, "gmd:identificationInfo/gmd:MD_DataIdentification"), entry)
    _distribution(sheet, sheet.at(root, "gmd:distributionInfo/gmd:MD_Distribution"), entry)
    _quality(sheet, sheet.at(root, "gmd:dataQualityInfo/gmd:DQ_DataQuality"), entry)
    text: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return text


def _grids(entry: Entry) -> Iterable[int]:
    """EPSG codes, the grid in which the data stands first."""
    own = list(entry.published.grids)
    return [*own, *(int(uri.rpartition("/")[2]) for uri in crs_list(own)[1:] if int(uri.rpartition("/")[2]) not in own)]


def _identification(sheet: _Sheet, of: Element, entry: Entry) -> None:
    layer = entry.layer
    citation = sheet.at(of, "gmd:citation/gmd:CI_Citation")
    sheet.texts(citation, "gmd:title", layer.title)
    if layer.official_name:
        sheet.text(citation, "gmd:alternateTitle", layer.official_name)
    for kind, moment in (("creation", entry.created), ("revision", entry.updated)):
        date = sheet.at(citation, "gmd:date/gmd:CI_Date")
        sheet.at(date, "gmd:date/gco:DateTime").text = stamp(moment)
        sheet.code(date, "gmd:dateType/gmd:CI_DateTypeCode", kind)
    sheet.text(citation, "gmd:identifier/gmd:MD_Identifier/gmd:code", entry.collection)
    sheet.texts(of, "gmd:abstract", layer.description)
    sheet.code(of, "gmd:status/gmd:MD_ProgressCode", "onGoing")
    steward = sheet.at(of, "gmd:pointOfContact/gmd:CI_ResponsibleParty")
    sheet.texts(steward, "gmd:organisationName", layer.steward.name)
    sheet.code(steward, "gmd:role/gmd:CI_RoleCode", "custodian")
    maintenance = sheet.at(of, "gmd:resourceMaintenance/gmd:MD_MaintenanceInformation")
    sheet.code(maintenance, "gmd:maintenanceAndUpdateFrequency/gmd:MD_MaintenanceFrequencyCode", layer.update_cycle)
    if layer.keywords:
        words = sheet.at(of, "gmd:descriptiveKeywords/gmd:MD_Keywords")
        for word in layer.keywords:
            sheet.texts(words, "gmd:keyword", word)
        sheet.code(words, "gmd:type/gmd:MD_KeywordTypeCode", "theme")
    _constraints(sheet, of, entry)
    kind = "grid" if layer.coverage is not None else "vector"
    sheet.code(of, "gmd:spatialRepresentationType/gmd:MD_SpatialRepresentationTypeCode", kind)
    sheet.code(of, "gmd:language/gmd:LanguageCode", LANGUAGES["vi"], ISO_639_2)
    sheet.code(of, "gmd:characterSet/gmd:MD_CharacterSetCode", "utf8")
    for topic in layer.topics:
        sheet.at(of, "gmd:topicCategory/gmd:MD_TopicCategoryCode").text = topic
    _extent(sheet, of, entry)
    if layer.coverage is None:
        told = {"vi": "Số đối tượng", "en": "Number of features"}[sheet.language]
        sheet.text(of, "gmd:supplementalInformation", f"{told}: {entry.published.count}")


def _constraints(sheet: _Sheet, of: Element, entry: Entry) -> None:
    """The licence, what it rests on in law (as far as somebody read it in the primary text), and who may have it."""
    layer = entry.layer
    legal = sheet.at(of, "gmd:resourceConstraints/gmd:MD_LegalConstraints")
    sheet.texts(legal, "gmd:useLimitation", layer.licence.title)
    sheet.code(legal, "gmd:accessConstraints/gmd:MD_RestrictionCode", RESTRICTIONS[layer.sharing.level])
    sheet.code(legal, "gmd:useConstraints/gmd:MD_RestrictionCode", "license")
    place = sheet.at(legal, "gmd:otherConstraints/gmx:Anchor")
    place.set(_named("xlink:href"), licence_at(entry))
    place.text = layer.licence.title.in_language(sheet.language)
    for basis in layer.legal_basis:
        if basis.confidence == "V":
            sheet.text(legal, "gmd:otherConstraints", basis.reference)


def _extent(sheet: _Sheet, of: Element, entry: Entry) -> None:
    if entry.published.extent is None and entry.interval is None:
        return
    extent = sheet.at(of, "gmd:extent/gmd:EX_Extent")
    if entry.published.extent is not None:
        west, south, east, north = entry.published.extent
        box = sheet.at(extent, "gmd:geographicElement/gmd:EX_GeographicBoundingBox")
        bounds = {"westBoundLongitude": west, "eastBoundLongitude": east, "southBoundLatitude": south,
                  "northBoundLatitude": north}  # fmt: skip
        for name, value in bounds.items():
            sheet.at(box, f"gmd:{name}/gco:Decimal").text = repr(value)
    if entry.interval is not None:
        period = sheet.at(extent, "gmd:temporalElement/gmd:EX_TemporalExtent/gmd:extent/gml:TimePeriod")
        period.set(_named("gml:id"), "time")
        for name, end in zip(("beginPosition", "endPosition"), entry.interval, strict=True):
            position = sheet.at(period, f"gml:{name}")
            position.text = end
            if end is None:
                position.set("indeterminatePosition", "unknown" if name == "beginPosition" else "now")


def _distribution(sheet: _Sheet, of: Element, entry: Entry) -> None:
    for name, _ in entry.formats:
        form = sheet.at(of, "gmd:distributionFormat/gmd:MD_Format")
        sheet.text(form, "gmd:name", name)
        sheet.at(form, "gmd:version").set(_named("gco:nilReason"), "unknown")
    options = sheet.at(of, "gmd:transferOptions/gmd:MD_DigitalTransferOptions")
    _online(sheet, options, entry.collection, "OGC API - Features" if entry.layer.coverage is None else "WWW:LINK",
            entry.layer.title.in_language(sheet.language), "information")  # fmt: skip
    for link in entry.data_links:
        if link["rel"] in ("items", *DOWNLOADS) and link["type"] != "text/html":
            function = "download" if link["rel"] in DOWNLOADS else "information"
            _online(sheet, options, str(link["href"]), str(link["type"]), str(link["title"]), function)


def _online(sheet: _Sheet, above: Element, url: str, protocol: str, title: str, function: str) -> None:
    place = sheet.at(above, "gmd:onLine/gmd:CI_OnlineResource")
    sheet.at(place, "gmd:linkage/gmd:URL").text = url
    sheet.text(place, "gmd:protocol", protocol)
    sheet.text(place, "gmd:name", title)
    sheet.code(place, "gmd:function/gmd:CI_OnLineFunctionCode", function)


def _quality(sheet: _Sheet, of: Element, entry: Entry) -> None:
    sheet.code(of, "gmd:scope/gmd:DQ_Scope/gmd:level/gmd:MD_ScopeCode", "dataset")
    for each in entry.rates:
        if each.element not in REPORTS:
            continue
        known = element(each.element)
        report = sheet.at(of, f"gmd:report/gmd:DQ_{REPORTS[each.element]}")
        sheet.texts(report, "gmd:nameOfMeasure", known.measure)
        if known.measure_id is not None:
            sheet.text(report, "gmd:measureIdentification/gmd:MD_Identifier/gmd:code", f"{STANDARD} {known.measure_id}")
        sheet.at(report, "gmd:dateTime/gco:DateTime").text = stamp(each.evaluated_at)
        result = sheet.at(report, "gmd:result/gmd:DQ_QuantitativeResult")
        sheet.at(result, "gmd:valueUnit").set(_named("gco:nilReason"), "inapplicable")
        sheet.at(result, "gmd:value/gco:Record").text = f"{each.rate:.6f}"
    told = Text(
        vi="Nạp từ tệp của cơ quan chủ quản, kiểm tra theo hợp đồng dữ liệu, phiên bản " + entry.layer.version + ".",
        en="Loaded from the steward's files, checked against the data contract, version " + entry.layer.version + ".",
    )
    sheet.texts(of, "gmd:lineage/gmd:LI_Lineage/gmd:statement", told)


def _operator(sheet: _Sheet, of: Element, entry: Entry) -> None:
    party = sheet.at(of, "gmd:CI_ResponsibleParty")
    sheet.texts(party, "gmd:organisationName", entry.publisher.title)
    contact = sheet.at(party, "gmd:contactInfo/gmd:CI_Contact")
    if entry.publisher.email:
        sheet.text(contact, "gmd:address/gmd:CI_Address/gmd:electronicMailAddress", entry.publisher.email)
    sheet.at(contact, "gmd:onlineResource/gmd:CI_OnlineResource/gmd:linkage/gmd:URL").text = f"{entry.publisher.url}/"
    sheet.code(party, "gmd:role/gmd:CI_RoleCode", "pointOfContact")


_XSI = "http://www.w3.org/2001/XMLSchema-instance"


def _named(name: str) -> str:
    prefix, _, local = name.partition(":")
    return f"{{{_XSI if prefix == 'xsi' else NAMESPACES[prefix]}}}{local}"
