"""`raybench plan`."""

from __future__ import annotations

import json
from typing import Any

import click

from raybench.cli.options import read_config, run_options
from raybench.driver.survey import Survey, plan_run


@click.command("plan")
@run_options
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def command(as_json: bool, **source: Any) -> int:
    """Show what a run would do: shards, requests, engines. Touches no GPU.

    \b
    raybench plan configs/quickstart.yaml
    """
    survey = plan_run(read_config(source))
    if as_json:
        described = survey.plan.describe()
        pairs = [{**pair, **numbers} for pair, numbers in zip(described["pairs"], survey.pairs(), strict=True)]
        click.echo(json.dumps({**described, "pairs": pairs}, indent=1))
        return 0
    rows = survey.pairs()
    if rows:
        click.echo(_table(rows))
    plan = survey.plan
    shards = f"{plan.num_shards:,} shard{'' if plan.num_shards == 1 else 's'}"
    click.echo(f"\n{plan.num_samples:,} samples in {shards}, {survey.num_done:,} of them done, into {survey.path}")
    for index, shape in enumerate(plan.shapes):
        users = sum(1 for s in plan.spec_shape if s == index)
        wanted = ", ".join(f"{name} {amount:g}" for name, amount in shape.demand.items() if name != "engine") or "nothing"
        engines = "as many as fit" if shape.max_engines is None else str(shape.max_engines)
        click.echo(f"engines: {engines if survey.pool == 'ray' else 'one, in this process'}; each takes {wanted}; checkpoints: {users}")
    _problems(survey)
    return 0


def _problems(survey: Survey) -> None:
    for model in survey.plan.models:
        if model.failed is not None:
            click.echo(f"failed: {model.name}: {model.failed}", err=True)
    for warning in survey.prepared.warnings:
        click.echo(f"warning: {warning}", err=True)


def _table(rows: list[Any]) -> str:
    """Columns as wide as their widest value, numbers to the right."""
    names = list(rows[0])
    cells = [names, *[[f"{r[n]:,}" if isinstance(r[n], int) else str(r[n]) for n in names] for r in rows]]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    is_number = [isinstance(rows[0][n], int) for n in names]
    return "\n".join(
        "  ".join(c.rjust(w) if right else c.ljust(w) for c, w, right in zip(line, widths, is_number, strict=True)).rstrip()
        for line in cells
    )
