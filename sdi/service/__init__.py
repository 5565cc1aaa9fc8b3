"""The HTTP service: OGC APIs over published layers. `create_app` makes the application."""

from sdi.service.app import create_app

__all__ = ["create_app"]
