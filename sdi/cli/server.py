"""`sdi serve`, `sdi demo`, `sdi doctor`: running the whole."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from sdi.cli import show
from sdi.cli.app import Desk, Json, app, desk
from sdi.errors import translated
from sdi.report.words import number
from sdi.settings import ROOT

Host = Annotated[str, typer.Option(help="Địa chỉ lắng nghe · Address to listen on.")]
Port = Annotated[int, typer.Option(help="Cổng · Port.")]


@app.command("serve")
def serve(
    context: typer.Context,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    workers: Annotated[int, typer.Option(help="Số tiến trình · Worker processes.")] = 1,
) -> None:
    """Phục vụ các lớp đã công bố · Serve the published layers."""
    at = desk(context)
    at.registry  # noqa: B018  a wrong contract is told here, once, and not by every worker
    _tell_address(at, host, port)
    # In the place of this process, whose commands and libraries take 60 MB of each worker. The workers read settings
    # and contracts themselves. Where it looks for modules is where this one has found them.
    command = [sys.executable, "-P", "-m", "uvicorn", *uvicorn_options(host, port, workers)]
    sys.stdout.flush()
    os.execv(sys.executable, command)


def _tell_address(at: Desk, host: str, port: int) -> None:
    """Where no public address is set, links begin with the one that is listened on."""
    if "url" not in at.settings.model_fields_set:
        local = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
        os.environ["SDI_URL"] = f"http://{local}:{port}"


def uvicorn_options(host: str, port: int, workers: int) -> list[str]:
    """How the service is run. Whose X-Forwarded-For is believed is a setting of the service; without ws no request is
    anything but HTTP. Who listens to changes does not hang up by himself when the service is to end.
    """
    return [
        "sdi.service.app:from_environment", "--factory", "--app-dir", str(ROOT), "--host", host, "--port", str(port),
        "--workers", str(workers), "--no-access-log", "--no-proxy-headers", "--no-server-header",
        "--log-level", "warning", "--http", "sdi.service.wall.protocol:Guarded", "--ws", "none",
        "--timeout-graceful-shutdown", "10",
    ]  # fmt: skip


@app.command("demo")
def demo(
    context: typer.Context,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    parcels: Annotated[int, typer.Option(help="Số thửa đất sinh ra · Parcels to generate.")] = 20_000,
    serving: Annotated[bool, typer.Option("--serve/--no-serve", help="Phục vụ sau khi nạp · Serve afterwards.")] = True,
) -> None:
    """Nạp thành phố mẫu rồi phục vụ · Load the demo city and serve it."""
    from sdi.store import cluster

    at = desk(context)
    folder = at.settings.data / "demo"
    _load_demo(at, folder, parcels)
    if serving:
        import uvicorn

        _tell_address(at, host, port)

        show.say(f"→ http://{host}:{port}   (Ctrl-C để dừng · to stop)")
        try:
            uvicorn.main.main(uvicorn_options(host, port, 1), standalone_mode=False)
        finally:
            if at.settings.database_url is None:
                cluster.stop(at.settings.data)


def _load_demo(at: Desk, folder: Path, parcels: int) -> None:
    from sdi import pipeline
    from sdi.cli.database import migrated
    from sdi.demo import city
    from sdi.store import ledger

    with migrated(at) as connection:
        done = {
            (entry.layer, entry.file_name)
            for entry in ledger.history(connection, limit=10_000)
            if entry.status == "done"
        }
        if not (folder / "truth.json").exists():
            show.say(f"· sinh thành phố mẫu · generating the demo city ({number(parcels, at.language)} parcels)")
            city.generate(folder, parcels=parcels)
        for layer, request in city.deliveries(folder):
            if (layer, request.path.name) in done:
                continue
            with show.progress(request.path.name, at.language) as step:
                outcome = pipeline.deliver(connection, at.settings, at.registry, layer, request, progress=step)
            show.say(f"  {layer} ← {request.path.name}: {outcome.sentence(at.language)}")
        for name, publication in ledger.published(connection).items():
            show.say(f"  {name}: {number(publication.count, at.language)}")


@app.command("doctor")
def doctor(context: typer.Context, json: Json = False) -> None:
    """Tìm lỗi cài đặt và cách sửa · Tell what is wrong with this set-up, and how to mend it."""
    from sdi import diagnosis

    at = desk(context)
    results = list(diagnosis.examine(at.settings))
    if json:
        show.machine([result.__dict__ for result in results])
    else:
        for result in results:
            mark = {"ok": "[green]✓[/green]", "warning": "[yellow]![/yellow]", "error": "[red]✗[/red]"}[result.state]
            what, finding = (_spoken(text, at.language) for text in (result.what, result.finding))
            show.out.print(f"{mark} {escape(what)}: {escape(finding)}")
            if result.cure:
                show.out.print(f"    → {escape(translated(result.cure, at.language, 'hints'))}")
    if any(result.state == "error" for result in results):
        sys.exit(4)


def _spoken(text: str, language: str) -> str:
    """What the doctor found; where nothing could be looked at, an error's message."""
    found = translated(text, language, "findings")
    return found if found != text else translated(text, language)
