"""The terminal: results to stdout, talk and progress to stderr. The only place with typer and rich."""

from __future__ import annotations

import sys

from sdi.errors import SdiError


def main() -> None:
    """Run `sdi` and leave with the exit code that errors.py lists."""
    from sdi.cli.app import Desk, app
    from sdi.cli.show import complain

    at = Desk()
    try:
        app(obj=at)
    except SdiError as error:
        complain(error, at.language)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
