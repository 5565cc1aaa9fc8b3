"""What a layer's steward sees of its quality, as layers: the findings that stand, and the features in quarantine.

They are described like any other layer, so that lists, items, filters and pages need to know nothing of them; only
their sharing differs: they exist for the agency that collects the layer, and for nobody else.
"""

from __future__ import annotations

from sdi.contract.layer import Attribute, AttributeType, Geometry, Layer, Sharing, Style, Temporal, Text

SCHEMA = "qa"
"""Of the database; the views there have the columns of these layers."""
FINDINGS, QUARANTINE = "findings", "quarantine"

COLOURS = {"error": "#c0392b", "warning": "#e08e0b", "info": "#4f81a3"}
"""By severity."""
STATES = {"open": "#c0392b", "waived": "#7d6bb0", "corrected": "#2e8b57", "repeated": "#9aa7ae", "undone": "#b9c2c7"}
"""Of a feature in quarantine, each with its colour."""

_TITLES = {
    FINDINGS: Text(vi="phát hiện kiểm tra", en="findings"),
    QUARANTINE: Text(vi="đối tượng bị cách ly", en="features in quarantine"),
}
_DESCRIPTIONS = {
    FINDINGS: Text(
        vi="Những điều chưa đúng hợp đồng trong lần nộp gần nhất của từng đối tượng. Chỉ cơ quan chủ quản thấy.",
        en="What does not keep the contract in the last delivery of each feature. Only the steward's agency sees it.",
    ),
    QUARANTINE: Text(
        vi="Đối tượng chưa được nạp, với giá trị như đã nộp và lý do. Sửa rồi nạp lại. Chỉ cơ quan chủ quản thấy.",
        en="Features that were not loaded, with their values as delivered and the reasons. Correct them and load them "
        "again. Only the steward's agency sees them.",
    ),
}


def _attribute(name: str, vi: str, en: str, kind: AttributeType = "text") -> Attribute:
    return Attribute(name=name, title=Text(vi=vi, en=en), type=kind)


_OF_FINDING = [
    _attribute("rule", "Quy tắc", "Rule"),
    _attribute("severity", "Mức độ", "Severity"),
    _attribute("action", "Xử lý", "Action"),
    _attribute("sentence_vi", "Nội dung (tiếng Việt)", "Sentence (Vietnamese)"),
    _attribute("sentence_en", "Nội dung (tiếng Anh)", "Sentence (English)"),
    _attribute("feature", "Đối tượng", "Feature"),
    _attribute("row", "Dòng trong tệp", "Row in the file", "integer"),
    _attribute("attribute", "Thuộc tính", "Attribute"),
    _attribute("found", "Giá trị", "Value found"),
    _attribute("expected", "Giới hạn", "Limit"),
    _attribute("other", "Đối tượng liên quan", "Other"),
    _attribute("waived", "Lý do cho qua", "Waived because"),
    _attribute("load", "Lần nạp", "Load", "integer"),
    _attribute("file_name", "Tệp", "File"),
    _attribute("delivered_at", "Nộp lúc", "Delivered at", "datetime"),
]
MARKS = [
    _attribute("qa_state", "Tình trạng", "State"),
    _attribute("qa_rules", "Quy tắc", "Rules"),
    _attribute("qa_sentence_vi", "Lý do (tiếng Việt)", "Reason (Vietnamese)"),
    _attribute("qa_sentence_en", "Lý do (tiếng Anh)", "Reason (English)"),
    _attribute("qa_feature", "Mã định danh", "Identifier"),
    _attribute("qa_row", "Dòng trong tệp", "Row in the file", "integer"),
    _attribute("qa_load", "Lần nạp", "Load", "integer"),
    _attribute("qa_file_name", "Tệp", "File"),
    _attribute("qa_delivered_at", "Nộp lúc", "Delivered at", "datetime"),
]
"""What the quarantine says of a feature beside the values as delivered; a corrected file may still have them."""


def findings_of(layer: Layer) -> Layer:
    """The standing findings of a layer, as points (lon, lat) where they have a place."""
    style = Style(classify="severity", colours=COLOURS, stroke="#3b1d18", width=1, opacity=0.85)
    return _beside(layer, FINDINGS, "Point", _OF_FINDING, style, "delivered_at")


def delivered(layer: Layer) -> list[Attribute]:
    """What the quarantine keeps of a feature: every stored attribute as text, and behind a list the columns that its
    items may have come in, one for each field."""
    raw = []
    for attribute in layer.stored:
        raw.append(
            Attribute(name=attribute.name, title=attribute.title, description=attribute.description, type="text")
        )
        for item in attribute.items or []:
            if item.sources:
                title = Text(vi=f"{attribute.title.vi}: {item.title.vi}", en=f"{attribute.title.en}: {item.title.en}")
                raw.append(Attribute(name=item_column(attribute.name, item.name), title=title, type="text"))
    return raw


def item_column(attribute: str, item: str) -> str:
    """Name of the column for a field of a list attribute whose items came in columns of their own."""
    return f"{attribute}__{item}"


def quarantine_of(layer: Layer) -> Layer:
    """The features of a layer that were not loaded: every stored attribute as the text that was delivered.

    Personal attributes were dropped when the file was read and are not among them.
    """
    assert layer.geometry is not None
    style = Style(classify="qa_state", colours=STATES, stroke="#8f1710", width=1.4, opacity=0.5)
    return _beside(layer, QUARANTINE, layer.geometry.type, [*MARKS, *delivered(layer)], style, "qa_delivered_at")


def is_quarantine(layer: Layer) -> bool:
    """Whether its features are as delivered: of any type of geometry, whatever the contract asks for."""
    return layer.theme == SCHEMA and layer.id.endswith(f"__{QUARANTINE}")


def beside(layer: Layer) -> list[Layer]:
    """The quality collections of a layer; none of what is derived or a coverage has features to correct."""
    return [findings_of(layer), quarantine_of(layer)] if layer.kind == "features" else []


def _beside(layer: Layer, what: str, shape: str, attributes: list[Attribute], style: Style, instant: str) -> Layer:
    title, told = _TITLES[what], _DESCRIPTIONS[what]
    made = {
        "id": f"{layer.id}__{what}",
        "theme": SCHEMA,
        "title": Text(vi=f"{layer.title.vi}: {title.vi}", en=f"{layer.title.en}: {title.en}"),
        "description": told,
        "keywords": [],
        "official_name": None,
        "identifier": None,
        "geometry": Geometry(type=shape, required=False),
        "attributes": attributes,
        "checks": [],
        "temporal": Temporal(instant=instant),
        "sharing": Sharing(level="steward"),
        "style": style,
        "frame": None,
        "genealogy": None,
        "reform": None,
        "units": None,
    }
    return layer.model_copy(update=made)
