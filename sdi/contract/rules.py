"""The catalogue of rules a check can name: code, meaning, default severity and action, and its two sentences.

`element` is the data quality element of ISO 19157-1. The sentences are filled with the finding's `value`, `limit`,
`attribute` and `other`; a rule's tolerance is in `unit`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    code: str
    element: str
    severity: str
    action: str
    vi: str
    en: str
    unit: str | None = None


_RULES = [
    # --- the file -------------------------------------------------------------------------------------------------
    Rule(
        "file.column_unknown",
        "format consistency",
        "info",
        "warn",
        "Cột «{attribute}» không có trong hợp đồng dữ liệu nên không được nạp.",
        "Column '{attribute}' is not in the contract and was not loaded.",
    ),
    Rule(
        "file.personal_dropped",
        "format consistency",
        "info",
        "warn",
        "Cột «{attribute}» chứa dữ liệu cá nhân nên không được lưu.",
        "Column '{attribute}' holds personal data and was not stored.",
    ),
    Rule(
        "file.encoding",
        "format consistency",
        "warning",
        "warn",
        "Bảng mã khai báo ({limit}) không đúng; đã đọc theo {value}.",
        "The declared encoding ({limit}) is not true; read as {value}.",
    ),
    Rule(
        "file.truncated",
        "format consistency",
        "error",
        "refuse",
        "Tệp thiếu dữ liệu: có {value} byte, cần {limit}.",
        "The file is cut short: {value} bytes of {limit}.",
    ),
    Rule(
        "text.unsure",
        "format consistency",
        "warning",
        "warn",
        "Không chắc bảng mã của «{value}» ({attribute}); giữ nguyên giá trị gốc.",
        "Not sure how '{value}' ({attribute}) is encoded; the raw value was kept.",
    ),
    Rule(
        "text.converted",
        "format consistency",
        "info",
        "repair",
        "{value} giá trị của «{attribute}» được chuyển từ {limit} sang Unicode NFC.",
        "{value} values of '{attribute}' were converted from {limit} to Unicode NFC.",
    ),
    # --- the attributes -------------------------------------------------------------------------------------------
    Rule(
        "attribute.required",
        "completeness omission",
        "error",
        "quarantine",
        "Thiếu «{attribute}».",
        "'{attribute}' is missing.",
    ),
    Rule(
        "attribute.type",
        "domain consistency",
        "error",
        "quarantine",
        "«{value}» không phải là {limit} ({attribute}).",
        "'{value}' is not a {limit} ({attribute}).",
    ),
    Rule(
        "attribute.pattern",
        "domain consistency",
        "error",
        "quarantine",
        "«{value}» không đúng mẫu {limit} ({attribute}).",
        "'{value}' does not match {limit} ({attribute}).",
    ),
    Rule(
        "attribute.range",
        "domain consistency",
        "error",
        "quarantine",
        "{value} nằm ngoài khoảng {limit} ({attribute}).",
        "{value} is outside {limit} ({attribute}).",
    ),
    Rule(
        "attribute.length",
        "domain consistency",
        "error",
        "quarantine",
        "«{attribute}» dài quá {limit} ký tự.",
        "'{attribute}' is longer than {limit} characters.",
    ),
    Rule(
        "code.unknown",
        "domain consistency",
        "error",
        "quarantine",
        "Mã «{value}» không có trong danh mục {limit} ({attribute}).",
        "Code '{value}' is not in the code list {limit} ({attribute}).",
    ),
    Rule(
        "code.superseded",
        "domain consistency",
        "warning",
        "warn",
        "Mã «{value}» đã được thay bằng «{limit}» ({attribute}); giữ mã gốc.",
        "Code '{value}' has been replaced by '{limit}' ({attribute}); the delivered code was kept.",
    ),
    Rule(
        "code.review",
        "domain consistency",
        "warning",
        "warn",
        "Mã «{value}» cần cán bộ xem xét ({attribute}): mã cũ không có mã thay thế chắc chắn.",
        "Code '{value}' needs a person's review ({attribute}): an old code without a certain successor.",
    ),
    Rule(
        "identifier.missing",
        "completeness omission",
        "error",
        "quarantine",
        "Không lập được mã định danh: thiếu {limit}.",
        "No identifier can be made: {limit} is missing.",
    ),
    Rule(
        "identifier.duplicate",
        "conceptual consistency",
        "warning",
        "quarantine",
        "Mã định danh «{value}» bị lặp.",
        "Identifier '{value}' occurs more than once.",
    ),
    # --- the geometry ---------------------------------------------------------------------------------------------
    Rule(
        "geometry.missing",
        "completeness omission",
        "error",
        "quarantine",
        "Không có hình học.",
        "There is no geometry.",
    ),
    Rule(
        "geometry.type",
        "format consistency",
        "error",
        "quarantine",
        "Hình học kiểu {value}, hợp đồng yêu cầu {limit}.",
        "The geometry is a {value}; the contract asks for {limit}.",
    ),
    Rule(
        "geometry.unreadable",
        "format consistency",
        "error",
        "quarantine",
        "Hình học không đọc được.",
        "The geometry cannot be read.",
    ),
    Rule(
        "geometry.not_finite",
        "format consistency",
        "error",
        "quarantine",
        "Tọa độ không phải là số hữu hạn.",
        "A coordinate is not a finite number.",
    ),
    Rule(
        "geometry.invalid",
        "topological consistency",
        "error",
        "quarantine",
        "Hình học không hợp lệ: {value}.",
        "The geometry is invalid: {value}.",
    ),
    Rule(
        "geometry.repaired",
        "topological consistency",
        "warning",
        "repair",
        "Hình học không hợp lệ ({other}) đã được sửa; diện tích đổi {value} %.",
        "An invalid geometry ({other}) was repaired; its area changed by {value} %.",
        unit="%",
    ),
    Rule(
        "geometry.flattened",
        "format consistency",
        "info",
        "repair",
        "Đã bỏ giá trị Z/M của {value} đối tượng.",
        "Z/M values of {value} features were dropped.",
    ),
    Rule(
        "geometry.linearised",
        "format consistency",
        "info",
        "repair",
        "Đã chuyển cung của {value} đối tượng thành đoạn thẳng.",
        "Curves of {value} features were made into lines.",
    ),
    Rule(
        "geometry.duplicate",
        "completeness commission",
        "warning",
        "warn",
        "Hình học trùng hoàn toàn với đối tượng {other}.",
        "The geometry equals that of feature {other}.",
    ),
    Rule(
        "geometry.sliver",
        "topological consistency",
        "warning",
        "warn",
        "Mảnh vụn: diện tích {value} m², nhỏ hơn {limit} m².",
        "A sliver: {value} m² is less than {limit} m².",
        unit="m2",
    ),
    # --- the place ------------------------------------------------------------------------------------------------
    Rule(
        "place.outside",
        "absolute positional accuracy",
        "error",
        "refuse",
        "{value} đối tượng nằm ngoài phạm vi của lưới {limit}.",
        "{value} features lie outside the area of grid {limit}.",
    ),
    Rule(
        "place.proposal",
        "absolute positional accuracy",
        "info",
        "warn",
        "Tọa độ khớp với {value}: {limit} nằm trong phạm vi dự kiến, cách tâm {other}. "
        "Nếu đúng, hãy nạp lại với --crs.",
        "The coordinates fit {value}: {limit} inside the expected extent, {other} from its middle. "
        "If that is right, deliver again with --crs.",
    ),
    Rule(
        "place.operation",
        "absolute positional accuracy",
        "warning",
        "warn",
        "Các điểm khống chế khớp với phép chuyển EPSG:{value}, không phải EPSG:{limit} đã khai: {other}.",
        "The control points fit operation EPSG:{value}, not EPSG:{limit} as delivered: {other}.",
    ),
    # --- between features -----------------------------------------------------------------------------------------
    Rule(
        "coverage.overlap",
        "topological consistency",
        "warning",
        "warn",
        "Chồng lấn {value} m² với {other}.",
        "Overlaps {other} by {value} m².",
        unit="m2",
    ),
    # --- between attributes ---------------------------------------------------------------------------------------
    Rule(
        "area.legal",
        "quantitative attribute correctness",
        "warning",
        "warn",
        "Diện tích {attribute} là {value} m², đo trên bản đồ {other} m² (cho phép lệch {limit} m²).",
        "{attribute} is {value} m², the map measures {other} m² (tolerance {limit} m²).",
        unit="m2",
    ),
    Rule(
        "identifier.place",
        "thematic classification correctness",
        "warning",
        "warn",
        "Mã định danh thửa «{value}» giải mã ra điểm nằm ngoài thửa.",
        "Parcel id '{value}' decodes to a point outside the parcel.",
    ),
    # --- coverages ------------------------------------------------------------------------------------------------
    Rule(
        "raster.type",
        "format consistency",
        "error",
        "refuse",
        "Kiểu dữ liệu {value}, hợp đồng yêu cầu {limit}.",
        "The data type is {value}; the contract asks for {limit}.",
    ),
    Rule(
        "raster.nodata",
        "format consistency",
        "error",
        "refuse",
        "Không khai báo giá trị nodata.",
        "No nodata value is declared.",
    ),
    Rule(
        "raster.resolution",
        "format consistency",
        "error",
        "refuse",
        "Độ phân giải {value} m nằm ngoài khoảng {limit} m.",
        "The resolution {value} m is outside {limit} m.",
    ),
    Rule(
        "raster.bands",
        "format consistency",
        "error",
        "refuse",
        "Có {value} kênh, hợp đồng yêu cầu {limit}.",
        "There are {value} bands; the contract asks for {limit}.",
    ),
    Rule(
        "raster.range",
        "domain consistency",
        "warning",
        "warn",
        "Giá trị {value} của kênh {attribute} nằm ngoài khoảng {limit}.",
        "Value {value} of band {attribute} is outside {limit}.",
    ),
]

RULES: dict[str, Rule] = {rule.code: rule for rule in _RULES}
