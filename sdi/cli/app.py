"""The commands and what they share: settings, contracts, language."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

import typer

from sdi import __version__
from sdi.contract.registry import Registry, read_registry
from sdi.errors import UsageError
from sdi.settings import Settings, read_settings

app = typer.Typer(
    help="Hạ tầng dữ liệu không gian đô thị · Urban spatial data infrastructure.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@dataclass
class Desk:
    """What every command works with; each part is read when it is first needed."""

    language: str = "vi"

    @cached_property
    def settings(self) -> Settings:
        return read_settings()

    @cached_property
    def registry(self) -> Registry:
        return read_registry(self.settings.layers)


Json = Annotated[bool, typer.Option("--json", help="In ra JSON cho máy đọc · Print JSON for machines.")]
LayerId = Annotated[str, typer.Argument(metavar="LAYER", help="Mã lớp dữ liệu · Layer id (sdi layers list).")]


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def start(
    context: typer.Context,
    lang: Annotated[
        Literal["vi", "en"], typer.Option(help="Ngôn ngữ · Language of messages.", envvar="SDI_LANG")
    ] = "vi",
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Phiên bản · Version.")
    ] = False,
) -> None:
    context.ensure_object(Desk).language = lang
    _require_utf8(sys.argv[1:])


def _require_utf8(words: list[str]) -> None:
    """What a terminal in an old encoding hands over is no text that a database takes."""
    for word in words:
        if (told := word.encode(errors="replace").decode()) != word:
            raise UsageError(f"'{told}' is not UTF-8.", hint="Have the terminal write UTF-8, or rename the file.")


def desk(context: typer.Context) -> Desk:
    found: Desk = context.obj
    return found


# The commands register themselves on the app above.
from sdi.cli import (  # noqa: E402, F401
    agencies,
    audit,
    backup,
    database,
    deliveries,
    grants,
    history,
    layers,
    lineage,
    project,
    quality,
    requests,
    server,
    steward,
    webhooks,
)  # fmt: skip
