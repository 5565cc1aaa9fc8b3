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

__all__ = ["Outcome", "check", "deliver", "fit", "reading", "write_findings", "write_layer"]
