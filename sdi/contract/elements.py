"""The data quality elements of ISO 19157-1 that our rules speak of, with the measure by which each is told."""

from __future__ import annotations

from dataclasses import dataclass

from sdi.contract.layer import Text

STANDARD = "ISO 19157-1"


@dataclass(frozen=True)
class Element:
    """`measure_id`: the measure's number in ISO 19157, where the standard has one; all are rates, 0 to 1."""

    name: str
    title: Text
    measure: Text
    measure_id: int | None = None


def _element(name: str, title: tuple[str, str], measure: tuple[str, str], measure_id: int | None = None) -> Element:
    return Element(name, Text(vi=title[0], en=title[1]), Text(vi=measure[0], en=measure[1]), measure_id)


ELEMENTS: dict[str, Element] = {
    each.name: each
    for each in (
        _element("completeness commission", ("Dữ liệu thừa", "Completeness: commission"),
                 ("Tỷ lệ đối tượng thừa", "Rate of excess items"), 3),
        _element("completeness omission", ("Dữ liệu thiếu", "Completeness: omission"),
                 ("Tỷ lệ đối tượng thiếu", "Rate of missing items"), 7),
        _element("conceptual consistency", ("Nhất quán khái niệm", "Conceptual consistency"),
                 ("Tỷ lệ không tuân thủ lược đồ khái niệm", "Non-compliance rate with the conceptual schema"), 12),
        _element("domain consistency", ("Nhất quán miền giá trị", "Domain consistency"),
                 ("Tỷ lệ giá trị ngoài miền giá trị", "Value domain non-conformance rate"), 18),
        _element("format consistency", ("Nhất quán định dạng", "Format consistency"),
                 ("Tỷ lệ xung đột cấu trúc vật lý", "Physical structure conflict rate"), 20),
        _element("topological consistency", ("Nhất quán hình học tô-pô", "Topological consistency"),
                 ("Tỷ lệ đối tượng có lỗi tô-pô", "Rate of features with a topological fault")),
        _element("absolute positional accuracy", ("Độ chính xác vị trí tuyệt đối", "Absolute positional accuracy"),
                 ("Tỷ lệ đối tượng ngoài phạm vi vị trí", "Rate of features out of place")),
        _element("relative internal positional accuracy",
                 ("Độ chính xác vị trí tương đối", "Relative positional accuracy"),
                 ("Tỷ lệ đối tượng có khoảng cách đỉnh bất thường",
                  "Rate of features with doubtful spacing of vertices")),
        _element("thematic classification correctness",
                 ("Độ chính xác phân loại", "Thematic classification correctness"),
                 ("Tỷ lệ phân loại sai", "Misclassification rate"), 61),
        _element("quantitative attribute correctness",
                 ("Độ chính xác thuộc tính định lượng", "Quantitative attribute correctness"),
                 ("Tỷ lệ giá trị vượt dung sai", "Rate of values beyond their tolerance")),
        _element("temporal consistency", ("Nhất quán thời gian", "Temporal consistency"),
                 ("Tỷ lệ sai thứ tự thời gian", "Rate of events out of order")),
        _element("temporal validity", ("Tính hợp lệ thời gian", "Temporal validity"),
                 ("Tỷ lệ thời điểm không hợp lệ", "Rate of times that are not valid")),
    )
}  # fmt: skip


def element(name: str) -> Element:
    """The element of that name; one that only a rule knows is told by its own name."""
    return ELEMENTS.get(name) or Element(name, Text(vi=name, en=name), Text(vi=name, en=name))
