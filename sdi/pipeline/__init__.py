"""What a steward does, from end to end: each stage on its page, the rooms below put together."""

from sdi.pipeline.deliver import (
    Outcome,
    check,
    deliver,
    fit,
    reading,
    write_findings,
    write_layer,
)
from sdi.pipeline.history import RolledBack, rollback, write_difference

__all__ = [
    "Outcome",
    "RolledBack",
    "check",
    "deliver",
    "fit",
    "reading",
    "rollback",
    "write_difference",
    "write_findings",
    "write_layer",
]
