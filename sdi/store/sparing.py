"""A delivery whose features are made only as far as they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


@runtime_checkable
class Sparing(Protocol):
    """Features, to be read as often as wanted."""

    def __call__(self) -> pa.RecordBatchReader: ...
    def heads(self, names: Sequence[str]) -> pa.RecordBatchReader | None:
        """These columns of all features; None: they take as long as all columns."""
        ...

    def chosen(self, which: NDArray[np.bool_]) -> pa.RecordBatchReader:
        """Some of the features, with all columns."""
        ...
