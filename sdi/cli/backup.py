"""`sdi backup`, `sdi restore`: everything in one file, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sdi.cli import show
from sdi.cli.app import Json, app, desk
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
    _tell("backup", done, json)
    if verify:
        _tell("verify", backups.verify(done.path), json)


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
        _tell("verify", backups.verify(source), json)
        return
    with engine.connect(engine.database_url(at.settings)) as connection:
        done = backups.restore(connection, at.settings, source, replace=replace)
    _tell("restore", done, json)


def _tell(what: str, done: object, json: bool) -> None:
    from sdi.pipeline.backup import Backup

    assert isinstance(done, Backup)
    if json:
        show.machine({"done": what, "file": str(done.path), "bytes": done.size, "rows": done.rows,
                      "seconds": round(done.seconds, 3), "trail": done.trail, "manifest": done.manifest})  # fmt: skip
        return
    tables, files = len(done.manifest["tables"]), len(done.manifest["files"])
    show.out.print(
        f"✓ {what} {done.path}: {done.size / 1e6:,.1f} MB · {tables} tables, {done.rows:,} rows · {files} coverages"
        f" · {done.seconds:.1f} s · nhật ký · trail: {done.trail}",
        markup=False,
    )
