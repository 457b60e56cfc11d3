"""`raybench verify`."""

from __future__ import annotations

import click

from raybench.store.run_dir import RunDir
from raybench.store.verify import content_sha256, verify


@click.command("verify")
@click.argument("run")
def command(run: str) -> int:
    """Check every file of a run against its digests and print the hash of its content.

    Two runs with the same hash have the same rows: what the models saw and answered.

    \b
    raybench verify runs/quickstart
    """
    store = RunDir.open(run)
    problems = verify(store)
    for problem in problems:
        click.echo(problem)
    if problems:
        click.echo(f"{len(problems)} problems", err=True)
        return 3
    click.echo(f"content sha256 {content_sha256(store)}")
    return 0
