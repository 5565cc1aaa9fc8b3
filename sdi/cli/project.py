"""`sdi qgis-project`: the QGIS project of an agency, as a file."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from sdi.access import PUBLIC
from sdi.cli import show, target
from sdi.cli.app import app, desk
from sdi.cli.database import migrated


@app.command("qgis-project")
def qgis_project(
    context: typer.Context,
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar="FILE.qgz", callback=target.writable, help="Tệp dự án · The project's file."
        ),
    ],
    agency: Annotated[
        str, typer.Option(help="Cơ quan xem các lớp; bỏ trống là công chúng · Whose layers; else the public's.")
    ] = PUBLIC.id,
    url: Annotated[
        str | None, typer.Option(help="Địa chỉ dịch vụ trong dự án · The service's address; else SDI_URL.")
    ] = None,
) -> None:
    """Ghi dự án QGIS có mọi lớp mà cơ quan được xem · Write a QGIS project of all that an agency may see."""
    from sdi.ingest.entire import entire
    from sdi.service.portrayal import project

    at = desk(context)
    migrated(at).close()
    settings = at.settings if url is None else at.settings.model_copy(update={"url": url})
    made = asyncio.run(project.of_agency(settings, at.registry, agency, at.language))
    with entire(out) as part:
        part.write_bytes(made)
    show.say(f"✓ {out}")
