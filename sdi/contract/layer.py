"""The contract of one layer, as it stands in `layers/<id>.yaml`; every other description is made from it.

The fields' docstrings become the descriptions in `schemas/layer.schema.json`, hence the editor's hover text.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, StringConstraints

from sdi.contract.rules import RULES

Word = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,54}$")]
Language = Literal["vi", "en"]
Privacy = Literal["open", "agency", "restricted", "personal"]
Severity = Literal["error", "warning", "info"]
Action = Literal["refuse", "quarantine", "repair", "warn"]
AttributeType = Literal["text", "integer", "decimal", "number", "boolean", "date", "datetime", "code", "list"]
GeometryType = Literal["Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon"]
Confidence = Literal["V", "2", "C", "R", "?"]
Topic = Literal[
    "farming", "biota", "boundaries", "climatologyMeteorologyAtmosphere", "economy", "elevation", "environment",
    "geoscientificInformation", "health", "imageryBaseMapsEarthCover", "intelligenceMilitary", "inlandWaters",
    "location", "oceans", "planningCadastre", "society", "structure", "transportation", "utilitiesCommunication",
]  # fmt: skip


COUNT = "sdi_count"
"""The attribute of a square in a vector tile that stands for several features: for how many. No layer has its name."""


def _nfc(text: str) -> str:
    if not unicodedata.is_normalized("NFC", text):
        raise ValueError("is not in Unicode NFC")
    return text


Nfc = Annotated[str, AfterValidator(_nfc), StringConstraints(min_length=1, strip_whitespace=True)]


class Part(BaseModel):
    """A frozen part of a contract that refuses words it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Text(Part):
    """A text in the two languages of the service, Vietnamese in Unicode NFC."""

    vi: Nfc
    en: Nfc

    def in_language(self, language: str) -> str:
        return self.en if language == "en" else self.vi


class LegalBasis(Part):
    reference: Nfc
    """The instrument and the article, e.g. `TT 19/2026/TT-BNNMT Điều 11`."""
    confidence: Confidence
    """V read in the primary text, 2 in a secondary source, C computed, R recalled, ? sources disagree."""


class Steward(Part):
    id: Word
    """The agency that alone collects and updates this layer (NĐ 27/2019 Điều 27.1)."""
    name: Text


class Item(Part):
    """One field of an item in a list attribute."""

    name: Word
    title: Text
    type: Literal["text", "integer", "decimal", "number", "boolean", "date", "code"]
    code_list: Word | None = None
    unit: str | None = None
    sources: list[str] = []
    """Column names under which the first item's value may come when a file holds one item a row."""


class Attribute(Part):
    name: Word
    official_name: str | None = None
    """The name in the law or the exchange schema, e.g. `soHieuToBanDo`."""
    title: Text
    description: Text | None = None
    type: AttributeType
    unit: str | None = None
    """UCUM code: `m2`, `m`, `%`, `a` (year)."""
    code_list: Word | None = None
    """For type `code`: the code list's id, the file's stem in `layers/code_lists/`."""
    required: bool = False
    queryable: bool = True
    privacy: Privacy = "open"
    """open: everybody; agency: agencies with a grant; restricted: named users; personal: recognised, never stored."""
    sources: list[str] = []
    """Names under which the column may come; compared without case, marks, blanks and `_`, and cut at 10 for DBF."""
    pattern: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    max_length: int | None = None
    scale: int | None = None
    """For type `decimal`: digits behind the point."""
    default: str | int | float | bool | None = None
    template: str | None = None
    """Made from other attributes when the file lacks it, e.g. `{commune_code}.{sheet_number}.{parcel_number}`."""
    items: list[Item] | None = None
    """For type `list`: the fields of an item."""
    parse: Literal["coded_amounts"] | None = None
    """For type `list`: how a text becomes items; coded_amounts reads `ONT(1782.60);CLN(2754.70)` and `ONT+CLN`."""
    refers_to: Word | None = None
    """The layer whose feature ids this attribute (or the item field `id` of a list) holds. An id is shown to who sees
    that feature; who sees all features of the layer is shown every id. The other fields of an item are shown to who
    sees that layer whole, and what `made_from` names beside it."""
    made_from: list[Word] | None = None
    """In a derived layer: the inputs that tell in the value; left out: all of them. The attribute does not exist for
    who does not see one of these layers whole, unless the layer's `withholds_with` names it."""
    shown: Text | None = None
    """Why the attribute is shown whatever who asks sees of the layers that it refers to or is made from."""


class Identifier(Part):
    """Where a feature's id comes from; it never changes and is never reused."""

    attribute: Word | None = None
    template: str | None = None
    """e.g. `{commune_code}.{sheet_number}.{parcel_number}`; a feature lacking a part of it has no id."""
    duplicates: Literal["refuse", "quarantine", "suffix"] = "quarantine"
    """suffix: the second feature with an id gets `~2`, in the order of their content, and a finding."""


class Geometry(Part):
    type: GeometryType
    required: bool = True
    on_invalid: Literal["repair", "quarantine", "refuse"] = "repair"
    repair_tolerance: float = 1.0
    """Percent of area that a repair may change; above it the feature goes to quarantine."""
    on_other_type: Literal["quarantine", "refuse", "drop"] = "quarantine"
    """What happens to a feature of another type family (a line among polygons). Single becomes multi by itself."""


class Check(Part):
    rule: Literal[tuple(RULES)]  # type: ignore[valid-type]
    severity: Severity | None = None
    action: Action | None = None
    tolerance: float | None = None
    """In the rule's unit, see `sdi layers rules`."""
    parameters: dict[str, Any] = {}

    @property
    def bound(self) -> float:
        """The tolerance that holds: this check's, else its rule's."""
        return (RULES[self.rule].tolerance or 0.0) if self.tolerance is None else self.tolerance


class Ended(Part):
    """How a file says of a row that its feature has ended: a column that is no attribute, and the words in it."""

    sources: list[str] = Field(min_length=1)
    """Names under which the column may come, compared as an attribute's are, e.g. `thaoTac`, `operation`."""
    values: list[str] = Field(min_length=1)
    """The words that say so, compared without case and marks, e.g. `D`, `X`, `xóa`."""


class Load(Part):
    mode: Literal["full", "partial"] = "full"
    """full: what a delivery lacks has ended; partial: a delivery adds and changes only, and ends what it says has
    ended. A delivery may be loaded in the other mode (`--mode`)."""
    scope: Word | None = None
    """For mode full: the attribute within whose delivered values the delivery is complete, e.g. `commune_code`."""
    ended: Ended | None = None


class Temporal(Part):
    start: Word | None = None
    end: Word | None = None
    """End of validity, exclusive; empty: still valid."""
    instant: Word | None = None


class Genealogy(Part):
    """How the parents of a feature are known, where features are split and merged under new ids."""

    parents: list[str] = []
    """How a delivery tells them: an attribute, a list attribute (its item field `id`), or a template of an id, e.g.
    `{map_commune_code}.{old_sheet_number}.{old_parcel_number}`. Several stand in one text with `;`, `+` or `,` between.
    What the layer never had, or still has as it was, is no parent."""
    share: float = Field(5.0, gt=0, le=100)
    """Percent of the area of either that an ended and a new feature have in common at least, to be parent and child; it
    must also be more than the tolerance of the layer's rule `coverage.overlap`."""


class Units(Part):
    """Of a layer of administrative units: which units each one succeeded. Its code is the attribute that `frame` names,
    its days are those of `temporal`."""

    succeeds: Word
    """The list attribute whose items are the former units; the item field `id` is a unit's id in this layer."""
    code: Word
    """The item field that holds the former unit's code, for units that this layer does not have itself."""
    share: Word | None = None
    """The item field that holds the percent of the former unit's area that went to this one."""


class Reform(Part):
    """How features follow an administrative reform (`sdi reform`).

    A code means something only together with a day. `attribute=code` asks for the features of the unit that the code
    means on the day of `datetime` (its end), else today: the unit in force then, else the last one that had the code. A
    unit in force is also found by the codes of former units that it succeeded entirely; a former unit by `former`, and
    by its code where the layer has not been reformed yet. Where a former unit was divided, the reform tells by place.
    """

    attribute: Word
    """Holds the code of the unit in which the feature lies."""
    former: Word
    """Keeps the code that a reform replaced."""
    units: Word
    """The layer of units."""


class Release(Part):
    """When a layer that is not open yet is to be opened. Whoever writes this announces the layer: the plan names its
    title, its steward, the day and the reason to everybody, and nothing that is in it."""

    planned: date
    reason: Text
    """Why it is not open yet, and what opens it."""


class Sharing(Part):
    level: Literal["open", "agency", "restricted", "steward"] = "open"
    """steward: the layer exists for the agency that collects it and for nobody else."""
    withhold: str | None = None
    """CQL2 text: features that the public does not see (defence and security parcels)."""
    withholds_with: list[Word] = []
    """Of a derived layer: the subject and inputs of which `withhold` is enough, because the SQL has a row withheld in
    which a feature took part that one of these layers withholds."""
    release: Release | None = None


class Licence(Part):
    id: str
    """SPDX id or a short name."""
    title: Text
    url: str | None = None


class Style(Part):
    fill: str | None = None
    stroke: str = "#444444"
    width: float = 1.0
    opacity: float = 0.6
    label: Word | None = None
    classify: Word | None = None
    """The attribute whose values the colours below belong to."""
    colours: dict[str, str] = {}


class Input(Part):
    """A layer that a derived layer is made from, and how a change in it finds the subjects it touches."""

    layer: Word
    by: list[Literal["place", "key"]] = ["place"]
    key: dict[Word, Word] = {}
    """For `key`: the input's attribute -> the subject's attribute."""
    reach: float = 0.0
    """Metres by which a changed feature's box is widened when subjects are looked for."""
    reads: list[Word] | None = None
    """The input's attributes that the SQL reads; a change of others alone, the shape staying, touches no subject. Left
    out: all are read."""


class Derived(Part):
    """How a derived layer is made: its SQL file stands beside it and reads the temporary table `subject`."""

    subject: Word
    """The layer whose features the rows belong to; `subject` has its columns, and those of them to be made anew."""
    inputs: list[Input]
    sql: str


class Dossier(Part):
    """A derived layer with this part answers `GET /{path}/{id}/dossier`, one document on one subject."""

    path: Word


class Statistic(Part):
    """Zonal statistics that a coverage gives to a feature layer, written beside it and read by derived layers."""

    layer: Word
    operations: list[Literal["min", "max", "mean", "median", "count", "stdev"]]


class Band(Part):
    name: Word
    title: Text
    unit: str
    minimum: float | None = None
    maximum: float | None = None


class Coverage(Part):
    bands: list[Band]
    data_types: list[str]
    """rasterio dtypes that a delivery may have."""
    nodata_required: bool = True
    min_resolution: float = 0.01
    max_resolution: float = 1000.0
    """Pixel size in metres."""
    statistics: list[Statistic] = []


class Statistics(Part):
    """What is counted of a layer's features, in groups that are the same for everybody who asks.

    They are counted by each dimension, and by the first one together with one of the others; two of the others never
    stand in one table, so that no small group can be worked out from several of them.
    """

    by: list[Word] = Field(min_length=1, max_length=8)
    """The dimensions: codes, truths, whole numbers, texts with a pattern; a date stands for its year."""
    sum: list[Word] = Field([], max_length=4)
    """The measures that are added up; attributes that are never below 0."""
    units: dict[Word, Word] = {}
    """Dimension -> the layer of administrative units whose codes it holds, which has their names."""


@dataclass
class Others:
    """The layers that stand beside a layer; no part of what the layer promises, so all are equal."""

    layers: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __reduce__(self) -> tuple[type[Others], tuple[()]]:
        """A layer goes to another process alone."""
        return Others, ()


class Layer(Part):
    """What a layer promises."""

    _others: Others = PrivateAttr(default_factory=Others)

    id: Word
    version: Annotated[str, StringConstraints(pattern=r"^\d+\.\d+\.\d+$")]
    kind: Literal["features", "coverage", "derived"] = "features"
    title: Text
    description: Text
    keywords: list[Text] = []
    theme: Word
    """The PostgreSQL schema its table stands in."""
    topics: list[Topic] = []
    """ISO 19115 MD_TopicCategoryCode: what other catalogues sort the layer by."""
    steward: Steward
    legal_basis: list[LegalBasis]
    official_name: str | None = None
    """The layer's name in the exchange schema, e.g. `ChucNangSuDungDat_A` (TT 16/2025/TT-BXD Phụ lục II)."""
    identifier: Identifier | None = None
    geometry: Geometry | None = None
    attributes: list[Attribute] = []
    checks: list[Check] = []
    load: Load = Load()
    temporal: Temporal | None = None
    genealogy: Genealogy | None = None
    units: Units | None = None
    reform: Reform | None = None
    sharing: Sharing = Sharing()
    licence: Licence
    update_cycle: Literal["continual", "daily", "weekly", "monthly", "quarterly", "annually", "asNeeded"]
    """ISO 19115 MD_MaintenanceFrequencyCode."""
    style: Style = Style()
    heading: list[Text] = []
    """What people call a feature, in parts that are joined by commas: `thửa đất số {parcel_number}`, `tờ bản đồ số
    {sheet_number}`, `{commune_code}`. A part of which an attribute is empty, or hidden from who asks, is left out.
    Codes are written as their labels, those of administrative units as the units' names. Left out: the attribute that
    labels the feature on a map."""
    search: list[Word] = []
    """The text attributes that name a feature: `q` looks for words in them. Each has an index of its own."""
    frame: Word | None = None
    """The attribute by which `--area` finds a feature of this layer: its extent is where a delivery must lie."""
    derived: Derived | None = None
    dossier: Dossier | None = None
    coverage: Coverage | None = None
    statistics: Statistics | None = None

    def __getitem__(self, name: str) -> Attribute:
        return self.by_name[name]

    @property
    def others(self) -> Mapping[str, Layer]:
        """The layers of the same registry, this one among them; none for a layer that was not read with others."""
        return self._others.layers

    @property
    def by_name(self) -> dict[str, Attribute]:
        return {attribute.name: attribute for attribute in self.attributes}

    @property
    def stored(self) -> list[Attribute]:
        """The attributes that have a column: all but the personal ones."""
        return [attribute for attribute in self.attributes if attribute.privacy != "personal"]

    @property
    def coded_by_unit(self) -> dict[str, str]:
        """Attribute -> the layer of administrative units whose codes it holds; also one that is filled with another's
        where nothing is delivered for it (`template: '{commune_code}'`)."""
        reform = self.reform
        known = {reform.attribute: reform.units, reform.former: reform.units} if reform else {}
        known |= self.statistics.units if self.statistics else {}
        alike = {f"{{{name}}}": units for name, units in known.items()}
        return {each.name: alike[each.template] for each in self.attributes if each.template in alike} | known

    @property
    def table(self) -> tuple[str, str]:
        """PostgreSQL schema and table."""
        return self.theme, self.id
