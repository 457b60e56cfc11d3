"""A table for a terminal of a given width. Every text is a rich Text, never markup, so that brackets stay brackets."""

from __future__ import annotations

import io
import re

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from raybench.report.grid import Grid, GridCell, grid
from raybench.report.notes import notes, short_signatures
from raybench.report.table import Table

DEFAULT_WIDTH = 120
"""Columns where the caller knows of no terminal."""
_MAX_TEXT_WIDTH = 40
"""Longer names of tasks and metrics are folded."""
_MAX_NUMBER_WIDTH = 20
"""Longer names of models are folded; every usual number with its error fits."""
_MIN_NUMBER_WIDTH = 6
"""No column with its gap is narrower: bounds how many models are tried side by side."""


def render_terminal(table: Table, *, width: int | None = None, is_styled: bool = False) -> str:
    """The table, what has to be said about it, and the signatures of its numbers.

    Args:
        table: From `tabulate`.
        width: Columns of the terminal; None: 120. Models that do not fit side by side go into further tables.
        is_styled: Whether bold, dim and colour are written as escape codes; otherwise a best value has a star.
    """
    stream = io.StringIO()
    console = Console(
        file=stream, width=width or DEFAULT_WIDTH, force_terminal=is_styled, color_system="standard" if is_styled else None,
        no_color=False, legacy_windows=False, force_jupyter=False, markup=False, emoji=False, highlight=False,
    )  # fmt: skip
    if table.rows:
        for block in _blocks(console, table, is_styled=is_styled):
            console.print(block)
    else:
        console.print(Text("No results."))
    if not is_styled and any(cell.is_best for row in table.rows for cell in row.cells):
        console.print(Text("* best of its row"))
    for note in notes(table):
        style = "bold yellow" if note.text.startswith("PARTIAL") else "yellow" if note.is_warning else ""
        console.print(Text(note.text, style=style, overflow="fold"))
    for line in short_signatures(table):
        console.print(Text(_folded(line, console.width), style="dim", overflow="fold"))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def _blocks(console: Console, table: Table, *, is_styled: bool) -> list[RichTable]:
    """One table, or as many as the width demands, each with the same number of models (the last may have fewer)."""
    num_columns = len(table.columns)
    per_block = min(num_columns, max(console.width // _MIN_NUMBER_WIDTH, 1))
    while per_block > 1 and not _fits(console, _rich_table(grid(table, 0, per_block), is_styled=is_styled)):
        per_block -= 1
    is_tight = per_block == 1 and not _fits(console, _rich_table(grid(table, 0, 1), is_styled=is_styled))
    starts = range(0, num_columns, per_block)
    return [_rich_table(grid(table, start, start + per_block), is_styled=is_styled, is_tight=is_tight) for start in starts]


def _fits(console: Console, block: RichTable) -> bool:
    return Measurement.get(console, console.options.update(width=10_000), block).maximum <= console.width


def _folded(line: str, width: int) -> str:
    """A signature is one long word: it is folded between its parts, so that each can be read and searched for."""
    rows = [""]
    for part in re.findall(r"[^|]*\|?", line):
        if cell_len(rows[-1] + part) > width:
            rows.append("  ")
        rows[-1] += part
    return "\n".join(rows)


def _rich_table(lines: Grid, *, is_styled: bool, is_tight: bool = False) -> RichTable:
    """With `is_tight`, columns stand close and counts that are all 0 are left out: words are folded only where that does not help either."""
    shown = [i for i in range(len(lines.header)) if not is_tight or any(row.cells[i].text not in ("", "0") for row in lines.rows)]
    table = RichTable(
        box=box.HORIZONTALS,
        title=Text(lines.title, style="bold") if lines.title else None,
        title_justify="left",
        pad_edge=False,
        padding=(0, 0 if is_tight else 1, 0, 0),
    )
    for index in shown:
        is_text = index < lines.num_text_columns
        table.add_column(
            Text(lines.header[index], overflow="fold"),
            justify="left" if is_text else "right",
            overflow="fold",
            max_width=_MAX_TEXT_WIDTH if is_text else _MAX_NUMBER_WIDTH,
        )
    was_group = False
    for row in lines.rows:
        if row.is_group and not was_group:
            table.add_section()
        was_group = row.is_group
        table.add_row(*(_text(row.cells[i], is_styled=is_styled) for i in shown))
    return table


def _text(cell: GridCell, *, is_styled: bool) -> Text:
    style = "bold" if cell.is_best else "yellow" if cell.is_missing else ""
    star = "*" if cell.is_best and not is_styled else ""
    return Text(star + cell.text, style=style, overflow="fold")
