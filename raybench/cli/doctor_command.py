"""`raybench doctor`."""

from __future__ import annotations

import click

from raybench.driver.doctor import examine

_SIGNS = {"ok": ("✓", "green"), "note": ("·", "yellow"), "problem": ("✗", "red")}


@click.command("doctor")
def command() -> int:
    """Check the installation, GPUs, Ray, vLLM and disk, and say what to do about each problem.

    \b
    raybench doctor
    """
    problems = 0
    for finding in examine():
        sign, colour = _SIGNS[finding.level]
        click.echo(f"{click.style(sign, fg=colour)} {finding.subject}: {finding.found}")
        if finding.advice:
            click.echo(f"    {finding.advice}")
        problems += finding.level == "problem"
    click.echo("no problems" if not problems else f"{problems} problem{'s' if problems > 1 else ''}", err=bool(problems))
    return 2 if problems else 0
