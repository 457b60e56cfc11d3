"""The one way from results to text: choose a format by its name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from raybench.core.errors import ConfigError
from raybench.core.results import Results
from raybench.report.table import tabulate
from raybench.report.terminal import render_terminal
from raybench.report.text import render_csv, render_json, render_latex, render_markdown

Format = Literal["terminal", "markdown", "latex", "csv", "json"]
FORMATS: tuple[str, ...] = get_args(Format)
"""Names that `render` knows."""


def render(results: Sequence[Results], format: Format, *, width: int | None = None, is_styled: bool = False) -> str:
    """The results of one or several runs as text that ends with a newline.

    Args:
        results: One a run; the models of all stand side by side.
        format: `terminal`, `markdown`, `latex` and `csv` contain no control characters from models or data; `json` is exact.
        width: Columns of the terminal, for `terminal` only; None: 120.
        is_styled: Whether `terminal` uses escape codes for bold, dim and colour; True where stdout is a terminal.

    Raises:
        ConfigError: There is no such format, or there are no results at all.
        InternalError: A run has two numbers for the same cell, or a number that is not finite (`json`).
    """
    if not results:
        raise ConfigError("report: no run was given, at least one expected. Name a run directory: raybench report RUN")
    match format:
        case "terminal":
            return render_terminal(tabulate(results), width=width, is_styled=is_styled)
        case "markdown":
            return render_markdown(tabulate(results))
        case "latex":
            return render_latex(tabulate(results))
        case "csv":
            return render_csv(results)
        case "json":
            return render_json(results)
    raise ConfigError(f"report: {format!r} is not a format. Known: {', '.join(FORMATS)}")
