"""`raybench score`."""

from __future__ import annotations

import sys

import click

from raybench.driver.score import score_run
from raybench.report import render


@click.command("score")
@click.argument("run")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def command(run: str, as_json: bool) -> int:
    """Compute the metrics of a run again from its stored answers. Needs no model.

    \b
    raybench score runs/quickstart
    """
    results = score_run(run)
    styled = sys.stdout.isatty()
    click.echo(render([results], "json" if as_json else "terminal", is_styled=styled), nl=False)
    return 3 if any(r.withheld for r in results.results) else 0
