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
from sdi.pipeline.reform import Reformed, plan_reform, reform

__all__ = [
    "Outcome",
    "Reformed",
    "RolledBack",
    "check",
    "deliver",
    "fit",
    "plan_reform",
    "reading",
    "reform",
    "rollback",
    "write_difference",
    "write_findings",
    "write_layer",
]
