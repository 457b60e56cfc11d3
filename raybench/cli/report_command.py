"""`raybench report`."""

from __future__ import annotations

from dataclasses import replace

import click

from raybench.cli.output import print_results
from raybench.core.results import Results, results_from_json
from raybench.report import FORMATS, Format
from raybench.store.manifest import models_of
from raybench.store.run_dir import RunDir


@click.command("report")
@click.argument("runs", nargs=-1, required=True)
@click.option("--format", "form", type=click.Choice(list(FORMATS)), default="terminal", show_default=True, help="How to print it.")
def command(runs: tuple[str, ...], form: Format) -> int:
    """Print the results of one or several runs as a table, Markdown, LaTeX, CSV or JSON.

    \b
    raybench report runs/quickstart
    raybench report runs/a runs/b --format markdown
    """
    stores = [RunDir.open(path) for path in runs]
    print_results([_read(store) for store in stores], form)
    return 0


def _read(store: RunDir) -> Results:
    """The numbers, with what results.json does not hold."""
    results = results_from_json(store.documents.read_results())
    return replace(results, rechecks=store.documents.rechecks(), models=models_of(store.manifest()))
