"""A delivery's features on their way into the store: their hashes, all of them or the chosen ones, and where they are
staged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from psycopg import sql

from sdi.contract.layer import Layer
from sdi.store import sending, tables
from sdi.store.content import row_hashes
from sdi.store.delta import STAGED, Values
from sdi.store.engine import Connection
from sdi.store.sparing import Sparing

HASH = pa.field("row_hash", pa.binary())
"""A feature's hash; a delivery may bring it (`content.row_hashes`)."""
type Reader = Callable[[], pa.RecordBatchReader]
"""Features, to be read as often as wanted."""


@dataclass(frozen=True)
class Arrived:
    """What is being written, and under which load."""

    layer: Layer
    features: Reader
    load_id: int

    @cached_property
    def sent(self) -> pa.Schema:
        return sending.schema(self.layer, self.features().schema)

    @cached_property
    def hashed(self) -> pa.Schema:
        """What is sent, and the hash of each row."""
        return pa.schema([*self.sent, HASH])

    @cached_property
    def told(self) -> bool:
        """Whether the features come with their hashes."""
        return HASH.name in self.features().schema.names

    @property
    def lists(self) -> list[str]:
        """The columns that are sent as text and are JSON."""
        return [attribute.name for attribute in self.layer.stored if attribute.type == "list"]

    def empty(self) -> list[str]:
        """The attributes that the first features have no values of; later ones may have some."""
        for first in self.features():
            stored = (attribute.name for attribute in self.layer.stored)
            return [name for name in stored if first[name].null_count == len(first)]
        return []

    def heads(self, wanted: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Some columns of all features, the hash among them."""
        few = self.features.heads(wanted.names) if self.told and isinstance(self.features, Sparing) else None
        if few is not None:
            yield from sending.fitted(few, wanted)
            return
        for rows in self.rows():
            yield pa.RecordBatch.from_arrays([rows[name] for name in wanted.names], schema=wanted)

    def rows(self, chosen: NDArray[np.bool_] | None = None) -> Iterator[pa.RecordBatch]:
        """The features, all or the chosen ones, with the hashes that came with them, else with ours."""
        if chosen is not None and isinstance(self.features, Sparing) and self.told:
            yield from sending.fitted(self.features.chosen(chosen), self.hashed)
            return
        reader, position, told = self.features(), 0, self.told
        for rows in sending.fitted(reader, self.hashed if told else self.sent):
            picked = rows if chosen is None else rows.filter(pa.array(chosen[position : position + len(rows)]))
            position += len(rows)
            if len(picked) and not told:
                columns = [*picked.columns, row_hashes(self.layer, picked)]
                picked = pa.RecordBatch.from_arrays(columns, schema=self.hashed)
            if len(picked):
                yield picked

    def stage(self, connection: Connection, chosen: NDArray[np.bool_] | None = None) -> Values:
        """Send features, all or the chosen ones, into STAGED; return the expressions that give its columns the layer's
        types."""
        columns = sending.columns(self.layer, self.hashed)
        connection.execute(sql.SQL("CREATE TEMPORARY TABLE {} ({}) ON COMMIT DROP").format(STAGED, columns))
        sending.copy_arrow(connection, STAGED, self.hashed, self.rows(chosen), self.lists)
        connection.execute(sql.SQL("ANALYZE {}").format(STAGED))
        names = (*tables.content(self.layer), "source_row", HASH.name)
        values = {name: sql.SQL("s.{}").format(sql.Identifier(name)) for name in names}
        for attribute in self.layer.stored:
            if attribute.type == "decimal":
                values[attribute.name] = sql.SQL("s.{}::numeric").format(sql.Identifier(attribute.name))
        return values
