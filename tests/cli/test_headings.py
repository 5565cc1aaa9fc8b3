"""Every heading of the terminal's tables is said in Vietnamese."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from sdi.cli import headings
from sdi.contract.layer import Action

CLI = Path(headings.__file__).parent
SAME = {"", "id", "ISO 19157", "№", "url", "+", "~", "-", "="}
"""What people write alike in both languages."""


def lists(function: ast.AST, name: str) -> Iterator[ast.expr]:
    """What a name is given within a function."""
    for each in ast.walk(function):
        if isinstance(each, ast.Assign) and any(isinstance(to, ast.Name) and to.id == name for to in each.targets):
            yield each.value


def told(function: ast.AST, columns: ast.expr) -> Iterator[str]:
    """The texts of a list of columns; those that `words` has are in a language already."""
    if isinstance(columns, ast.Name):
        for value in lists(function, columns.id):
            yield from told(function, value)
    elif isinstance(columns, ast.Starred):
        yield from told(function, columns.value)
    elif isinstance(columns, ast.List):
        for each in columns.elts:
            yield from told(function, each)
    elif isinstance(columns, ast.Constant):
        yield str(columns.value)
    else:
        assert "words" in ast.unparse(columns), f"what heads this column? {ast.unparse(columns)}"


def columns() -> Iterator[str]:
    for path in sorted(CLI.glob("*.py")):
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(function, ast.FunctionDef):
                for call in ast.walk(function):
                    if isinstance(call, ast.Call) and ast.unparse(call.func) == "show.table":
                        yield from told(function, call.args[0])


def test_every_heading_has_its_vietnamese_and_every_vietnamese_its_heading() -> None:
    assert set(columns()) - SAME == set(headings.HEADINGS)


@pytest.mark.parametrize("word", headings.HEADINGS)
def test_a_heading_is_said_in_both_languages(word: str) -> None:
    assert headings.heading(word, "en") == word
    assert headings.heading(word, "vi") != word


def test_words_of_ours_in_cells_are_said_in_vietnamese() -> None:
    assert headings.our_words("status", "vi")["refused"] == "bị từ chối"
    assert set(headings.our_words("action", "vi")) >= set(get_args(Action))
    assert headings.our_words("status", "en") == headings.our_words("layer", "vi") == {}
