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

    \b
    raybench list tasks
    """
    match what:
        case "tasks":
            rows = [(name, _about_task(name)) for name in task_names()]
        case "engines":
            rows = [(name, engines.about(name)) for name in engines.TABLE]
        case "metrics":
            rows = [(name, metrics.about(name)) for name in metrics.metric_names()]
        case _:
            rows = [(name, (get_extractor(name).__doc__ or "").partition("\n")[0]) for name in extractor_names()]
    width = max(len(name) for name, _ in rows)
    for name, about in rows:
        click.echo(f"{name:<{width}}  {about}".rstrip())
    return 0


def _about_task(name: str) -> str:
    found = get_task(name)
    if isinstance(found, Group):
        return f"group of {len(found.members)}: {found.about}" if found.about else f"group of {len(found.members)}"
    return f"{found.about} ({', '.join(found.forms)})"
