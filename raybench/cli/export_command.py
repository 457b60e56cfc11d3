"""`raybench export`."""

from __future__ import annotations

from pathlib import Path

import click

from raybench.driver.export import FORMATS, export


@click.command("export")
@click.argument("run")
@click.option("--format", "form", required=True, type=click.Choice(list(FORMATS)), help="Which benchmark's submission.")
@click.option("--model", help="Model, as in the table; needed where the run has several.")
@click.option("--output", type=click.Path(path_type=Path), help="File to write; by default in the run directory, where that is a folder.")
def command(run: str, form: str, model: str | None, output: Path | None) -> int:
    """Write the answers to test splits as a file that a benchmark's site takes.

    \b
    raybench export runs/glue-test --format glue
    """
    done = export(run, form, model=model, output=output)
    click.echo(str(done.file))
    if done.missing:
        click.echo(f"not in this run, and so not in the file: {', '.join(done.missing)}", err=True)
    return 0
