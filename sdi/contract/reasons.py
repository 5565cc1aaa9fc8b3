"""The reasons that GEOS gives for an invalid geometry, in Vietnamese."""

REASONS = {
    "Self-intersection": "ranh giới tự cắt",
    "Ring Self-intersection": "vòng ranh giới tự cắt hoặc tự chạm",
    "Hole lies outside shell": "lỗ thủng nằm ngoài đường bao",
    "Holes are nested": "lỗ thủng lồng nhau",
    "Nested holes": "lỗ thủng lồng nhau",
    "Nested shells": "các phần nằm lồng nhau",
    "Interior is disconnected": "phần trong bị chia cắt",
    "Duplicate Rings": "vòng ranh giới lặp lại",
    "Too few points in geometry component": "quá ít đỉnh",
    "Invalid Coordinate": "tọa độ không hợp lệ",
    "Ring is not closed": "vòng ranh giới không khép kín",
    "Repeated Point": "đỉnh lặp lại",
    "Topology Validation Error": "lỗi hình học",
}
