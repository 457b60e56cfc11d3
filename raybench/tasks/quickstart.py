"""Three small tasks whose data comes with the package, so that everything can be tried without downloading a data set.

Data: written for raybench (tasks/data/README.md). Licence: Apache-2.0. They show that an installation works; they rank no models.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raybench.core.types import Kind, Prompt, Sample, Sampling
from raybench.tasks.extract import last_number
from raybench.tasks.task import Fewshot, Form, Group, Source, Task


def _source(name: str) -> Source:
    return Source(path=f"package://raybench.tasks/data/quickstart_{name}.jsonl", split=name)


def choice_sample(row: Mapping[str, Any], default_id: str) -> Sample:
    """A question with four options; questions of one topic form a cluster."""
    return Sample(id=row["id"], fields=row, choices=tuple(row["choices"]), label=row["answer"], cluster=row["topic"])


def choice_prompt(sample: Sample) -> Prompt:
    """The question; the options are scored, not shown."""
    answer = None if sample.label is None else sample.choices[sample.label]
    return Prompt(text=f"Question: {sample.fields['question']}\nAnswer:", answer=answer, continuations=sample.choices)


def arithmetic_sample(row: Mapping[str, Any], default_id: str) -> Sample:
    """A word problem; the target is its number."""
    return Sample(id=row["id"], fields=row, targets=(str(row["answer"]),))


def arithmetic_prompt(sample: Sample) -> Prompt:
    """The problem; an example answers as the description asks. Without working: small models lose their way in it, and it takes time."""
    return Prompt(text=f"Question: {sample.fields['question']}\nAnswer:", answer=f"The answer is {sample.fields['answer']}.")


def prose_sample(row: Mapping[str, Any], default_id: str) -> Sample:
    """A passage; words and bytes are counted on it."""
    return Sample(id=row["id"], fields={"title": row["title"]}, targets=(row["text"],))


def prose_prompt(sample: Sample) -> Prompt:
    """The passage."""
    return Prompt(text=sample.targets[0])


TASKS: tuple[Task, ...] = (
    Task(
        name="quickstart/choice",
        version="1",
        source=_source("choice"),
        to_sample=choice_sample,
        forms={Kind.LOGLIKELIHOOD: Form(to_prompt=choice_prompt, metrics=("acc", "acc_norm"))},
        fewshot=Fewshot(sampler="first_n"),
        shard_size=32,
        about="160 general questions with four options, in the package",
        licence="Apache-2.0",
    ),
    Task(
        name="quickstart/arithmetic",
        version="1",
        source=_source("arithmetic"),
        to_sample=arithmetic_sample,
        forms={
            Kind.GENERATE: Form(
                to_prompt=arithmetic_prompt,
                metrics=("exact_match",),
                description="Answer each question with 'The answer is N.', where N is the number.\n\n",
                sampling=Sampling(max_tokens=16, stop=("\n",)),
                extract={"": last_number},
            )
        },
        shots=2,
        fewshot=Fewshot(sampler="first_n"),
        shard_size=24,
        about="120 word problems with a whole number as answer, in the package",
        licence="Apache-2.0",
    ),
    Task(
        name="quickstart/prose",
        version="1",
        source=_source("prose"),
        to_sample=prose_sample,
        forms={Kind.ROLLING: Form(to_prompt=prose_prompt, metrics=("word_perplexity", "byte_perplexity", "bits_per_byte"))},
        shard_size=20,
        about="likelihood of 60 short passages, in the package",
        licence="Apache-2.0",
    ),
)
GROUPS: tuple[Group, ...] = ()
