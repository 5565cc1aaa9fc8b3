"""`sdi layers`: what the contracts promise. Starts without a GIS library."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sdi.cli import show
from sdi.cli.app import Json, LayerId, app, desk
from sdi.contract.rules import RULES
from sdi.settings import ROOT

layers = typer.Typer(help="Hợp đồng dữ liệu của các lớp · The layers' contracts.", no_args_is_help=True)
app.add_typer(layers, name="layers")


@layers.command("list")
def list_(context: typer.Context, json: Json = False) -> None:
    """Các lớp dữ liệu · List the layers."""
    at = desk(context)
    if json:
        show.machine(
            [
                {"id": layer.id, "kind": layer.kind, "theme": layer.theme, "title": layer.title.model_dump()}
                for layer in at.registry
            ]
        )
        return
    rows = [
        (
            layer.id,
            layer.kind,
            layer.theme,
            layer.title.in_language(at.language),
            layer.steward.name.in_language(at.language),
        )
        for layer in at.registry
    ]
    show.table(["id", "kind", "theme", "title", "in charge"], rows, at.language)


@layers.command("show")
def show_(context: typer.Context, layer: LayerId, json: Json = False) -> None:
    """Một hợp đồng · Show one contract: its attributes, under which names they come, its checks."""
    at = desk(context)
    found = at.registry[layer]
    if json:
        show.machine(found.model_dump(mode="json", exclude_defaults=True))
        return
    language = at.language
    show.out.print(f"[bold]{found.title.in_language(language)}[/bold] ({found.id} {found.version})")
    show.out.print(found.description.in_language(language))
    for basis in found.legal_basis:
        show.out.print(f"  § {basis.reference} \\[{basis.confidence}]")
    rows = [
        (
            ("*" if attribute.required else "") + attribute.name,
            attribute.title.in_language(language),
            attribute.type + (f" ({attribute.code_list})" if attribute.code_list else ""),
            attribute.unit or "",
            attribute.privacy,
            ", ".join(filter(None, [attribute.official_name, *attribute.sources])),
        )
        for attribute in found.attributes
    ]
    show.table(["attribute", "title", "type", "unit", "privacy", "may come as"], rows, language)


@layers.command("check")
def check(
    context: typer.Context,
    folder: Annotated[Path | None, typer.Argument(exists=True, help="Thư mục hợp đồng · Folder of contracts.")] = None,
) -> None:
    """Kiểm tra các hợp đồng; liệt kê mọi lỗi · Check the contracts and list every fault."""
    from sdi.contract.registry import read_registry

    registry = read_registry(folder) if folder else desk(context).registry
    show.say(f"✓ {len(registry.layers)} layers, {len(registry.code_lists)} code lists")


@layers.command("rules")
def rules(context: typer.Context, json: Json = False) -> None:
    """Các quy tắc kiểm tra · The rules a check can name."""
    if json:
        show.machine([rule.__dict__ for rule in RULES.values()])
        return
    language = desk(context).language
    rows = [
        (rule.code, rule.severity, rule.action, rule.unit, rule.element, getattr(rule, language))
        for rule in RULES.values()
    ]
    show.table(["rule", "severity", "action", "unit", "ISO 19157", "sentence"], rows, language)


@layers.command("build")
def build(
    context: typer.Context,
    folder: Annotated[Path, typer.Option(help="Thư mục đích · Where the files go.")] = ROOT / "schemas",
) -> None:
    """Sinh lại schemas/ từ các hợp đồng · Make schemas/ anew from the contracts."""
    from sdi.catalog.schema import generated

    files = generated(desk(context).registry)
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for path in folder.rglob("*.json"):
        if path.relative_to(folder).as_posix() not in files:
            path.unlink()
    show.say(f"✓ {len(files)} files in {folder.name}/")
