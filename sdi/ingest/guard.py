"""Text in CSV files that a spreadsheet would calculate: an apostrophe before it on the way out, none on the way in.

The convention is the spreadsheets' own: a cell that begins with an apostrophe is text. A guard that is taken for text
again (another program's) does no harm; one that is not there runs `=HYPERLINK(…)` on a planner's machine.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

type Column = pa.ChunkedArray | pa.Array

CALCULATED = r"^\s*[=+\-@\t\r\n]"
GUARDED = r"^'+\s*[=+\-@\t\r\n]"
NUMBER = r"^[+-]?\d+([.,]\d+)*([eE][+-]?\d+)?$"
"""A number with a sign is no formula: it stays as it is."""


def guard(column: Column) -> Column:
    """Put an apostrophe before text that would be calculated, and before what looks as if it were guarded already, so
    that `unguard` gives every text back as it was."""
    risky = pc.and_(
        pc.or_(pc.match_substring_regex(column, CALCULATED), pc.match_substring_regex(column, GUARDED)),
        pc.invert(pc.match_substring_regex(column, NUMBER)),
    )
    return pc.if_else(pc.fill_null(risky, False), pc.binary_join_element_wise("'", column, ""), column)


def unguard(table: pa.Table) -> pa.Table:
    """Take the apostrophes of `guard` from all text of a table."""
    for index, field in enumerate(table.schema):
        if not pa.types.is_string(field.type):
            continue
        column = table.column(index)
        if pc.any(pc.match_substring_regex(column, GUARDED)).as_py():
            made = pc.replace_substring_regex(column, r"^'('*\s*[=+\-@\t\r\n])", r"\1", max_replacements=1)
            table = table.set_column(index, field.name, made)
    return table
