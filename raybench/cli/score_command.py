"""`raybench score`."""

from __future__ import annotations

import click

from raybench.cli.output import print_results
from raybench.driver.score import score_run


@click.command("score")
@click.argument("run")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def command(run: str, as_json: bool) -> int:
    """Compute the metrics of a run again from its stored answers. Needs no model.

    \b
    raybench score runs/quickstart
    """
    results = score_run(run)
    print_results([results], "json" if as_json else "terminal")
    return 3 if any(r.withheld for r in results.results) else 0
