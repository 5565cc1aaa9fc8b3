"""A layer to oneself: who may load it, who is at it already, and what a full disk of this machine looks like."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sdi.contract.delivery import Request
from sdi.contract.layer import Layer
from sdi.errors import StoreError
from sdi.ingest.entire import is_full
from sdi.store import hold, ledger, writers
from sdi.store.engine import Connection
from sdi.store.hold import Holder
from sdi.store.writers import Deed

Waiting = Callable[[Holder], None]
"""Called twice a second while somebody else has the layer."""
_PAUSE = 0.5


@contextmanager
def turn(
    connection: Connection, layer: Layer, request: Request, deed: Deed = "load", *,
    wait: float = 0.0, waiting: Waiting | None = None,
) -> Iterator[None]:  # fmt: skip
    """Take a layer before its file is read, and give it back at the end.

    wait: seconds to wait for another's load to end; 0: be told at once who it is. Raises NotAllowed when the layer has
    writers and the request's steward is none of them, StoreError when another load holds it or a disk here is full.
    """
    writers.require(connection, layer, request.steward, deed)
    until = time.monotonic() + wait
    while (holder := hold.take(connection, layer.id, request.steward, request.path.name)) is not None:
        left = until - time.monotonic()
        if left <= 0:
            raise holder.error()
        if waiting is not None:
            waiting(holder)
        time.sleep(min(_PAUSE, left))
    try:
        ledger.end_abandoned(connection, layer.id, 0)  # whoever ran before us and was killed
        with room():
            yield
    finally:
        hold.give_back(connection, layer.id)


def deed_of(layer: Layer, request: Request) -> Deed:
    """What a delivery is: one in part edits, one that says what there is, and so what has ended, loads."""
    return "edit" if (request.mode or layer.load.mode) == "partial" else "load"


@contextmanager
def room() -> Iterator[None]:
    """Say of a full disk of this machine that it is full. The database's own disk speaks for itself."""
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise
        raise no_room() from error


def no_room() -> StoreError:
    return StoreError(
        f"A disk of this machine is full (working files are in {tempfile.gettempdir()}).",
        hint="Free space there, or set TMPDIR and SDI_DATA to a larger disk; then run it again.",
    )
