"""The headings of the terminal's tables in Vietnamese, and our own words that stand in their columns."""

from __future__ import annotations

from collections.abc import Mapping

from sdi.report.words import ACTIONS, SEVERITIES, STATES

HEADINGS = {
    "action": "xử lý",
    "actions": "được làm gì",
    "administrator": "quản trị",
    "agency": "cơ quan",
    "answer": "trả lời",
    "area": "địa bàn",
    "at": "lúc",
    "attribute": "thuộc tính",
    "attributes": "thuộc tính",
    "count": "số lượng",
    "crs": "hệ tọa độ",
    "dates": "thời hạn",
    "due": "hạn trả lời",
    "element": "yếu tố",
    "evaluated": "đã xét",
    "expires UTC": "hết hạn (UTC)",
    "failed": "lần lỗi",
    "faulty": "có lỗi",
    "feature": "đối tượng",
    "file": "tệp",
    "gave up UTC": "thôi gọi (UTC)",
    "given UTC": "ghi lúc (UTC)",
    "grant": "quyền số",
    "held": "cách ly",
    "in charge": "phụ trách",
    "key": "khóa",
    "kind": "loại",
    "layer": "lớp",
    "layers": "lớp",
    "legal basis": "căn cứ pháp lý",
    "load": "lần nạp",
    "made UTC": "cấp lúc (UTC)",
    "may": "được làm gì",
    "may come as": "tên cột có thể gặp",
    "measure": "phép đo",
    "member": "người",
    "merged into": "nhập vào",
    "mode": "kiểu nạp",
    "name": "tên",
    "next UTC": "gọi lại (UTC)",
    "note": "ghi chú",
    "nr": "số",
    "op": "phép chuyển",
    "outcome": "kết quả",
    "privacy": "mức chia sẻ",
    "purpose": "mục đích",
    "rate": "tỷ lệ",
    "read": "đã đọc",
    "reason": "lý do",
    "request": "yêu cầu",
    "revoked": "thu hồi",
    "revoked UTC": "thu hồi (UTC)",
    "revoked by": "người rút",
    "row": "dòng",
    "rule": "quy tắc",
    "seen": "được xem",
    "sentence": "câu báo",
    "seq": "số",
    "severity": "mức độ",
    "since": "từ",
    "started UTC": "bắt đầu (UTC)",
    "state": "tình trạng",
    "status": "tình trạng",
    "steward": "người nộp",
    "text": "bảng mã",
    "theme": "chủ đề",
    "title": "tên",
    "told UTC": "đã báo (UTC)",
    "type": "kiểu",
    "unit": "đơn vị",
    "until": "đến hết",
    "waived": "cho qua",
    "what": "phần nào",
    "why": "lý do",
}
"""What is the same in both languages is not here."""
STATUSES = {"vi": {"running": "đang chạy", "done": "xong", "refused": "bị từ chối", "failed": "bị đứt"}}
_CELLS = {"status": STATUSES, "state": STATES, "severity": SEVERITIES, "action": ACTIONS}


def heading(column: str, language: str) -> str:
    """A column's heading in a language."""
    return HEADINGS.get(column, column) if language == "vi" else column


def our_words(column: str, language: str) -> Mapping[str, str]:
    """How the words of ours that stand in a column's cells are said in a language."""
    return _CELLS[column][language] if column in _CELLS and language == "vi" else {}
