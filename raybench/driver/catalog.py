"""What a configuration names: its tasks and groups, each entry with the overrides that the configuration puts on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from raybench.core.config import RunConfig
from raybench.core.errors import ConfigError
from raybench.core.task_config import TaskConfig
from raybench.core.types import Kind
from raybench.driver.paths import task_path
from raybench.metrics import registry as metrics
from raybench.tasks.declared import task_from_config
from raybench.tasks.harness.door import PREFIX
from raybench.tasks.harness.library import Found, HarnessGroup, Library
from raybench.tasks.registry import expand, get_task
from raybench.tasks.task import Form, Group, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One task of a run."""

    label: str
    """Its name in tables."""
    config: TaskConfig
    task: Task

    def form(self, kind: Kind) -> Form:
        """The form that is asked, with the metrics that the run wants.

        Raises:
            ConfigError: when metrics make no sense for the form.
        """
        own = self.task.forms[kind]
        names = own.metrics if self.config.metrics is None else self.config.metrics
        foreign = [
            f"task '{self.label}': metric '{name}' is for {', '.join(sorted(metrics.kinds(name)))}, and the task is asked as {kind}."
            for name in names
            if kind not in metrics.kinds(name)
        ]
        if foreign:
            raise ConfigError("\n".join(foreign))
        needs_uncond = any("uncond" in metrics.requests(name) for name in names)
        return replace(own, metrics=tuple(names), has_unconditional=own.has_unconditional or needs_uncond)


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """The tasks of a run, in order, and the groups among them."""

    entries: Sequence[Entry]
    groups: Sequence[Group]
    harness_groups: Sequence[HarnessGroup] = ()

    @property
    def by_label(self) -> Mapping[str, Entry]:
        """Entries by their names in tables."""
        return {e.label: e for e in self.entries}


def open_catalog(config: RunConfig) -> Catalog:
    """Find the tasks that a configuration names. Reads no data.

    Raises:
        ConfigError: for unknown tasks and metrics, all of them in one message, and for names that stand twice.
    """
    entries: list[Entry] = []
    harness_groups: dict[str, HarnessGroup] = {}
    library: Library | None = None
    groups: dict[str, Group] = {}
    mistakes: list[str] = []
    for item in config.tasks:
        mistakes += _unknown_metrics(item)
        try:
            if item.source is None and item.name.startswith(PREFIX):
                library = library or Library(config.lm_eval)
                theirs = library.find(item.name)
                entries += _harness_entries(config, item, theirs)
                harness_groups |= {g.name: g for g in theirs.groups}
                continue
            found, inner = _expand(item)
        except ConfigError as error:
            mistakes.append(error.message)
            continue
        entries += found
        groups |= inner
    labels = [e.label for e in entries]
    doubled = sorted({label for label in labels if labels.count(label) > 1})
    mistakes += [f"tasks: '{label}' stands twice; give one of them a `label`." for label in doubled]
    mistakes += _shared_folders(list(dict.fromkeys(labels)))
    if mistakes:
        raise ConfigError("\n".join(dict.fromkeys(mistakes)))
    return Catalog(entries=entries, groups=list(groups.values()), harness_groups=list(harness_groups.values()))


def _unknown_metrics(item: TaskConfig) -> list[str]:
    mistakes = []
    for name in item.metrics or ():
        try:
            metrics.get_metric(name)
        except ConfigError as error:
            mistakes.append(f"task '{item.label or item.name}': {error.message}")
    return mistakes


def _shared_folders(labels: Sequence[str]) -> list[str]:
    folders: dict[str, list[str]] = {}
    for label in labels:
        folders.setdefault(task_path(label), []).append(label)
    return [
        f"tasks: {' and '.join(map(repr, names))} would share the folder '{folder}'; give one of them another `label`."
        for folder, names in folders.items()
        if len(names) > 1
    ]


def _harness_entries(config: RunConfig, item: TaskConfig, found: Found) -> list[Entry]:
    """Entries of the harness's tasks. Their prompts are cut on the left where they do not fit, as the harness does, unless the run says otherwise.

    Raises:
        ConfigError: when the entry sets what the harness decides itself.
    """
    for name in ("metrics", "fewshot"):
        if getattr(item, name) is not None:
            raise ConfigError(f"tasks: '{item.name}': `{name}` is decided by lm-evaluation-harness's task file; leave it out.")
    if item.label is not None and len(found.tasks) > 1:
        raise ConfigError(f"tasks: '{item.name}' is {len(found.tasks)} tasks; they keep their names, so it takes no `label`.")
    is_said = any("overlong" in block for block in (config.engine, item.engine, *(m.engine for m in config.models)))
    if not is_said:
        item = item.model_copy(update={"engine": {"overlong": "truncate_left", **item.engine}})
    return [Entry(label=item.label or task.name, config=item, task=task) for task in found.tasks]


def _expand(item: TaskConfig) -> tuple[list[Entry], dict[str, Group]]:
    """The entry of a task, or the entries of a group's members: each with the overrides of the group's entry."""
    if item.source is not None:
        return [Entry(label=item.label or item.name, config=item, task=task_from_config(item, Path.cwd()))], {}
    if isinstance(get_task(item.name), Task):
        (task,) = expand([item.name]).tasks
        return [Entry(label=item.label or task.name, config=item, task=task)], {}
    if item.label is not None:
        raise ConfigError(f"tasks: '{item.name}' is a group; its members keep their names, so it takes no `label`.")
    expansion = expand([item.name])
    # a member written as package.module:TASK stands in tables, and in results, under its own name
    groups = {g.name: replace(g, members=tuple(get_task(m).name for m in g.members)) for g in expansion.groups}
    return [Entry(label=t.name, config=item, task=t) for t in expansion.tasks], groups
