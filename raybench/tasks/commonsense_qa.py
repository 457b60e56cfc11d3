"""CommonsenseQA: five lettered options; the letter of the right one is to be predicted.

Paper: Talmor et al. 2018, "CommonsenseQA: A Question Answering Challenge Targeting Commonsense Knowledge", https://arxiv.org/abs/1811.00937
Data: tau/commonsense_qa on the hub, 1,221 validation rows (the test rows have no labels), 9,741 for examples. Licence: MIT.
Prompts: lm-eval 0.4.13, tasks/commonsense_qa (without a version of its own).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raybench.core.types import Kind, Prompt, Sample
from raybench.tasks.task import Fewshot, Form, Group, Source, Task

REVISION = "94630fe30dad47192a8546eb75f094926d47e155"
LETTERS = ("A", "B", "C", "D", "E")


def to_sample(row: Mapping[str, Any], default_id: str) -> Sample:
    """The five answers stand in the question; what is scored are the letters."""
    return Sample(id=row.get("id") or default_id, fields=row, choices=LETTERS, label=LETTERS.index(row["answerKey"]))


def to_prompt(sample: Sample) -> Prompt:
    """The question with its lettered answers."""
    a, b, c, d, e = sample.fields["choices"]["text"]
    text = f"Question: {sample.fields['question'].strip()}\nA. {a}\nB. {b}\nC. {c}\nD. {d}\nE. {e}\nAnswer:"
    return Prompt(text=text, answer=None if sample.label is None else LETTERS[sample.label], continuations=LETTERS)


def _source(split: str) -> Source:
    return Source(path="tau/commonsense_qa", split=split, revision=REVISION)


TASK = Task(
    name="commonsense_qa",
    version="1",
    source=_source("validation"),
    to_sample=to_sample,
    forms={Kind.LOGLIKELIHOOD: Form(to_prompt=to_prompt, metrics=("acc",))},
    fewshot=Fewshot(source=_source("train")),
    about="everyday questions with five lettered options",
    paper="https://arxiv.org/abs/1811.00937",
    licence="MIT",
)
TASKS: tuple[Task, ...] = (TASK,)
GROUPS: tuple[Group, ...] = ()
