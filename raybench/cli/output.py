"""Results on stdout: as wide as the terminal and styled where there is one, plain where there is none."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence

import click

from raybench.core.results import Results
from raybench.report import Format, render


def print_results(results: Sequence[Results], form: Format = "terminal") -> None:
    """The results of one or several runs."""
    is_styled = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if is_styled else None
    click.echo(render(results, form, width=width, is_styled=is_styled), nl=False)
