"""`raybench recheck`."""

from __future__ import annotations

import json

import click

from raybench.core.recheck import rechecks_to_json
from raybench.driver.recheck import recheck
from raybench.report.noise import noise_line
from raybench.report.plain import plain


@click.command("recheck")
@click.argument("run")
@click.option("--sample", "num_samples", default=50, show_default=True, type=click.IntRange(1), help="Samples of each model and task.")
@click.option("--seed", default=0, show_default=True, help="Of the draw of samples.")
@click.option("--task", help="Only this task, as in the table.")
@click.option("--model", help="Only this model, as in the table.")
@click.option("--json", "as_json", is_flag=True, help="Print all that was found, sample by sample, as JSON.")
def command(run: str, num_samples: int, seed: int, task: str | None, model: str | None, as_json: bool) -> int:
    """Answer some samples of a run again with the PyTorch engine in float32: the noise floor of its numbers.

    What was found is kept in the run directory, and `raybench report` prints it beside the sampling error.

    \b
    raybench recheck runs/quickstart --sample 50
    """
    found = recheck(run, num_samples=num_samples, seed=seed, task=task, model=model, tell=lambda text: click.echo(text, err=True))
    if as_json:
        click.echo(json.dumps(rechecks_to_json(found), indent=1, ensure_ascii=False))
        return 0
    for one in found:
        click.echo(plain(f"{one.model}, {noise_line(one)}"))
        flipped = [s.id for s in one.samples if s.is_flipped]
        if flipped:
            more = f" and {len(flipped) - 10} more" if len(flipped) > 10 else ""
            click.echo(plain(f"  another decision: {', '.join(flipped[:10])}{more}"))
    return 0
