"""`raybench list`."""

from __future__ import annotations

import sys
from collections.abc import Callable

import click

from raybench.core.errors import ConfigError
from raybench.core.mistakes import suggest
from raybench.engines import registry as engines
from raybench.metrics import registry as metrics
from raybench.tasks.extract import extractor_names, get_extractor
from raybench.tasks.harness.door import PREFIX
from raybench.tasks.harness.index import harness_names
from raybench.tasks.registry import get_task, task_names
from raybench.tasks.task import Group


@click.command("list")
@click.argument("what", type=click.Choice(["tasks", "engines", "metrics", "extractors"]))
@click.argument("begin", default="")
def command(what: str, begin: str) -> int:
    """List tasks, engines, metrics or extractors, or those whose names begin with BEGIN.

    Tasks with their forms, metrics, source and licence; on a terminal, members of a group only where BEGIN names it. Those of
    lm-evaluation-harness are listed where BEGIN starts with lm-eval/, with the files that describe them.

    \b
    raybench list tasks
    raybench list tasks mmlu/
    raybench list tasks lm-eval/arc
    """
    is_harness = what == "tasks" and begin.startswith(PREFIX)
    theirs = harness_names() if is_harness else {}
    tables: dict[str, tuple[tuple[str, ...], Callable[[str], tuple[str, ...]]]] = {
        "tasks": (tuple(theirs), lambda name: theirs[name]) if is_harness else (task_names(), _task),
        "engines": (tuple(engines.TABLE), lambda name: (engines.about(name),)),
        "metrics": (metrics.metric_names(), lambda name: (metrics.about(name),)),
        "extractors": (extractor_names(), lambda name: ((get_extractor(name).__doc__ or "").partition("\n")[0],)),
    }
    every, describe = tables[what]
    names = [name for name in every if name.startswith(begin)]
    if not names:
        raise ConfigError(f"no name of {what} begins with '{begin}'.{suggest(begin, every)}")
    if what == "tasks" and not is_harness and sys.stdout.isatty():
        _show_tasks(names, begin)
        return 0
    rows = [(name, *describe(name)) for name in names]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _show_tasks(names: list[str], begin: str) -> None:
    """Three lines a task, for people: tables as wide as these are for programs."""
    folded = [name for name in names if "/" in name.removeprefix(begin)]
    for name in names:
        if name in folded and name.rpartition("/")[0] in names:
            continue
        forms, measured, source, licence, about = _task(name)
        click.echo(f"{click.style(name, bold=True)}  {about}")
        click.echo(f"    {forms}; {measured}")
        if source:
            click.echo(click.style(f"    {source} ({licence})", dim=True))
    if folded:
        click.echo(f"\nMembers of a group: raybench list tasks {folded[0].rpartition('/')[0]}/")


def _task(name: str) -> tuple[str, str, str, str, str]:
    """Forms, metrics, source, licence and a line about a task; of a group the rule that makes its number."""
    found = get_task(name)
    if isinstance(found, Group):
        return f"group of {len(found.members)}", found.metric, "", "", found.about
    source = f"{found.source.path}{f':{found.source.config}' if found.source.config else ''}"
    measured = dict.fromkeys(metric for form in found.forms.values() for metric in form.metrics)
    return ", ".join(found.forms), ", ".join(measured), source, found.licence, found.about
