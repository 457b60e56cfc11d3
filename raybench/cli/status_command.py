"""`raybench status`."""

from __future__ import annotations

import json
import time

import click

from raybench.driver.status import read_status


@click.command("status")
@click.argument("run")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def command(run: str, as_json: bool) -> int:
    """Show how far a run is, from another terminal.

    \b
    raybench status runs/quickstart
    """
    status = read_status(run)
    if as_json:
        click.echo(json.dumps(status.to_json(), indent=1))
        return 0
    width = len(f"{status.total:,}")
    for pair in status.pairs:
        click.echo(f"{pair.done:>{width},} of {pair.total:>{width},} samples  {pair.model} {pair.task}")
    percent = 100 * status.done / status.total if status.total else 100.0
    click.echo(f"{status.done:>{width},} of {status.total:>{width},} samples  {percent:.1f} %  {status.state}")
    if status.last_commit is not None and status.state == "running":
        click.echo(f"last commit {time.time() - status.last_commit:.0f} s ago, {status.retries} retries, {status.engines} engines started")
    for name, reason in status.failed_models.items():
        click.echo(f"failed: {name}: {reason}")
    return 0
