"""ARC, the AI2 Reasoning Challenge: science questions of American schools, 3 to 5 options.

Paper: Clark et al. 2018, "Think you have Solved Question Answering?", https://arxiv.org/abs/1803.05457
Data: allenai/ai2_arc on the hub, configurations ARC-Easy (2,376 test questions) and ARC-Challenge (1,172). Licence: CC BY-SA 4.0.
Prompts: lm-eval 0.4.13, tasks/arc/arc_easy.yaml and arc_challenge.yaml.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raybench.core.types import Kind, Prompt, Sample
from raybench.tasks.task import Fewshot, Form, Group, Source, Task

REVISION = "210d026faf9955653af8916fad021475a3f00453"


def to_sample(row: Mapping[str, Any], default_id: str) -> Sample:
    """Options are labelled A to E, or 1 to 5 in a few questions; `answerKey` is one of the labels."""
    choices = row["choices"]
    return Sample(id=default_id, fields=row, choices=tuple(choices["text"]), label=choices["label"].index(row["answerKey"]))


def to_prompt(sample: Sample) -> Prompt:
    """The question; the options are scored, not shown."""
    answer = None if sample.label is None else sample.choices[sample.label]
    return Prompt(text=f"Question: {sample.fields['question']}\nAnswer:", answer=answer, continuations=sample.choices)


def _task(name: str, config: str, about: str) -> Task:
    def source(split: str) -> Source:
        return Source(path="allenai/ai2_arc", config=config, split=split, revision=REVISION)

    return Task(
        name=name,
        version="1",
        source=source("test"),
        to_sample=to_sample,
        forms={Kind.LOGLIKELIHOOD: Form(to_prompt=to_prompt, metrics=("acc", "acc_norm"))},
        fewshot=Fewshot(source=source("train")),
        about=about,
        paper="https://arxiv.org/abs/1803.05457",
        licence="CC BY-SA 4.0",
    )


TASKS: tuple[Task, ...] = (
    _task("arc_easy", "ARC-Easy", "science questions that simple methods answer"),
    _task("arc_challenge", "ARC-Challenge", "science questions that retrieval and co-occurrence get wrong"),
)
GROUPS: tuple[Group, ...] = ()
