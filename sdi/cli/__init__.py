"""The terminal: results to stdout, talk and progress to stderr. The only place with typer and rich."""

from __future__ import annotations

import os
import sys
from itertools import pairwise

from sdi.errors import SdiError


def main() -> None:
    """Run `sdi` and leave with the exit code that errors.py lists."""
    import typer
    from typer.exceptions import TyperException

    from sdi.cli.app import Desk, app
    from sdi.cli.show import complain, misused

    at = Desk(_language(sys.argv[1:]))
    try:
        left = app(obj=at, standalone_mode=False)
    except SdiError as error:
        complain(error, at.language)
        sys.exit(error.exit_code)
    except TyperException as error:
        misused(error, at.language)
        sys.exit(error.exit_code)
    except OSError as error:
        full = _full(error)
        if full is None:
            raise
        complain(full, at.language)
        sys.exit(full.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    sys.exit(left if isinstance(left, int) else 0)


def _full(error: OSError) -> SdiError | None:
    """What is said of a disk that takes no more; None: of something else."""
    from sdi.ingest.entire import is_full
    from sdi.pipeline.turn import no_room

    return no_room() if is_full(error) else None


def _language(words: list[str]) -> str:
    """The language that is asked for, whether or not the rest can be read: typer gives up at the first word that it
    does not know, which may stand before `--lang`."""
    said = os.environ.get("SDI_LANG")
    for word, following in pairwise([*words, ""]):
        if word.partition("=")[0] == "--lang":
            said = word.partition("=")[2] or following
    return "en" if said == "en" else "vi"
