"""Names of a configuration to tasks and groups of the harness, expanded by its own code, without their data."""

from __future__ import annotations

import fnmatch
import functools
import inspect
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from raybench.core.errors import ConfigError
from raybench.core.mistakes import suggest
from raybench.core.task_config import LmEvalConfig
from raybench.core.types import Kind, Prompt, Sample, Sampling
from raybench.tasks.harness.door import PREFIX, check_installed, quietly
from raybench.tasks.harness.index import read_index
from raybench.tasks.task import Form, Source, Task

KINDS = {
    "loglikelihood": Kind.LOGLIKELIHOOD,
    "multiple_choice": Kind.LOGLIKELIHOOD,
    "loglikelihood_rolling": Kind.ROLLING,
    "generate_until": Kind.GENERATE,
}
"""The harness's output type to what an engine is asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HarnessTask(Task):
    """A task whose questions and scores are made by the harness. As a Task it has one form, and that form no prompt and no metric of ours."""

    declared: Mapping[str, Any]
    """Its task file with everything included and all overrides, as the harness would construct it."""
    settings: LmEvalConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class HarnessGroup:
    """A group of the harness."""

    name: str
    """With the prefix."""
    group: Any
    """lm_eval.api.group.Group; its leaves know their names and nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a name stands for."""

    tasks: tuple[HarnessTask, ...]
    groups: tuple[HarnessGroup, ...]
    """The inner ones included."""


class Library:
    """The harness's tasks as one configuration sees them."""

    def __init__(self, settings: LmEvalConfig) -> None:
        """Read the index.

        Raises:
            ConfigError: when the harness is not installed, or a folder is missing.
        """
        check_installed()
        self._settings = settings
        self._index = read_index(settings.include_path)

    def find(self, name: str) -> Found:
        """Tasks and groups of a task, group, tag or pattern (`mmlu_*`).

        Args:
            name: With the prefix.

        Raises:
            ConfigError: when there is none, or the task cannot be asked here.
        """
        wanted = name.removeprefix(PREFIX)
        is_pattern = any(c in wanted for c in "*?[")
        names = sorted(fnmatch.filter(self._index, wanted)) if is_pattern else [wanted]
        if not names or names[0] not in self._index:
            raise ConfigError(
                f"tasks: '{name}' is no task, group or tag of lm-evaluation-harness.{suggest(name, (PREFIX + known for known in self._index))}"
            )
        try:
            with quietly(), _without_data() as declared:
                loaded = self._manager().load(names)
        except (KeyError, TypeError, ValueError, OSError, ImportError, AttributeError) as error:
            raise ConfigError(f"tasks: '{name}': lm-evaluation-harness cannot read it: {type(error).__name__}: {error}") from error
        tasks = tuple(self._task(leaf, declared[leaf]) for leaf in loaded["tasks"])
        groups = tuple(HarnessGroup(name=PREFIX + group, group=loaded["groups"][group]) for group in loaded["groups"])
        return Found(tasks=tasks, groups=groups)

    def _manager(self) -> Any:
        """Its TaskManager with our index; made empty, since it would read all files again."""
        from lm_eval.tasks import TaskManager

        manager = TaskManager(include_defaults=False, metadata=dict(self._settings.metadata))
        manager._index = dict(self._index)  # it adds names to it while it expands
        return manager

    def _task(self, name: str, declared: Mapping[str, Any]) -> HarnessTask:
        where = f"tasks: '{PREFIX}{name}'"
        made_by = declared.get("class")
        outputs = _outputs_of(declared)
        kinds = {KINDS[output] for output in outputs if output in KINDS}
        if len(kinds) != 1:
            found = " and ".join(sorted(outputs)) or "unknown"
            raise ConfigError(
                f"{where}: what it asks for is {found}; expected one of {', '.join(KINDS)} for all its documents. It cannot be run here."
            )
        if declared.get("doc_to_image") is not None or declared.get("doc_to_audio") or getattr(made_by, "MULTIMODAL", False):
            raise ConfigError(f"{where}: it asks about images or sounds, and the engines here read text. Leave it out.")
        is_unsafe = declared.get("unsafe_code") or getattr(made_by, "UNSAFE_CODE", False)
        if is_unsafe and not self._settings.confirm_run_unsafe_code:
            raise ConfigError(
                f"{where}: its metric runs code that the model has written. Set lm_eval.confirm_run_unsafe_code: true where that can do no harm."
            )
        version = (declared.get("metadata") or {}).get("version", getattr(made_by, "VERSION", None))
        (kind,) = kinds
        form = Form(to_prompt=_is_asked_elsewhere, metrics=(), delimiter="", sampling=Sampling() if kind is Kind.GENERATE else None)
        return HarnessTask(
            name=PREFIX + name,
            version=str(version),
            source=Source(path=str(declared.get("dataset_path")), split=split_of(declared)),
            to_sample=_is_made_elsewhere,
            forms={kind: form},
            repeats=int(declared.get("repeats") or 1),
            declared=declared,
            settings=self._settings,
        )


def _outputs_of(declared: Mapping[str, Any]) -> set[str]:
    """What a task asks for: as declared, or, for a class that does not say so, the request types that its code constructs."""
    made_by = declared.get("class")
    if made_by is None:
        return {declared.get("output_type", "generate_until")}
    if made_by.OUTPUT_TYPE is not None:
        return {made_by.OUTPUT_TYPE}
    return set(re.findall(r"request_type=[\"'](\w+)[\"']", inspect.getsource(made_by.construct_requests)))


def split_of(declared: Mapping[str, Any]) -> str:
    """The split that is asked, which names the samples (lm_eval api/task.py, eval_docs)."""
    return str(declared.get("test_split") or declared.get("validation_split") or "test")


def describe(value: Any) -> Any:
    """A part of a task's declaration as JSON: functions by their source, so that it is the same in every process."""
    if isinstance(value, Mapping):
        return {str(k): describe(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [describe(v) for v in value]
    if callable(value):
        try:
            return inspect.getsource(value.func if isinstance(value, functools.partial) else value)
        except (TypeError, OSError):
            return getattr(value, "__qualname__", type(value).__name__)
    return json.loads(json.dumps(value, default=str))


@contextmanager
def _without_data() -> Iterator[dict[str, Mapping[str, Any]]]:
    """Let the harness expand names without constructing tasks, which would load their data.

    Gives the declaration of every task that it would have constructed; in its place stands a task that knows its name.
    """
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.config.task import TaskConfig
    from lm_eval.tasks import _factory

    found: dict[str, Mapping[str, Any]] = {}

    def declare(config: dict[str, Any]) -> Any:
        found[config["task"]] = config
        leaf = object.__new__(ConfigurableTask)
        leaf._config = TaskConfig(task=config["task"])
        return leaf

    def build(factory: Any, entry: Any, overrides: Any) -> Any:
        config = factory._load_full_config(entry, overrides)
        return declare({key: value for key, value in config.items() if key not in ("tag", "group", "task_list")})

    # a group's inline tasks are constructed by name, all others by the method
    kept = _factory.ConfigurableTask, _factory.TaskFactory._build_task
    _factory.ConfigurableTask, _factory.TaskFactory._build_task = declare, build
    try:
        yield found
    finally:
        _factory.ConfigurableTask, _factory.TaskFactory._build_task = kept


def _is_made_elsewhere(row: Mapping[str, Any], default_id: str) -> Sample:
    raise AssertionError("samples of the harness's tasks come from its own code")


def _is_asked_elsewhere(sample: Sample) -> Prompt:
    raise AssertionError("prompts of the harness's tasks come from its own code")
