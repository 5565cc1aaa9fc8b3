"""The HTTP service: OGC APIs over published layers. `create_app` makes the application."""

from sdi.service.sparing import spare

spare()

from sdi.service.app import create_app  # noqa: E402

__all__ = ["create_app"]
