"""One delivery by `deliver()`, in a process of its own that loads what `sdi load` loads and nothing else: `ours.py URL
FILE FOLDER` prints how long each stage took. `ours.py URL FILE FOLDER alone` has the features read, conformed and held
against each other first, and times what brings them into the database while nothing else runs; `alike` does so with no
other indexes than ogr2ogr makes; with `back` the last load is rolled back."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any

STAGES = ("read and check", "load", "derive", "else")
FILLED = "filled and indexed"
GRID = 5897
LAYER = "cadastral_parcels"


class Absent:
    """Says of development libraries, which others load where they find them, that they are not there, as they are not
    where the project is deployed."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name in ("pandas", "geopandas"):
            raise ImportError(name)


def main(url: str, file: str, folder: str, how: str = "") -> None:
    sys.meta_path.insert(0, Absent())  # type: ignore[arg-type]
    ways = {"alone": loading_alone, "alike": loading_alike, "back": taking_back}
    print(json.dumps(ways.get(how, delivery)(url, Path(file), Path(folder))))


def delivery(url: str, file: Path, folder: Path) -> dict[str, Any]:
    from sdi.contract.delivery import Request
    from sdi.contract.registry import read_registry
    from sdi.settings import ROOT, Settings
    from sdi.store import derived, engine, loader

    whole = import_module("sdi.pipeline.deliver")
    spent: dict[str, float] = {}
    for module, function, stage in (
        (whole, "receive", 0), (whole.Received, "settle", 0), (loader, "fill_ahead", 1), (loader, "load", 1),
        (derived, "refresh", 2),
    ):  # fmt: skip
        setattr(module, function, clocked(getattr(module, function), STAGES[stage], spent))
    registry = read_registry(ROOT / "layers")
    settings = Settings(database_url=url, data=folder)
    begun = perf_counter()
    with engine.connect(url, engine.LOADER) as connection:
        outcome = whole.deliver(connection, settings, registry, LAYER, Request(file, steward="bench"))
    spent[STAGES[3]] = perf_counter() - begun - sum(spent.values())
    assert outcome.load is not None
    return {"written": outcome.load.written, "stages": spent, "whole": perf_counter() - begun}


def taking_back(url: str, file: Path, folder: Path) -> dict[str, Any]:
    """What `sdi rollback` does with the layer's last load: back to the one before it, the layers made of it too."""
    from sdi.contract.registry import read_registry
    from sdi.settings import ROOT, Settings
    from sdi.store import derived, engine, restore

    history, spent = import_module("sdi.pipeline.history"), dict[str, float]()
    for module, function, stage in ((restore, "restore", 1), (derived, "refresh", 2)):
        setattr(module, function, clocked(getattr(module, function), STAGES[stage], spent))
    registry, settings = read_registry(ROOT / "layers"), Settings(database_url=url, data=folder)
    begun = perf_counter()
    with engine.connect(url, engine.LOADER) as connection:
        loads = connection.execute(
            "SELECT load_id FROM sdi.load WHERE layer = %s ORDER BY load_id DESC LIMIT 2", [LAYER]
        ).fetchall()
        done = history.rollback(connection, settings, registry, LAYER, loads[1][0], steward="bench")
    spent[STAGES[3]] = perf_counter() - begun - sum(spent.values())
    return {"written": done.load.written, "stages": spent, "whole": perf_counter() - begun}


def loading_alone(url: str, file: Path, folder: Path) -> dict[str, Any]:
    """From features received to the commit, with nothing beside it; of that, until the table has them and all its
    indexes."""
    from sdi.contract.delivery import Request
    from sdi.contract.registry import read_registry
    from sdi.ingest.deliver import receive
    from sdi.settings import ROOT
    from sdi.store import engine, first, loader
    from sdi.store.standing import Standing

    registry, spent = read_registry(ROOT / "layers"), dict[str, float]()
    layer, request = registry[LAYER], Request(file, steward="bench")
    first.fill = clocked(first.fill, FILLED, spent)  # type: ignore[assignment]
    with (
        engine.connect(url, engine.LOADER) as connection,
        receive(request, layer, registry, grid=GRID, standing=Standing(connection, layer, ())) as received,
    ):
        report = received.report
        begun = perf_counter()
        with connection.transaction():
            load = loader.load(connection, layer, registry, received.features, None, received.delivery, report)
        return {"written": load.written, "stages": spent, "whole": perf_counter() - begun}


def loading_alike(url: str, file: Path, folder: Path) -> dict[str, Any]:
    """The same into a table that has a key and an index of places, which is what ogr2ogr makes, and no other index."""
    import psycopg
    from psycopg import sql

    with psycopg.connect(url) as connection:
        others = connection.execute(
            "SELECT n.nspname, c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
            " JOIN pg_am a ON a.oid = c.relam JOIN pg_class t ON t.oid = i.indrelid"
            " JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE t.relname = %s AND NOT i.indisprimary AND a.amname <> 'gist'",
            [LAYER],
        ).fetchall()
        for name in others:
            connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(*name)))
    return loading_alone(url, file, folder)


def clocked(function: Callable[..., Any], stage: str, spent: dict[str, float]) -> Callable[..., Any]:
    def timed(*args: Any, **options: Any) -> Any:
        begun = perf_counter()
        try:
            return function(*args, **options)
        finally:
            spent[stage] = spent.get(stage, 0.0) + perf_counter() - begun

    return timed


if __name__ == "__main__":
    main(*sys.argv[1:])
