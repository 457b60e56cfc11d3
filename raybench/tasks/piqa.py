"""PIQA: which of two ways reaches a goal in the physical world.

Paper: Bisk et al. 2019, "PIQA: Reasoning about Physical Commonsense in Natural Language", https://arxiv.org/abs/1911.11641
Data: baber/piqa on the hub (the original as plain files), 1,838 validation rows, 16,113 for examples. Licence: AFL 3.0.
Prompts: lm-eval 0.4.13, tasks/piqa (version 1.0).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raybench.core.types import Kind, Prompt, Sample
from raybench.tasks.task import Fewshot, Form, Group, Source, Task

REVISION = "142f6d7367fd9877f0fb3b5734ea6a545f54cdd1"


def to_sample(row: Mapping[str, Any], default_id: str) -> Sample:
    """Two solutions; the label counts from 0."""
    return Sample(id=default_id, fields=row, choices=(row["sol1"], row["sol2"]), label=row["label"])


def to_prompt(sample: Sample) -> Prompt:
    """The goal; the solutions are scored, not shown."""
    answer = None if sample.label is None else sample.choices[sample.label]
    return Prompt(text=f"Question: {sample.fields['goal']}\nAnswer:", answer=answer, continuations=sample.choices)


def _source(split: str) -> Source:
    return Source(path="baber/piqa", split=split, revision=REVISION)


TASK = Task(
    name="piqa",
    version="1",
    source=_source("validation"),
    to_sample=to_sample,
    forms={Kind.LOGLIKELIHOOD: Form(to_prompt=to_prompt, metrics=("acc", "acc_norm"))},
    fewshot=Fewshot(source=_source("train")),
    about="which of two ways reaches a goal",
    paper="https://arxiv.org/abs/1911.11641",
    licence="AFL 3.0",
)
TASKS: tuple[Task, ...] = (TASK,)
GROUPS: tuple[Group, ...] = ()
