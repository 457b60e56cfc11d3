"""`raybench report`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any, cast

import click

from raybench.core.results import results_from_json
from raybench.report import FORMATS, render
from raybench.store.run_dir import RunDir


@click.command("report")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(list(FORMATS)), default="terminal", show_default=True, help="How to print it.")
def command(runs: tuple[Path, ...], form: str) -> int:
    """Print the results of one or several runs as a table, Markdown, LaTeX, CSV or JSON.

    \b
    raybench report runs/quickstart
    raybench report runs/a runs/b --format markdown
    """
    results = [results_from_json(RunDir.open(path).read_results()) for path in runs]
    styled = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if styled else None
    click.echo(render(results, cast(Any, form), width=width, is_styled=styled), nl=False)
    return 0
