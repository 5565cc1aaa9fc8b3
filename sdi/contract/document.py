"""A YAML file as plain values, and the line on which each of them stands.

YAML 1.2 core schema, so `no` is a word; and, stricter than it, digits with a leading zero stay text (01234: a commune).
Parsed by libyaml: a pure Python parser took 40 times as long for the contracts of one city.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import yaml

try:
    from yaml import CLoader as _Parser
except ImportError:  # PyYAML built without libyaml
    from yaml import Loader as _Parser

_SCALARS: dict[str, tuple[re.Pattern[str], Callable[[str], Any]]] = {
    "null": (re.compile(r"~|null|Null|NULL|"), lambda text: None),
    "bool": (re.compile(r"true|True|TRUE|false|False|FALSE"), lambda text: text.lower() == "true"),
    "int": (re.compile(r"[-+]?(0|[1-9][0-9]*)"), int),
    "float": (re.compile(r"[-+]?(0|[1-9][0-9]*)?\.[0-9]+([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"), float),
}


class DocumentError(ValueError):
    """The text is no YAML, or says a key twice. `line` counts from 1."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True)
class Document:
    value: Any
    _root: yaml.Node | None

    def line(self, place: Iterable[str | int]) -> int:
        """The line (from 1) of the deepest node on a path that the file has; of a key where the path ends in one."""
        node, line = self._root, 1
        for step in place:
            if isinstance(node, yaml.MappingNode):
                found = next(((key, value) for key, value in node.value if key.value == str(step)), None)
                if found is None:
                    break
                line, node = found[0].start_mark.line + 1, found[1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
                node = node.value[step]
                line = node.start_mark.line + 1
            else:
                break
        return line


def read_document(text: str) -> Document:
    """Parse one YAML document. Raises DocumentError."""
    try:
        root = yaml.compose(text, Loader=_Parser)
    except yaml.MarkedYAMLError as error:
        raise DocumentError(
            error.problem_mark.line + 1 if error.problem_mark else 1, f"is not YAML: {error.problem}"
        ) from None
    except yaml.YAMLError as error:
        raise DocumentError(1, f"is not YAML: {getattr(error, 'reason', 'a character that YAML forbids')}") from None
    return Document(None if root is None else _plain(root), root)


def _plain(node: yaml.Node) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item) for item in node.value]
    if isinstance(node, yaml.ScalarNode):
        if node.style in ("'", '"', "|", ">"):
            return node.value
        for pattern, value in _SCALARS.values():
            if pattern.fullmatch(node.value):
                return value(node.value)
        return node.value
    values: dict[str, Any] = {}
    for key, value in node.value:
        if key.value in values:
            raise DocumentError(key.start_mark.line + 1, f"'{key.value}' stands twice")
        values[key.value] = _plain(value)
    return values
