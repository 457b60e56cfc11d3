"""WinoGrande: which of two names fills the gap of a sentence, by the likelihood of what follows the gap.

Paper: Sakaguchi et al. 2019, "WinoGrande: An Adversarial Winograd Schema Challenge at Scale", https://arxiv.org/abs/1907.10641
Data: allenai/winogrande on the hub, configuration winogrande_xl, 1,267 validation rows, 40,398 for examples. Licence: CC BY.
Prompts: lm-eval 0.4.13, tasks/winogrande (version 1.0): partial evaluation (Trinh and Le 2018, https://arxiv.org/abs/1806.02847). The sentence up to the
gap with each of the names is the context, the rest of the sentence the one continuation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raybench.core.types import Kind, Prompt, Sample
from raybench.tasks.task import Fewshot, Form, Group, Source, Task

REVISION = "01e74176c63542e6b0bcb004dcdea22d94fb67b5"


def to_sample(row: Mapping[str, Any], default_id: str) -> Sample:
    """Two options; `answer` is 1 or 2 as text."""
    return Sample(id=default_id, fields=row, choices=(row["option1"], row["option2"]), label=("1", "2").index(row["answer"]))


def to_prompt(sample: Sample) -> Prompt:
    """One context an option. An example shows the sentence with the right one."""
    before, _, after = sample.fields["sentence"].partition("_")
    contexts = tuple(before + option for option in sample.choices)
    rest = after.strip()
    return Prompt(text="" if sample.label is None else contexts[sample.label], contexts=contexts, continuations=(rest,), answer=rest)


def _source(split: str) -> Source:
    return Source(path="allenai/winogrande", config="winogrande_xl", split=split, revision=REVISION)


TASK = Task(
    name="winogrande",
    version="1",
    source=_source("validation"),
    to_sample=to_sample,
    forms={Kind.LOGLIKELIHOOD: Form(to_prompt=to_prompt, metrics=("acc",))},
    fewshot=Fewshot(source=_source("train")),
    about="which of two names fills a gap",
    paper="https://arxiv.org/abs/1907.10641",
    licence="CC BY",
)
TASKS: tuple[Task, ...] = (TASK,)
GROUPS: tuple[Group, ...] = ()
