"""How many rows a table of a file geodatabase says it has. Where the file that tells the place of each row (.gdbtablx)
is damaged, GDAL takes the table for an empty or a shorter one, without a word.

The format is not published; what is read here is the same in all versions that GDAL reads (9 to 10, and the one with
64-bit object ids): table 1 is the catalogue, whose row n names table n, kept in a0000000n.gdbtable.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

_CATALOGUE = "GDB_SystemCatalog"
_COUNT_AT = {3: (4, 4), 4: (16, 8)}
"""Version of a table's file -> place and bytes of the number of its rows that are not deleted."""


def rows(path: Path, layer: str) -> int:
    """The rows that a layer of the geodatabase in the folder `path` says it has; 0 where it names no such table. Raises
    ValueError for a table that is of no known version, as a damaged one seems to be."""
    table = _tables(path).get(layer) if path.is_dir() else None
    if table is None:
        return 0
    with table.open("rb") as file:
        head = file.read(40)
    version = int.from_bytes(head[:4], "little")
    if version not in _COUNT_AT or len(head) < 40:
        raise ValueError(f"{table.name} is of no known version")
    at, size = _COUNT_AT[version]
    return int.from_bytes(head[at : at + size], "little")


@cache
def _tables(path: Path) -> dict[str, Path]:
    """The file of each table's rows. GDAL numbers the catalogue's rows as the geodatabase does."""
    import pyogrio

    _, catalogue = pyogrio.read_arrow(path, layer=_CATALOGUE, columns=["Name"], return_fids=True)
    numbers = catalogue.drop_columns(["Name"]).column(0).to_pylist()
    files = {part.name.lower(): part for part in path.iterdir()}
    return {
        name: files[part]
        for name, number in zip(catalogue["Name"].to_pylist(), numbers, strict=True)
        if (part := f"a{number:08x}.gdbtable") in files
    }
