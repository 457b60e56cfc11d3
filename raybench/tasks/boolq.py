"""BoolQ: yes-or-no questions about a passage of Wikipedia.

Paper: Clark et al. 2019, "BoolQ: Exploring the Surprising Difficulty of Natural Yes/No Questions", https://arxiv.org/abs/1905.10044
Data: aps/super_glue on the hub, configuration boolq, 3,270 validation rows, 9,427 for examples. Licence: CC BY-SA 3.0.
Prompts: lm-eval 0.4.13, tasks/super_glue/boolq/default.yaml (version 2.0).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raybench.core.fingerprint import digest
from raybench.core.types import Kind, Prompt, Sample
from raybench.tasks.task import Fewshot, Form, Group, Source, Task

REVISION = "3de24cf8022e94f4ee4b9d55a6f539891524d646"
CHOICES = ("no", "yes")


def to_sample(row: Mapping[str, Any], default_id: str) -> Sample:
    """Label 0 is no, 1 is yes; questions about one passage form a cluster."""
    return Sample(id=default_id, fields=row, choices=CHOICES, label=row["label"], cluster=digest(row["passage"])[:16])


def to_prompt(sample: Sample) -> Prompt:
    """The passage and the question, which comes without its question mark."""
    row = sample.fields
    answer = None if sample.label is None else CHOICES[sample.label]
    return Prompt(text=f"{row['passage']}\nQuestion: {row['question']}?\nAnswer:", answer=answer, continuations=CHOICES)


def _source(split: str) -> Source:
    return Source(path="aps/super_glue", config="boolq", split=split, revision=REVISION)


TASK = Task(
    name="boolq",
    version="1",
    source=_source("validation"),
    to_sample=to_sample,
    forms={Kind.LOGLIKELIHOOD: Form(to_prompt=to_prompt, metrics=("acc",))},
    fewshot=Fewshot(source=_source("train")),
    about="yes-or-no questions about a passage",
    paper="https://arxiv.org/abs/1905.10044",
    licence="CC BY-SA 3.0",
)
TASKS: tuple[Task, ...] = (TASK,)
GROUPS: tuple[Group, ...] = ()
