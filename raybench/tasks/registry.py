"""Tasks and groups by name: the built-in ones, and `package.module:TASK` for anybody's own."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from raybench.core.errors import ConfigError
from raybench.core.mistakes import suggest
from raybench.tasks import (
    arc,
    boolq,
    chid,
    chinese_reading,
    clue,
    commonsense_qa,
    conll2003,
    glue,
    gsm8k,
    hellaswag,
    lambada,
    mmlu,
    openbookqa,
    piqa,
    quickstart,
    squad,
    super_glue,
    truthfulqa,
    wikitext,
    winogrande,
)
from raybench.tasks.task import Group, Task

_FAMILIES = (
    quickstart, arc, boolq, chid, chinese_reading, clue, commonsense_qa, conll2003, glue, gsm8k, hellaswag, lambada, mmlu, openbookqa, piqa, squad,
    super_glue, truthfulqa, wikitext, winogrande,
)  # fmt: skip
_BUILT_IN: Mapping[str, Task | Group] = MappingProxyType({t.name: t for family in _FAMILIES for t in (*family.TASKS, *family.GROUPS)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """What a list of names stands for."""

    tasks: tuple[Task, ...]
    """Each once, in the order in which they were first met."""
    groups: tuple[Group, ...]
    """All groups on the way, each once, the outer before the inner."""


def task_names() -> tuple[str, ...]:
    """Names of the built-in tasks and groups, in alphabetical order."""
    return tuple(sorted(_BUILT_IN))


def get_task(name: str) -> Task | Group:
    """The task or group of a name.

    Raises:
        ConfigError: when there is none.
    """
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    if re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", name):
        return _plugin(name)
    raise ConfigError(
        f"'{name}' is no task.{suggest(name, _BUILT_IN)} `raybench list tasks` shows all; write package.module:TASK for your own, "
        "or declare one with `source` and `prompt`."
    )


def expand(names: Sequence[str]) -> Expansion:
    """Tasks and groups of `names`, groups replaced by their members all the way down.

    Raises:
        ConfigError: for an unknown name, or a group that contains itself.
    """
    tasks: dict[str, Task] = {}
    groups: dict[str, Group] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            raise ConfigError(f"the group '{name}' contains itself: {' > '.join((*path, name))}.")
        found = get_task(name)
        if isinstance(found, Task):
            tasks.setdefault(found.name, found)
            return
        groups.setdefault(found.name, found)
        for member in found.members:
            visit(member, (*path, name))

    for name in names:
        visit(name, ())
    return Expansion(tasks=tuple(tasks.values()), groups=tuple(groups.values()))


def _plugin(name: str) -> Task | Group:
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError(
            f"'{name}': the module '{module_name}' cannot be imported: {error}. It must be installed or on PYTHONPATH."
        ) from error
    found = getattr(module, attribute, None)
    if isinstance(found, Task | Group):
        return found
    known = [n for n, value in vars(module).items() if isinstance(value, Task | Group)]
    what = "has no such name" if found is None else f"has a {type(found).__name__} there"
    raise ConfigError(
        f"'{name}': '{module_name}' {what}, expected a Task or Group.{suggest(attribute, known)} It has: {', '.join(known) or 'none'}."
    )
