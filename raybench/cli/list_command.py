"""`raybench list`."""

from __future__ import annotations

import click

from raybench.engines import registry as engines
from raybench.metrics import registry as metrics
from raybench.tasks.extract import extractor_names, get_extractor
from raybench.tasks.registry import get_task, task_names
from raybench.tasks.task import Group


@click.command("list")
@click.argument("what", type=click.Choice(["tasks", "engines", "metrics", "extractors"]))
def command(what: str) -> int:
    """List tasks, engines, metrics or extractors.

    Tasks with their forms, metrics, source and licence.

    \b
    raybench list tasks
    """
    rows: list[tuple[str, ...]]
    match what:
        case "tasks":
            rows = [(name, *_task(name)) for name in task_names()]
        case "engines":
            rows = [(name, engines.about(name)) for name in engines.TABLE]
        case "metrics":
            rows = [(name, metrics.about(name)) for name in metrics.metric_names()]
        case _:
            rows = [(name, (get_extractor(name).__doc__ or "").partition("\n")[0]) for name in extractor_names()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _task(name: str) -> tuple[str, str, str, str, str]:
    """Forms, metrics, source, licence and a line about a task; of a group the rule that makes its number."""
    found = get_task(name)
    if isinstance(found, Group):
        return f"group of {len(found.members)}", found.metric, "", "", found.about
    source = f"{found.source.path}{f':{found.source.config}' if found.source.config else ''}"
    measured = dict.fromkeys(metric for form in found.forms.values() for metric in form.metrics)
    return ", ".join(found.forms), ", ".join(measured), source, found.licence, found.about
