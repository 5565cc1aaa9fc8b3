"""`sdi backup`, `sdi restore`: everything in one file, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from sdi.cli import show
from sdi.cli.app import Json, app, desk
from sdi.report.words import number
from sdi.store import engine

Target = Annotated[Path, typer.Argument(metavar="FILE|FOLDER", help="Tệp hoặc thư mục đích · File, or folder for it.")]
Source = Annotated[Path, typer.Argument(metavar="FILE", help="Bản sao lưu · The backup.")]
Verify = Annotated[
    bool, typer.Option("--verify", help="Khôi phục thử vào một cụm mới và so băm · Restore it apart and compare.")
]


@app.command("backup")
def backup(context: typer.Context, target: Target, verify: Verify = False, json: Json = False) -> None:
    """Sao lưu cơ sở dữ liệu và tệp phủ · Back up the database and the coverages, as one moment has them."""
    from sdi.pipeline import backup as backups

    at = desk(context)
    with engine.connect(engine.database_url(at.settings)) as connection:
        done = backups.backup(connection, at.settings, at.registry, target)
    _tell("backup", done, at.language, json)
    if verify:
        _tell("verify", backups.verify(done.path), at.language, json)


@app.command("restore")
def restore(
    context: typer.Context,
    source: Source,
    replace: Annotated[
        bool, typer.Option("--replace", help="Bỏ dữ liệu đang có · Lose what the database holds.")
    ] = False,
    verify: Verify = False,
    json: Json = False,
) -> None:
    """Khôi phục một bản sao lưu · Restore a backup; --verify changes nothing and only looks whether it is whole."""
    from sdi.pipeline import backup as backups

    at = desk(context)
    if verify:
        _tell("verify", backups.verify(source), at.language, json)
        return
    with engine.connect(engine.database_url(at.settings)) as connection:
        done = backups.restore(connection, at.settings, source, replace=replace)
    _tell("restore", done, at.language, json)


def _tell(what: Literal["backup", "verify", "restore"], done: object, language: str, json: bool) -> None:
    from sdi.pipeline.backup import Backup

    assert isinstance(done, Backup)
    if json:
        show.machine({"done": what, "file": str(done.path), "bytes": done.size, "rows": done.rows,
                      "seconds": round(done.seconds, 3), "trail": done.trail, "manifest": done.manifest})  # fmt: skip
        return
    tables, files = len(done.manifest["tables"]), len(done.manifest["files"])
    words = WORDS[language]
    size, seconds = (number(value, language, 1) for value in (done.size / 1e6, done.seconds))
    show.out.print(
        f"✓ {words[what]} {done.path}: {size} MB · {tables} {words['tables']}, {number(done.rows, language)} "
        f"{words['rows']} · {files} {words['coverages']} · {seconds} s · {words['trail']}: {done.trail}",
        markup=False,
    )


WORDS = {
    "vi": {
        "backup": "đã sao lưu", "verify": "đã khôi phục thử, giống từng dòng", "restore": "đã khôi phục",
        "tables": "bảng", "rows": "dòng", "coverages": "tệp phủ", "trail": "nhật ký truy cập",
    },
    "en": {
        "backup": "backup", "verify": "verify", "restore": "restore", "tables": "tables", "rows": "rows",
        "coverages": "coverages", "trail": "trail",
    },
}  # fmt: skip
