"""Construct tasks of the harness: on their data to ask, on stored documents to score."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from raybench.core.errors import ConfigError, DataError, RaybenchError
from raybench.core.task_config import DataConfig
from raybench.tasks.harness.data import redirected
from raybench.tasks.harness.door import quietly, seeded
from raybench.tasks.harness.library import HarnessTask


def construct(task: HarnessTask, data: Mapping[str, DataConfig], *, shots: int | None) -> tuple[Any, list[str]]:
    """The harness's task with its data.

    Args:
        task: Which one.
        data: The `data:` map of the configuration.
        shots: Few-shot examples; None: what the task says, otherwise 0.

    Returns:
        The task, and the identities of what was loaded.

    Raises:
        DataError: when its data cannot be loaded or read.
    """
    try:
        with quietly(), seeded(), redirected(data) as seen:
            made = _instance(task, _class_of(task))
            _set_shots(task, made, shots)
            made.set_fewshot_seed(seed=task.settings.fewshot_seed)
            _ = made.eval_docs
    except RaybenchError:
        raise
    except Exception as error:  # the task's own code may raise anything
        reason = (str(error).splitlines() or [""])[0][:300]
        name = task.source.path
        mapped = next((key for key in data if key.partition(":")[0] == name), None)
        advice = (
            f"data: '{mapped}' is mapped to {data[mapped].path}: its rows need the columns of the hub's data set, before the task changes them."
            if mapped
            else f'Map the data set to a local copy: data: {{"{name}": {{path: /folder/with/the/data}}}}'
        )
        raise DataError(
            f"task '{task.name}': lm-evaluation-harness cannot make it of '{name}': {type(error).__name__}: {reason}\n{advice}"
        ) from error
    return made, sorted(set(seen))


def reconstruct(task: HarnessTask, first: Any, num_documents: int, *, shots: int | None) -> Any:
    """The harness's task without its data, to score: it knows one document and how many there are.

    Args:
        task: Which one.
        first: The first document that was asked; the harness looks at it to learn which fields there are and whether targets are lists.
        num_documents: Of the whole split.
        shots: As when it was asked.
    """
    cls = _class_of(task)
    documents = _Documents(first, num_documents)
    members = {
        "download": lambda self, *args, **kwargs: setattr(self, "dataset", {}),
        "fewshot_docs": lambda self: None,
        **dict.fromkeys(("training_docs", "validation_docs", "test_docs"), lambda self: documents),
    }
    with quietly():
        made = _instance(task, type(cls.__name__, (cls,), members))
        _set_shots(task, made, shots)
    return made


class _Documents:
    """Stands for a data set of which only the first document is wanted."""

    def __init__(self, first: Any, length: int) -> None:
        self.features = dict.fromkeys(first) if isinstance(first, Mapping) else {}
        self._first = first
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Any:
        if index != 0:
            raise IndexError(f"document {index}: only the first is known")
        return deepcopy(self._first)


def _class_of(task: HarnessTask) -> Any:
    from lm_eval.api.task import ConfigurableTask

    return task.declared.get("class", ConfigurableTask)


def _instance(task: HarnessTask, cls: Any) -> Any:
    """As lm_eval tasks/_factory.py, TaskFactory._build_task."""
    from lm_eval.tasks._factory import _ctor_accepts_config

    config = deepcopy(dict(task.declared))
    made = cls(config=config) if _ctor_accepts_config(cls) else cls()
    if hasattr(made, "config") and hasattr(made.config, "task"):
        made.config.task = config["task"]
    return made


def _set_shots(task: HarnessTask, made: Any, shots: int | None) -> None:
    """The number of examples (lm_eval evaluator.py, simple_evaluate), except that a number which cannot be honoured is refused."""
    own = made.get_config("num_fewshot")
    if shots is not None and own == 0 and shots != 0:
        raise ConfigError(
            f"tasks: '{task.name}': its task file fixes num_fewshot: 0, the configuration wants {shots} shots. Leave `shots` out."
        )
    if shots is not None or own is None:
        made.set_config(key="num_fewshot", value=shots or 0)
