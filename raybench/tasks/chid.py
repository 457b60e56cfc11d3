"""CHID: which of seven idioms of four characters fits into the gap of a text.

Paper: Zheng et al. 2019, "ChID: A Large-scale Chinese IDiom Dataset for Cloze Test", https://arxiv.org/abs/1906.01265; in the rows of FewCLUE, one gap each:
Xu et al. 2021, https://arxiv.org/abs/2107.07498
Data: the authors' files (github.com/CLUEbenchmark/FewCLUE, datasets/chid), 2,002 public test rows; the hub has no such rows, so map
CLUEbenchmark/FewCLUE:chid to a copy by `data:`. CLUE's own (clue/clue:chid there) are of another shape, several passages and gaps for the same ten
idioms, and are not read. Licence: the authors state none yet.
Forms: a masked language model fills the gap (`fill`); any other compares the likelihoods of the rest of the text with each idiom at its beginning. Metric:
accuracy, of summed log-probabilities.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raybench.core.types import MASK, Kind, Prompt, Sample
from raybench.tasks.task import Fewshot, Form, Group, Source, Task

GAP = "#idiom#"


def to_sample(row: Mapping[str, Any], default_id: str) -> Sample:
    """Seven idioms; `answer` is the number of the right one."""
    return Sample(id=default_id, fields=row, choices=tuple(row["candidates"]), label=row["answer"])


def to_filled(sample: Sample) -> Prompt:
    """The text with a mask in the gap."""
    return Prompt(text=sample.fields["content"].replace(GAP, MASK), continuations=sample.choices)


def to_prompt(sample: Sample) -> Prompt:
    """The text up to the gap, and the rest with each of the idioms."""
    before, _, after = sample.fields["content"].partition(GAP)
    options = tuple(idiom + after for idiom in sample.choices)
    return Prompt(text=before, answer=None if sample.label is None else options[sample.label], continuations=options)


TASK = Task(
    name="chid",
    version="1",
    source=Source(path="CLUEbenchmark/FewCLUE", config="chid", split="test_public"),
    to_sample=to_sample,
    forms={
        Kind.FILL: Form(to_prompt=to_filled, metrics=("acc",)),
        Kind.LOGLIKELIHOOD: Form(to_prompt=to_prompt, metrics=("acc",), delimiter=""),
    },
    fewshot=Fewshot(source=Source(path="CLUEbenchmark/FewCLUE", config="chid", split="train")),
    about="which idiom fits into a gap (CLUE, FewCLUE)",
    paper="https://arxiv.org/abs/1906.01265",
    licence="not stated",
)
TASKS: tuple[Task, ...] = (TASK,)
GROUPS: tuple[Group, ...] = ()
