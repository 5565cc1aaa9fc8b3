"""Control points tell by which operation a file in WGS 84 was made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sdi.contract.delivery import Request
from sdi.errors import SourceError
from sdi.ingest.control import fit_control_points


def test_the_points_of_quang_ngai_fit_the_operation_of_old_web_maps(shared_data: Callable[[str], Path]) -> None:
    fit = fit_control_points(Request(shared_data("vn_planning_quangngai") / "diemmockhongchedothi.geojson"))
    assert (fit.points, fit.grid) == (57, 5898)
    residuals = dict(fit.operations)
    assert residuals[5194] == pytest.approx(0.043, abs=0.002)
    assert residuals[6960] == pytest.approx(0.740, abs=0.005)
    finding = fit.finding(6960)
    assert finding is not None
    assert "EPSG:5194, not EPSG:6960" in finding.sentence("en")
    assert fit.finding(5194) is None


def test_a_file_without_plane_coordinates_is_no_file_of_control_points(shared_data: Callable[[str], Path]) -> None:
    with pytest.raises(SourceError, match="one column X"):
        fit_control_points(Request(shared_data("vn_planning_quangngai") / "SongPhuocGiang.geojson"))
