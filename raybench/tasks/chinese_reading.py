"""CMRC 2018 and DRCD: the answer to a question in Chinese stands in a paragraph of Wikipedia, in simplified and in traditional characters.

Papers: Cui et al. 2019, "A Span-Extraction Dataset for Chinese Machine Reading Comprehension", https://arxiv.org/abs/1810.07366; Shao et al. 2018, "DRCD: a
Chinese Machine Reading Comprehension Dataset", https://arxiv.org/abs/1806.00920
Data: clue/clue on the hub, configurations cmrc2018 and drcd, 3,219 and 3,524 validation rows. Licence: CC BY-SA 4.0 and CC BY-SA 3.0. No commit of it is
pinned here: map it to a copy, or pin it, by `data:`.
Forms: a reader (`span`) finds the place; a prompted model writes it. Metrics: the evaluation script of CMRC 2018 for both, as CLUE has it, and MLQA's F1.
Prompts are raybench's own.
"""

from __future__ import annotations

from raybench.core.types import Kind, Prompt, Sample, Sampling
from raybench.tasks.squad import to_place, to_sample
from raybench.tasks.task import Fewshot, Form, Group, Source, Task


def to_prompt(sample: Sample) -> Prompt:
    """Paragraph and question; an example answers with the first answer."""
    row = sample.fields
    text = f"文章：{row['context']}\n问题：{row['question']}\n答案："
    return Prompt(text=text, answer=sample.targets[0] if sample.targets else None)


_METRICS = ("exact_match_cmrc", "f1_cmrc", "token_f1_zh")


def _task(name: str, about: str, paper: str, licence: str) -> Task:
    return Task(
        name=name,
        version="1",
        source=Source(path="clue/clue", config=name, split="validation"),
        to_sample=to_sample,
        forms={
            Kind.SPAN: Form(to_prompt=to_place, metrics=_METRICS),
            Kind.GENERATE: Form(to_prompt=to_prompt, metrics=_METRICS, delimiter="", sampling=Sampling(max_tokens=64, stop=("\n",))),
        },
        fewshot=Fewshot(source=Source(path="clue/clue", config=name, split="train")),
        about=about,
        paper=paper,
        licence=licence,
    )


TASKS: tuple[Task, ...] = (
    _task("cmrc2018", "questions on Chinese paragraphs, simplified characters", "https://arxiv.org/abs/1810.07366", "CC BY-SA 4.0"),
    _task("drcd", "questions on Chinese paragraphs, traditional characters", "https://arxiv.org/abs/1806.00920", "CC BY-SA 3.0"),
)
GROUPS: tuple[Group, ...] = ()
