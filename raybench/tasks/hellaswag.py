"""HellaSwag: which of four endings continues a description of an everyday activity.

Paper: Zellers et al. 2019, "HellaSwag: Can a Machine Really Finish Your Sentence?", https://arxiv.org/abs/1905.07830
Data: Rowan/hellaswag on the hub, 10,042 validation rows (the test rows have no labels), 39,905 for examples. Licence: MIT.
Prompts: lm-eval 0.4.13, tasks/hellaswag (version 1.0).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raybench.core.types import Kind, Prompt, Sample
from raybench.tasks.task import Fewshot, Form, Group, Source, Task

REVISION = "218ec52e09a7e7462a5400043bb9a69a41d06b76"


def clean(text: str) -> str:
    """Without the marks that WikiHow left in the text, as lm-eval 0.4.13 (tasks/hellaswag/utils.py, preprocess); linear in the length."""
    text = text.strip().replace(" [title]", ". ")
    return "\n".join(map(_without_brackets, text.split("\n"))).replace("  ", " ")


def _without_brackets(line: str) -> str:
    """Drop everything from an opening bracket to the next closing one."""
    pieces: list[str] = []
    position = 0
    while (start := line.find("[", position)) >= 0 and (stop := line.find("]", start)) >= 0:
        pieces.append(line[position:start])
        position = stop + 1
    return "".join((*pieces, line[position:]))


def to_sample(row: Mapping[str, Any], default_id: str) -> Sample:
    """Four endings; the label is a digit in a text."""
    return Sample(id=default_id, fields=row, choices=tuple(map(clean, row["endings"])), label=int(row["label"]))


def to_prompt(sample: Sample) -> Prompt:
    """Activity and beginning; the endings are scored, not shown."""
    row = sample.fields
    text = clean(f"{row['activity_label']}: {row['ctx_a']} {row['ctx_b'].capitalize()}")
    return Prompt(text=text, answer=None if sample.label is None else sample.choices[sample.label], continuations=sample.choices)


def _source(split: str) -> Source:
    return Source(path="Rowan/hellaswag", split=split, revision=REVISION)


TASK = Task(
    name="hellaswag",
    version="1",
    source=_source("validation"),
    to_sample=to_sample,
    forms={Kind.LOGLIKELIHOOD: Form(to_prompt=to_prompt, metrics=("acc", "acc_norm"))},
    fewshot=Fewshot(source=_source("train")),
    about="four endings of an everyday activity",
    paper="https://arxiv.org/abs/1905.07830",
    licence="MIT",
)
TASKS: tuple[Task, ...] = (TASK,)
GROUPS: tuple[Group, ...] = ()
