"""`sdi check`, `load`, `publish`, `withdraw`, `export`, `parcel`: a steward's day."""

from __future__ import annotations

import getpass
import unicodedata
from contextlib import closing
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from sdi.cli import show, target
from sdi.cli.app import Json, LayerId, app, desk
from sdi.contract.delivery import Request
from sdi.errors import UsageError
from sdi.national.text import encoding_name
from sdi.report.words import number

File = Annotated[Path, typer.Argument(metavar="FILE", help="Tệp dữ liệu · The file.")]
LayerInFile = Annotated[str | None, typer.Option("--layer-in-file", help="Lớp trong tệp · Which layer of the file.")]
Crs = Annotated[str | None, typer.Option(help="Hệ tọa độ của tệp · What the coordinates are, e.g. EPSG:9210.")]
Encoding = Annotated[str | None, typer.Option(help="Bảng mã · UTF-8, CP1258, TCVN3, VNI, …")]
Operation = Annotated[
    int, typer.Option(help="Phép chuyển VN-2000 → WGS 84 của người lập tệp (EPSG) · The maker's operation.")
]
Swap = Annotated[bool, typer.Option("--swap-axes", help="Tệp ghi X là hướng bắc · The file has X = north.")]
Grid = Annotated[int | None, typer.Option(help="Lưới lưu trữ cho tệp WGS 84 (EPSG) · Grid to store a WGS 84 file in.")]
Map = Annotated[
    list[str] | None, typer.Option("--map", metavar="SRC=ATTR", help="Cột nguồn = thuộc tính · Column = attribute.")
]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="ATTR=VALUE", help="Giá trị cho mọi đối tượng · For every feature.")
]
Area = Annotated[
    str | None, typer.Option(help="Mã đơn vị hành chính chứa dữ liệu · Administrative unit the data lie in.")
]
Day = Annotated[str | None, typer.Option("--date", help="Ngày của dữ liệu · The data's date, YYYY-MM-DD.")]
Steward = Annotated[str | None, typer.Option(help="Người nộp · Who hands it in.", envvar="SDI_STEWARD")]
Wait = Annotated[
    float, typer.Option(metavar="SECONDS", help="Chờ người đang nạp lớp này · Wait for whoever is loading the layer.")
]
LoadMode = Annotated[
    Literal["full", "partial"] | None,
    typer.Option("--mode", help="full: vắng mặt là kết thúc; partial: chỉ thêm và sửa · full: the absent has ended."),
]
EndedIds = Annotated[
    Path | None,
    typer.Option("--ended-ids", metavar="FILE.txt", help="Mã các đối tượng đã kết thúc, mỗi dòng một mã · Ended ids."),
]
AllowShrink = Annotated[
    bool, typer.Option("--allow-shrink", help="Cho phép kết thúc nhiều đối tượng · Let many features end.")
]
CheckAll = Annotated[
    bool,
    typer.Option(
        "--check-all",
        help="Xét lại mọi đối tượng với nhau, kể cả phần không đổi · Look again at what has not changed, too.",
    ),
]
Written = Annotated[
    Path, typer.Argument(metavar="FILE", callback=target.features, help="Tệp cần ghi · The file to be written.")
]
Findings = Annotated[
    Path | None,
    typer.Option(callback=target.findings, help="Ghi các phát hiện ra GeoPackage · Write the findings for QGIS."),
]
ReportTo = Annotated[
    Path | None,
    typer.Option("--report", callback=target.page, help="Biên bản HTML để xem và in · A page to read and to print."),
]
ControlPoints = Annotated[
    Path | None, typer.Option(help="Điểm khống chế có cả hai hệ tọa độ · Points known in both systems.")
]
ControlGrid = Annotated[int | None, typer.Option(help="Lưới của điểm khống chế · The grid of the control points.")]
Target = Annotated[
    str | None, typer.Option("--crs", help="EPSG:5897; mặc định là lưới của lớp · default: the layer's grid.")
]


@app.command("check")
def check(
    context: typer.Context, layer: LayerId, file: File, layer_in_file: LayerInFile = None, crs: Crs = None,
    encoding: Encoding = None, operation: Operation = 6960, grid: Grid = None, swap: Swap = False,
    map_: Map = None, set_: Set = None, area: Area = None, day: Day = None, findings: Findings = None,
    control_points: ControlPoints = None, control_grid: ControlGrid = None, report_to: ReportTo = None,
    mode: LoadMode = None, ended_ids: EndedIds = None, allow_shrink: AllowShrink = False,
    check_all: CheckAll = False, json: Json = False,
) -> None:  # fmt: skip
    """Kiểm tra một tệp, không ghi gì · Check a file; writes nothing."""
    from sdi import pipeline
    from sdi.pipeline import quality

    at = desk(context)
    target.require_apart(file, findings, report_to)
    request = _request(file, layer_in_file, crs, encoding, operation, grid, swap, map_, set_, area, day, None)
    request = replace(
        request, mode=mode, ended=_ids(ended_ids), allow_shrink=allow_shrink, check_all=check_all
    )  # fmt: skip
    fit = pipeline.fit(at.settings, control_points, control_grid) if control_points else None
    with show.progress(file.name, at.language) as step, pipeline.reading(at.settings) as connection:
        checked = pipeline.check(connection, at.settings, at.registry, layer, request, progress=step)
        with closing(checked):
            report = checked.report
            wrong_operation = fit.finding(operation) if fit else None
            if wrong_operation:
                report.findings.insert(0, wrong_operation)
            account = None
            if report_to:
                account = quality.account_of_check(checked, at.registry[layer], at.settings, login())
    if json:
        facts = {"points": fit.points, "grid": fit.grid, "operations": fit.operations} if fit else None
        show.machine(report.to_json() | {"delivery": checked.delivery.to_json(), "control_points": facts})
    else:
        show.delivery(checked.delivery, at.language)
        if fit:
            shown = ", ".join(f"EPSG:{code} {number(residual, at.language, 3)} m" for code, residual in fit.operations)
            show.out.print(f"  {fit.points} điểm khống chế · control points (EPSG:{fit.grid}): {shown}", markup=False)
        show.report(report, at.language)
    if findings:  # after what was found is told: the disk may be full
        pipeline.write_findings(findings, report)
    if report_to and account is not None:
        quality.write_report(report_to, account, at.language)
    if report.refused or report.quarantined:
        raise typer.Exit(1)


@app.command("load")
def load(
    context: typer.Context, layer: LayerId, file: File, layer_in_file: LayerInFile = None, crs: Crs = None,
    encoding: Encoding = None, operation: Operation = 6960, grid: Grid = None, swap: Swap = False,
    map_: Map = None, set_: Set = None, area: Area = None, day: Day = None, steward: Steward = None,
    mode: LoadMode = None, ended_ids: EndedIds = None, allow_shrink: AllowShrink = False, wait: Wait = 0.0,
    check_all: CheckAll = False, findings: Findings = None, report_to: ReportTo = None, json: Json = False,
) -> None:  # fmt: skip
    """Nạp một tệp trong một giao dịch · Load a file in one transaction."""
    from sdi import pipeline
    from sdi.cli.database import migrated
    from sdi.pipeline import quality

    at = desk(context)
    target.require_apart(file, findings, report_to)
    request = _request(file, layer_in_file, crs, encoding, operation, grid, swap, map_, set_, area, day, steward)
    request = replace(
        request, mode=mode, ended=_ids(ended_ids), allow_shrink=allow_shrink, check_all=check_all
    )  # fmt: skip
    with migrated(at) as connection, show.progress(file.name, at.language) as step:
        outcome = pipeline.deliver(
            connection,
            at.settings,
            at.registry,
            layer,
            request,
            progress=step,
            wait=wait,
            waiting=show.waiting(),
        )
    if json:
        show.machine(outcome.to_json())
    else:
        show.delivery(outcome.delivery, at.language)
        show.report(outcome.report, at.language)
        show.out.print(outcome.sentence(at.language), markup=False)
    if findings:
        pipeline.write_findings(findings, outcome.report)
    if report_to:
        with pipeline.reading(at.settings, needed=True) as reader:
            assert reader is not None
            account = quality.account_of(reader, at.settings, at.registry, str(outcome.load_id))
        quality.write_report(report_to, account, at.language)
    if outcome.report.refused:
        raise typer.Exit(1)


@app.command("publish")
def publish(context: typer.Context, layer: LayerId) -> None:
    """Công bố một lớp · Serve a layer."""
    _switch(context, layer, "publish")


@app.command("withdraw")
def withdraw(context: typer.Context, layer: LayerId) -> None:
    """Ngừng công bố một lớp; dữ liệu còn nguyên · Stop serving a layer; its rows stay."""
    _switch(context, layer, "withdraw")


def _switch(context: typer.Context, layer: str, verb: str) -> None:
    from sdi.cli.database import migrated
    from sdi.store import ledger

    at = desk(context)
    with migrated(at) as connection:
        getattr(ledger, verb)(connection, at.registry[layer])
    show.say(f"✓ {verb} {layer}")


@app.command("export")
def export(context: typer.Context, layer: LayerId, file: Written, crs: Target = None) -> None:
    """Xuất một lớp ra tệp · Write a layer to a file (.gpkg .geojson .fgb .shp .csv .tab .mif)."""
    from sdi import pipeline

    at = desk(context)
    found = at.registry[layer]
    with pipeline.reading(at.settings, needed=True) as connection:
        assert connection is not None
        names = [attribute.name for attribute in found.stored]
        count = pipeline.write_layer(connection, at.settings, found, file, crs, names)
    show.say(f"✓ {number(count, at.language)} → {file}")


@app.command("parcel")
def parcel(context: typer.Context, parcel_id: Annotated[str, typer.Argument(metavar="ID")], json: Json = False) -> None:
    """Hồ sơ một thửa đất · All that is known of one parcel, as the public sees it."""
    from sdi.service.dossier import of_subject

    at = desk(context)
    document = of_subject(at.settings, at.registry, "parcels", parcel_id, at.language)
    if json:
        show.machine(document)
    else:
        show.dossier(document, at.registry, at.language)


def _request(
    file: Path, layer_in_file: str | None, crs: str | None, encoding: str | None, operation: int, grid: int | None,
    swap: bool, mapping: list[str] | None, constants: list[str] | None, area: str | None, day: str | None,
    steward: str | None,
) -> Request:  # fmt: skip
    if encoding is not None:
        encoding_name(encoding)  # before anything is read
    try:
        when = date.fromisoformat(day) if day else None
    except ValueError:
        raise UsageError(f"--date {day} is not a date.", hint="Write 2026-11-21.") from None
    return Request(
        path=file, layer_in_file=layer_in_file, crs=crs, encoding=encoding, operation=operation, grid=grid,
        swapped=swap, mapping=_pairs(mapping, "--map"), constants=_pairs(constants, "--set"), area=area, day=when,
        steward=steward or login(),
    )  # fmt: skip


def _ids(path: Path | None) -> tuple[str, ...]:
    """The ids that stand in a text file, one a line; what follows # is a remark."""
    if path is None:
        return ()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError:
        raise UsageError(f"--ended-ids: {path.name} cannot be read.", hint=_ONE_A_LINE) from None
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:  # UTF-16 has one in every Latin letter, and PostgreSQL's text none
        raise UsageError(f"--ended-ids: {path.name} is not UTF-8.", hint=_ONE_A_LINE)
    words = (unicodedata.normalize("NFC", line.partition("#")[0].strip()) for line in text.splitlines())
    return tuple(dict.fromkeys(filter(None, words)))


_ONE_A_LINE = "Write one id a line, in a text file in UTF-8."


def _pairs(given: list[str] | None, option: str) -> dict[str, Any]:
    pairs = {}
    for pair in given or []:
        name, separator, value = pair.partition("=")
        if not separator or not name:
            raise UsageError(f"{option} {pair} is not of the form NAME=VALUE.")
        pairs[name.strip()] = value.strip()
    return pairs


def login() -> str:
    """Who sits at the terminal."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
