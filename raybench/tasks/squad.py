"""SQuAD 1.1 and 2.0: the answer to a question stands in a paragraph of Wikipedia, or, in 2.0, nowhere.

Papers: Rajpurkar et al. 2016, "SQuAD: 100,000+ Questions for Machine Comprehension of Text", https://arxiv.org/abs/1606.05250; Rajpurkar et al. 2018, "Know
What You Don't Know: Unanswerable Questions for SQuAD", https://arxiv.org/abs/1806.03822
Data: rajpurkar/squad and rajpurkar/squad_v2 on the hub, 10,570 and 11,873 validation rows, 87,599 and 130,319 for examples. Licence: CC BY-SA 4.0.
Forms: a reader (`span`) finds the place; a prompted model writes it. Metrics are those of the official evaluation scripts.
Prompts: lm-eval 0.4.13, tasks/squadv2/task.py (version 3), for both. There the answer to a question without one is `unanswerable`, in examples too, and a
model that says so is counted wrong; here that word is read as no answer. The threshold of the `best` metrics needs the score of no answer, which
only a reader gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raybench.core.fingerprint import digest
from raybench.core.types import Kind, Prompt, Sample, Sampling
from raybench.tasks.task import Fewshot, Form, Group, Source, Task

UNANSWERABLE = "unanswerable"


def to_sample(row: Mapping[str, Any], default_id: str) -> Sample:
    """The different answers in their order; questions about one paragraph form a cluster."""
    return Sample(id=row["id"], fields=row, targets=tuple(dict.fromkeys(row["answers"]["text"])), cluster=digest(row["context"])[:16])


def to_place(sample: Sample) -> Prompt:
    """The question, and the paragraph to look in."""
    return Prompt(text=sample.fields["question"], pair=sample.fields["context"])


def to_prompt(sample: Sample) -> Prompt:
    """Title, paragraph and question; an example answers with the first answer."""
    row = sample.fields
    text = f"Title: {row['title']}\n\nBackground: {row['context']}\n\nQuestion: {row['question']}\n\nAnswer:"
    return Prompt(text=text, answer=sample.targets[0] if sample.targets else UNANSWERABLE)


def answer_or_none(text: str) -> str:
    """The generated answer; empty where it says that there is none."""
    found = text.strip()
    return "" if found.rstrip(".").lower() == UNANSWERABLE else found


def _source(name: str, revision: str, split: str) -> Source:
    return Source(path=name, split=split, revision=revision)


_HUB = "rajpurkar/squad", "7b6d24c440a36b6815f21b70d25016731768db1f"
_HUB_2 = "rajpurkar/squad_v2", "3ffb306f725f7d2ce8394bc1873b24868140c412"
_SAMPLING = Sampling(max_tokens=256, stop=("\n",))
_METRICS = ("exact_match_squad", "token_f1")
_METRICS_2 = ("squad2_exact", "squad2_f1", "squad2_hasans_exact", "squad2_hasans_f1", "squad2_noans")
_BEST = ("squad2_best_exact", "squad2_best_exact_threshold", "squad2_best_f1", "squad2_best_f1_threshold")
TASKS: tuple[Task, ...] = (
    Task(
        name="squad",
        version="1",
        source=_source(*_HUB, split="validation"),
        to_sample=to_sample,
        forms={
            Kind.SPAN: Form(to_prompt=to_place, metrics=_METRICS),
            Kind.GENERATE: Form(to_prompt=to_prompt, metrics=_METRICS, sampling=_SAMPLING),
        },
        fewshot=Fewshot(source=_source(*_HUB, split="train")),
        about="questions whose answer stands in a paragraph (SQuAD 1.1)",
        paper="https://arxiv.org/abs/1606.05250",
        licence="CC BY-SA 4.0",
    ),
    Task(
        name="squad_v2",
        version="1",
        source=_source(*_HUB_2, split="validation"),
        to_sample=to_sample,
        forms={
            Kind.SPAN: Form(to_prompt=to_place, metrics=(*_METRICS_2, *_BEST)),
            Kind.GENERATE: Form(to_prompt=to_prompt, metrics=_METRICS_2, sampling=_SAMPLING, extract={"": answer_or_none}),
        },
        fewshot=Fewshot(source=_source(*_HUB_2, split="train")),
        about="questions whose answer stands in a paragraph or nowhere (SQuAD 2.0)",
        paper="https://arxiv.org/abs/1806.03822",
        licence="CC BY-SA 4.0",
    ),
)
GROUPS: tuple[Group, ...] = ()
