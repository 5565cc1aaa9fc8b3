"""The words of a report, and what a person does next about each kind of finding."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from babel.dates import format_datetime, get_timezone
from babel.numbers import format_decimal

NEXT: dict[str, dict[str, str]] = {
    "vi": {
        "refuse": "Sửa trong tệp nguồn rồi nộp lại cả bộ dữ liệu.",
        "quarantine": "Xuất vùng cách ly ra GeoPackage, sửa trong QGIS rồi nạp lại; hoặc cho qua kèm lý do.",
        "warn": "Xem lại; đối tượng đã được nạp. Nếu sai, sửa ở lần nộp sau.",
        "repair": "Đã được sửa tự động; kiểm tra kết quả.",
        "waived": "Đã được cho qua theo quyết định của người phụ trách.",
    },
    "en": {
        "refuse": "Correct the source file and deliver the whole set again.",
        "quarantine": "Export the quarantine, correct it in QGIS and load it again; or waive it with a reason.",
        "warn": "Look at it; the features were loaded. If they are wrong, correct them in the next delivery.",
        "repair": "It was repaired; look at the result.",
        "waived": "The steward lets it pass.",
    },
}
NOT_LOADED: dict[str, dict[str, str]] = {
    "vi": {
        "quarantine": "Sửa trong tệp nguồn trước khi nộp, nếu không sẽ bị cách ly; hoặc cho qua kèm lý do.",
        "warn": "Xem lại; nếu sai, sửa trong tệp nguồn trước khi nộp.",
        "repair": "Sẽ được sửa tự động khi nạp; nếu không muốn, sửa trong tệp nguồn.",
        "waived": "Sẽ được cho qua theo quyết định của người phụ trách.",
    },
    "en": {
        "quarantine": "Correct it in the source file, or it goes to quarantine; or waive it with a reason.",
        "warn": "Look at it; if it is wrong, correct the source file before it is delivered.",
        "repair": "It will be repaired by the load; if that is not wanted, correct the source file.",
        "waived": "The steward will let it pass.",
    },
}
"""What is to be done instead where nothing was loaded: by a check, and by a delivery that is refused."""
ACTIONS = {
    "vi": {"refuse": "Từ chối", "quarantine": "Cách ly", "warn": "Cảnh báo", "repair": "Đã sửa", "waived": "Cho qua"},
    "en": {
        "refuse": "Refused",
        "quarantine": "Quarantine",
        "warn": "Warning",
        "repair": "Repaired",
        "waived": "Waived",
    },
}
SEVERITIES = {
    "vi": {"error": "Lỗi", "warning": "Cảnh báo", "info": "Thông tin"},
    "en": {"error": "Error", "warning": "Warning", "info": "Information"},
}
STATES = {
    "vi": {"open": "chờ sửa", "corrected": "đã sửa", "waived": "cho qua", "repeated": "nộp lại vẫn lỗi",
           "undone": "đã hoàn tác cùng lần nạp", "in force": "còn hiệu lực", "expired": "hết hạn", "revoked": "đã rút"},
    "en": {"open": "open", "corrected": "corrected", "waived": "waived", "repeated": "delivered again with a fault",
           "undone": "taken back with its load", "in force": "in force", "expired": "expired", "revoked": "revoked"},
}  # fmt: skip
TEXTS: dict[str, dict[str, str]] = {
    "vi": {
        "title": "Biên bản tiếp nhận dữ liệu",
        "load": "Lần nạp",
        "check": "Kiểm tra thử, chưa ghi gì",
        "done": "Đã nạp",
        "done_all": "Đã nạp toàn bộ, không có đối tượng nào bị giữ lại.",
        "done_part": "Đã nạp {good} đối tượng; {held} đối tượng bị cách ly, chưa được nạp.",
        "refused": "Bị từ chối",
        "refused_text": "Bộ dữ liệu không được nạp. Dữ liệu cũ vẫn được phục vụ.",
        "checked": "Kiểm tra",
        "checked_text": "{good} đối tượng sẽ được nạp, {held} sẽ bị cách ly.",
        "checked_refused": "Nếu nộp như thế này, cả bộ dữ liệu sẽ bị từ chối.",
        "delivered": "Dữ liệu đã nộp",
        "layer": "Lớp dữ liệu",
        "file": "Tệp",
        "steward": "Người nộp",
        "agency": "Cơ quan chủ quản",
        "moment": "Thời điểm",
        "encoding": "Bảng mã",
        "crs": "Hệ tọa độ đọc được",
        "declared": "tệp khai {crs}",
        "grid": "Lưới lưu trữ",
        "operation": "Phép chuyển sang WGS 84",
        "between": "Giữa các đối tượng",
        "since": "xét lại quanh chỗ thay đổi kể từ lần nạp {}; phần còn lại như đã phát hiện khi đó",
        "contract": "Hợp đồng dữ liệu",
        "mode": "Cách nộp",
        "full": "đầy đủ (thiếu là đã kết thúc)",
        "partial": "một phần (chỉ thêm và sửa)",
        "counts": "Kết quả",
        "read": "đã đọc",
        "good": "hợp lệ",
        "inserted": "thêm mới",
        "updated": "thay đổi",
        "deleted": "kết thúc",
        "unchanged": "không đổi",
        "kept": "giữ bản cũ",
        "quarantined": "cách ly",
        "dropped": "bỏ qua",
        "map": "Vị trí các phát hiện",
        "map_none": "Bản đồ dữ liệu",
        "map_note": "Tọa độ {grid} (E, N, mét). Nền: các đối tượng của lớp; đỏ: đối tượng bị cách ly.",
        "thinned": "Bản đồ vẽ {shown} trong {all} điểm.",
        "beyond": "{count} điểm nằm ngoài khung bản đồ.",
        "by_rule": "Tổng hợp theo quy tắc",
        "rule": "Quy tắc",
        "severity": "Mức độ",
        "action": "Xử lý",
        "count": "Số lượng",
        "next": "Việc cần làm",
        "list": "Chi tiết các phát hiện",
        "feature": "Đối tượng",
        "row": "Dòng",
        "sentence": "Nội dung",
        "place": "VN-2000 E, N (m)",
        "lonlat": "Kinh độ, vĩ độ",
        "more": "… còn {count} phát hiện nữa của quy tắc này; tất cả nằm trong GeoPackage: {command}",
        "nothing": "Không có phát hiện nào. Dữ liệu đúng hợp đồng.",
        "quality": "Chất lượng lớp dữ liệu sau lần nạp",
        "element": "Yếu tố",
        "measure": "Chỉ tiêu",
        "evaluated": "Đã xét",
        "faulty": "Còn lỗi",
        "rate": "Tỷ lệ",
        "waivers": "Các phát hiện được cho qua",
        "reason": "Lý do",
        "until": "Đến ngày",
        "state": "Hiệu lực",
        "held_now": "Đến nay, trong các đối tượng bị cách ly của lần nạp này:",
        "delivery": "cả bộ dữ liệu",
        "foot": "Lập tự động từ sổ dữ liệu. Không phải văn bản pháp lý. Giá trị cá nhân không được lưu.",
        "how": "Cách sửa đối tượng bị cách ly",
        "how_text": "Xuất ra GeoPackage, sửa trong QGIS (giữ nguyên các cột), lưu, rồi nạp lại:",
    },
    "en": {
        "title": "Report on a delivery",
        "load": "Load",
        "check": "A check, nothing was written",
        "done": "Loaded",
        "done_all": "All of it was loaded; no feature was kept out.",
        "done_part": "{good} features were loaded; {held} are in quarantine and were not.",
        "refused": "Refused",
        "refused_text": "Nothing was loaded. The old data are still served.",
        "checked": "Checked",
        "checked_text": "{good} features would be loaded, {held} put in quarantine.",
        "checked_refused": "Delivered like this, the whole set would be refused.",
        "delivered": "What was delivered",
        "layer": "Layer",
        "file": "File",
        "steward": "Handed in by",
        "agency": "Steward",
        "moment": "When",
        "encoding": "Encoding",
        "crs": "Read as",
        "declared": "the file says {crs}",
        "grid": "Stored in",
        "operation": "Operation to WGS 84",
        "between": "Between features",
        "since": "looked at again around what changed since load {}; elsewhere as found then",
        "contract": "Contract",
        "mode": "Mode",
        "full": "full (what is absent has ended)",
        "partial": "partial (adds and changes only)",
        "counts": "Outcome",
        "read": "read",
        "good": "good",
        "inserted": "new",
        "updated": "changed",
        "deleted": "ended",
        "unchanged": "unchanged",
        "kept": "old state kept",
        "quarantined": "quarantine",
        "dropped": "left out",
        "map": "Where the findings are",
        "map_none": "Map of the data",
        "map_note": "Coordinates in {grid} (E, N, metres). Ground: the layer's features; red: those in quarantine.",
        "thinned": "The map shows {shown} of {all} places.",
        "beyond": "{count} places lie beyond the frame.",
        "by_rule": "By rule",
        "rule": "Rule",
        "severity": "Severity",
        "action": "Done about it",
        "count": "Count",
        "next": "What to do next",
        "list": "The findings",
        "feature": "Feature",
        "row": "Row",
        "sentence": "What is wrong",
        "place": "VN-2000 E, N (m)",
        "lonlat": "Longitude, latitude",
        "more": "… and {count} more findings of this rule; all of them are in the GeoPackage: {command}",
        "nothing": "Nothing was found. The data keep the contract.",
        "quality": "The layer's quality after the load",
        "element": "Element",
        "measure": "Measure",
        "evaluated": "Evaluated",
        "faulty": "At fault",
        "rate": "Rate",
        "waivers": "Waived findings",
        "reason": "Reason",
        "until": "Until",
        "state": "State",
        "held_now": "By now, of the features that this load put in quarantine:",
        "delivery": "the whole delivery",
        "foot": "Made from the ledger. Not a legal document. Personal values are never stored.",
        "how": "How to correct what is in quarantine",
        "how_text": "Export it to a GeoPackage, correct it in QGIS (keep the columns), save, and load it again:",
    },
}


def next_steps(language: str, *, loaded: bool) -> dict[str, str]:
    """What to do about a finding, by its action; `loaded`: the delivery became part of the layer."""
    return NEXT[language] if loaded else NEXT[language] | NOT_LOADED[language]


def number(value: Any, language: str, decimals: int | None = None) -> str:
    """A number as people write it: `1.229,5` or in English `1,229.5`; with so many `decimals`, or at most three."""
    places = "###" if decimals is None else "0" * decimals
    return format_decimal(value, format=f"#,##0.{places}".rstrip("."), locale=language)


def percent(rate: float, language: str) -> str:
    """A share of 1; what is not nothing is never shown as 0."""
    shown = format_decimal(rate * 100, format="0.##", locale=language)
    return f"< {format_decimal(0.01, locale=language)} %" if rate and shown == "0" else f"{shown} %"


def moment(value: datetime, language: str) -> str:
    """In Vietnamese time."""
    form = "HH:mm, dd/MM/yyyy" if language == "vi" else "d MMM yyyy, HH:mm"
    return format_datetime(value, form, tzinfo=get_timezone("Asia/Ho_Chi_Minh"), locale=language)
