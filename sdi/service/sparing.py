"""What libraries load for themselves and the service never uses: left out as long as nobody asks for it."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

_PARSERS = ("pygeofilter.parsers.cql2_text", "pygeofilter.parsers.cql2_json")
"""They make their grammars when they are loaded: 10 MB. pygeoapi loads both; filters are read by `sdi.store.cql`."""


def spare() -> None:
    """Called before anything else of the service is loaded."""
    for name in _PARSERS:
        if name not in sys.modules:
            sys.modules[name] = _Later(name)
    if "rich" not in sys.modules:
        # structlog loads it to print tracebacks in colours: 5 MB. The log is JSON.
        sys.modules["rich"] = None  # type: ignore[assignment]
        import_module("structlog")
        del sys.modules["rich"]


class _Later(ModuleType):
    """A parser's module that is loaded when it is called."""

    def parse(self, *given: Any, **more: Any) -> Any:
        sys.modules.pop(self.__name__, None)
        return import_module(self.__name__).parse(*given, **more)
