"""LAMBADA: the last word of a passage, by its likelihood and by whether greedy decoding gives it.

Paper: Paperno et al. 2016, "The LAMBADA dataset: Word prediction requiring a broad discourse context", https://arxiv.org/abs/1606.06031
Data: EleutherAI/lambada_openai on the hub (the text as OpenAI cased and spaced it for GPT-2), 5,153 test rows, licence: modified MIT; and
cimec/lambada (the original, lower-cased and tokenised), 5,153 test rows, 4,869 validation rows, licence: CC BY 4.0. The original has no pinned commit
here: a run says which `data:` entry to write.
Prompts: lm-eval 0.4.13, tasks/lambada/lambada_openai.yaml and lambada_standard.yaml (version 1.0). What that program calls `acc` is `greedy_acc`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raybench.core.types import Kind, Prompt, Sample
from raybench.tasks.task import Fewshot, Form, Group, Source, Task

REVISION = "900124bf3b8235c6daf21033af9948b3f07346c4"


def to_sample(row: Mapping[str, Any], default_id: str) -> Sample:
    """The target is the last word: what stands behind the last space."""
    return Sample(id=default_id, fields=row, targets=(row["text"].rpartition(" ")[2],))


def to_prompt(sample: Sample) -> Prompt:
    """The passage before its last word.

    The space before the word is a part of the continuation and stays under a chat template, where delimiters go. An example of the harness has two
    spaces there: its delimiter and the target's own.
    """
    word = f" {sample.targets[0]}"
    return Prompt(text=sample.fields["text"].rpartition(" ")[0], answer=f" {word}", continuations=(word,))


def _task(name: str, source: Source, pool: Source | None, about: str, licence: str) -> Task:
    form = Form(to_prompt=to_prompt, metrics=("perplexity", "greedy_acc"), delimiter="")
    return Task(
        name=name,
        version="1",
        source=source,
        to_sample=to_sample,
        forms={Kind.LOGLIKELIHOOD: form},
        fewshot=Fewshot(source=pool),
        about=about,
        paper="https://arxiv.org/abs/1606.06031",
        licence=licence,
    )


TASKS: tuple[Task, ...] = (
    _task(
        "lambada_openai",
        Source(path="EleutherAI/lambada_openai", config="default", split="test", revision=REVISION),
        None,
        "last word of a passage, natural text",
        "modified MIT",
    ),
    _task(
        "lambada_standard",
        Source(path="cimec/lambada", split="test"),
        Source(path="cimec/lambada", split="validation"),
        "last word of a passage, lower-cased and tokenised",
        "CC BY 4.0",
    ),
)
GROUPS: tuple[Group, ...] = ()
