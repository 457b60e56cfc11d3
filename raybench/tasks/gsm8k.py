"""GSM8K: word problems of grade school, answered with the working and `#### N`.

Paper: Cobbe et al. 2021, "Training Verifiers to Solve Math Word Problems", https://arxiv.org/abs/2110.14168
Data: openai/gsm8k on the hub, configuration main, 1,319 test problems, 7,473 for examples. Licence: MIT.
Prompts, stops and filters: lm-eval 0.4.13, tasks/gsm8k/gsm8k.yaml; 256 new tokens is that program's default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raybench.core.types import Kind, Prompt, Sample, Sampling
from raybench.tasks.extract import gsm8k_flexible, gsm8k_strict
from raybench.tasks.task import Fewshot, Form, Group, Source, Task

REVISION = "740312add88f781978c0658806c59bc2815b9866"


def to_sample(row: Mapping[str, Any], default_id: str) -> Sample:
    """The target is the whole worked answer; the metric compares what stands after `#### `."""
    return Sample(id=default_id, fields=row, targets=(row["answer"],))


def to_prompt(sample: Sample) -> Prompt:
    """The problem; an example shows the working."""
    return Prompt(text=f"Question: {sample.fields['question']}\nAnswer:", answer=sample.targets[0])


def _source(split: str) -> Source:
    return Source(path="openai/gsm8k", config="main", split=split, revision=REVISION)


TASK = Task(
    name="gsm8k",
    version="1",
    source=_source("test"),
    to_sample=to_sample,
    forms={
        Kind.GENERATE: Form(
            to_prompt=to_prompt,
            metrics=("exact_match_gsm8k",),
            sampling=Sampling(max_tokens=256, stop=("Question:", "</s>", "<|im_end|>")),
            extract={"strict": gsm8k_strict, "flexible": gsm8k_flexible},
        )
    },
    shots=5,
    fewshot=Fewshot(source=_source("train")),
    about="grade-school word problems with worked answers",
    paper="https://arxiv.org/abs/2110.14168",
    licence="MIT",
)
TASKS: tuple[Task, ...] = (TASK,)
GROUPS: tuple[Group, ...] = ()
