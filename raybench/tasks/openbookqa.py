"""OpenBookQA: science questions with four options, asked without the book of facts.

Paper: Mihaylov et al. 2018, "Can a Suit of Armor Conduct Electricity?", https://arxiv.org/abs/1809.02789
Data: allenai/openbookqa on the hub, configuration main, 500 test rows, 4,957 for examples. Licence: Apache-2.0.
Prompts: lm-eval 0.4.13, tasks/openbookqa (version 1.0): the stem alone, without "Question:".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raybench.core.types import Kind, Prompt, Sample
from raybench.tasks.task import Fewshot, Form, Group, Source, Task

REVISION = "388097ea7776314e93a529163e0fea805b8a6454"


def to_sample(row: Mapping[str, Any], default_id: str) -> Sample:
    """Options are labelled A to D; a few rows have a space before the label of the right one."""
    choices = row["choices"]
    label = choices["label"].index(row["answerKey"].lstrip())
    return Sample(id=row.get("id") or default_id, fields=row, choices=tuple(choices["text"]), label=label)


def to_prompt(sample: Sample) -> Prompt:
    """The stem, which an option completes; the options are scored, not shown."""
    answer = None if sample.label is None else sample.choices[sample.label]
    return Prompt(text=sample.fields["question_stem"], answer=answer, continuations=sample.choices)


def _source(split: str) -> Source:
    return Source(path="allenai/openbookqa", config="main", split=split, revision=REVISION)


TASK = Task(
    name="openbookqa",
    version="1",
    source=_source("test"),
    to_sample=to_sample,
    forms={Kind.LOGLIKELIHOOD: Form(to_prompt=to_prompt, metrics=("acc", "acc_norm"))},
    fewshot=Fewshot(source=_source("train")),
    about="science questions, without the book of facts",
    paper="https://arxiv.org/abs/1809.02789",
    licence="Apache-2.0",
)
TASKS: tuple[Task, ...] = (TASK,)
GROUPS: tuple[Group, ...] = ()
