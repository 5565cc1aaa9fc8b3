"""Rows of a file that say a feature has ended: change files name what was done to each (`thaoTac` D, X, xóa …).

Such a row is no feature. It needs an id and nothing else, so nothing is found in it but that it lacks one.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sdi.contract.layer import Layer
from sdi.ingest.cast import clean, to_text
from sdi.ingest.findings import Mask
from sdi.national.text import fold


def column(layer: Layer, names: list[str]) -> str | None:
    """The column that says what was done to each feature; None: the contract or the file has none."""
    if layer.load.ended is None:
        return None
    wanted = {fold(source) for source in layer.load.ended.sources}
    return next((name for name in names if fold(name) in wanted), None)


def said(table: pa.Table, layer: Layer) -> Mask:
    """The rows of a decoded part that say so."""
    name = column(layer, table.column_names)
    if name is None or layer.load.ended is None:
        return np.zeros(table.num_rows, dtype=bool)
    words = {fold(value) for value in layer.load.ended.values}
    encoded = pc.dictionary_encode(to_text(clean(table[name])))
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    meant = np.array([text is not None and fold(text) in words for text in encoded.dictionary.to_pylist()], dtype=bool)
    places = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    found: Mask = np.append(meant, False)[places]
    return found


def blank(columns: dict[str, pa.Array], rows: Mask) -> dict[str, pa.Array]:
    """The columns without the values of some rows, so that no check between features meets them."""
    if not rows.any():
        return columns
    mask = pa.array(rows)
    return {name: pc.if_else(mask, pa.scalar(None, values.type), values) for name, values in columns.items()}
