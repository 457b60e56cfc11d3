"""A table as lines of text cells, before any format escapes them: what terminal, Markdown and LaTeX have in common. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from raybench.core.results import Estimate
from raybench.report.table import Cell, Row, Table


@dataclass(frozen=True, slots=True, kw_only=True)
class GridCell:
    """One cell: its text and how it stands out."""

    text: str
    is_best: bool = False
    is_missing: bool = False
    """Withheld, failed or undefined: there should be a number and there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GridRow:
    """One line of cells."""

    cells: tuple[GridCell, ...]
    is_group: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A header and lines of the same length."""

    title: str
    """Empty where the header says everything."""
    header: tuple[str, ...]
    num_text_columns: int
    """The first columns hold words and stand left; the others hold numbers and stand right."""
    rows: tuple[GridRow, ...]


def grid(table: Table, start: int = 0, stop: int | None = None) -> Grid:
    """The lines of `table`; for one model in detail, for several only the models `start` to `stop` (half-open)."""
    return _one_model(table) if len(table.columns) == 1 else _several_models(table, start, stop)


def _one_model(table: Table) -> Grid:
    rows = []
    for row in table.rows:
        cell = row.cells[0]
        estimate = cell.result.estimate if cell.state == "value" and cell.result is not None else None
        texts = [_stderr(row, estimate), _interval(row, estimate), *_counts(cell)]
        first = [GridCell(text=row.title), GridCell(text=row.metric_title), _value(cell, cell.text)]
        rows.append(GridRow(cells=(*first, *(GridCell(text=text) for text in texts)), is_group=row.is_group))
    column = table.columns[0]
    header = ("Task", "Metric", "Value", "± stderr", "95% CI", "n", "errors")
    return Grid(title=f"{column.label} (run {column.run})", header=header, num_text_columns=2, rows=tuple(rows))


def _several_models(table: Table, start: int, stop: int | None) -> Grid:
    rows = []
    for row in table.rows:
        names = (GridCell(text=row.task), GridCell(text=row.form), GridCell(text=row.metric_title), GridCell(text=row.num_asked))
        cells = tuple(_value(cell, _with_stderr(row, cell)) for cell in row.cells[start:stop])
        rows.append(GridRow(cells=names + cells, is_group=row.is_group))
    header = ("Task", "Form", "Metric", "n", *(column.label for column in table.columns[start:stop]))
    return Grid(title="", header=header, num_text_columns=3, rows=tuple(rows))


def _value(cell: Cell, text: str) -> GridCell:
    return GridCell(text=text, is_best=cell.is_best, is_missing=cell.state in ("withheld", "failed", "undefined"))


def _with_stderr(row: Row, cell: Cell) -> str:
    stderr = _stderr(row, cell.result.estimate) if cell.state == "value" and cell.result is not None else ""
    return f"{cell.text} ± {stderr}" if stderr else cell.text


def _stderr(row: Row, estimate: Estimate | None) -> str:
    return "" if estimate is None or estimate.stderr is None else row.scale.write(estimate.stderr)


def _interval(row: Row, estimate: Estimate | None) -> str:
    return "" if estimate is None or estimate.ci95 is None else f"[{', '.join(row.scale.write(bound) for bound in estimate.ci95)}]"


def _counts(cell: Cell) -> tuple[str, str]:
    """Answered samples and errors; empty where the keys are in doubt."""
    if cell.result is None or cell.state in ("withheld", "failed"):
        return "", ""
    return str(cell.result.estimate.num_samples), str(cell.result.estimate.num_errors)
