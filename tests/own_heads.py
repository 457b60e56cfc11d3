"""Tasks for heads as a user would bring them: the questions of quickstart/choice, read in every way a head can be asked."""

from __future__ import annotations

from dataclasses import replace

from raybench.core.outputs import Classification, Embedding, Likelihoods, Spans, Tags
from raybench.core.protocols import Scored
from raybench.core.types import Kind, Prompt, Sample, Sampling
from raybench.metrics.mean import Mean
from raybench.tasks import quickstart
from raybench.tasks.task import Form, Source, Task
from tests.tiny_models import LABELS, TAGS


def _text(sample: Sample) -> str:
    return str(sample.fields["question"])


def _number(scored: Scored) -> float:
    """Something of every output, to the last bit."""
    match scored.predictions[0].output:
        case Classification(logits=values) | Likelihoods(logprobs=values) | Embedding(vector=values) | Spans(scores=values):
            return values[0]
        case Tags(labels=labels):
            return float(sum(label != "O" for label in labels))
        case _:
            raise AssertionError


FIRST = Mean(name="first", score_of=_number, stats=("first",))
"""The first number of an answer."""

TASK = Task(
    name="own/heads",
    version="1",
    source=Source(path="package://raybench.tasks/data/quickstart_choice.jsonl", split="choice"),
    to_sample=lambda row, default_id: replace(
        quickstart.choice_sample(row, default_id),
        choices=(),
        label=None,
        targets=("yes",) * len(row["question"].split()),  # one a word, as the tags of a sample are
        cluster=None,
    ),
    forms={
        Kind.CLASSIFY: Form(
            to_prompt=lambda s: Prompt(text=_text(s), pair=s.id if len(s.id) % 2 else None),
            metrics=("tests.own_heads:FIRST",),
            labels=LABELS,
        ),
        Kind.TAG: Form(to_prompt=lambda s: Prompt(text="", words=tuple(_text(s).split())), metrics=("tests.own_heads:FIRST",), labels=TAGS),
        Kind.SPAN: Form(to_prompt=lambda s: Prompt(text="who?", pair=_text(s)), metrics=("tests.own_heads:FIRST",)),
        Kind.FILL: Form(
            to_prompt=lambda s: Prompt(text=f"{_text(s)[:60]} [MASK]", continuations=("a", "bc")), metrics=("tests.own_heads:FIRST",)
        ),
        Kind.EMBED: Form(to_prompt=lambda s: Prompt(text=_text(s)), metrics=("tests.own_heads:FIRST",)),
        Kind.GENERATE: Form(to_prompt=lambda s: Prompt(text=_text(s)), metrics=("exact_match",), sampling=Sampling(max_tokens=6)),
        Kind.LOGLIKELIHOOD: Form(
            to_prompt=lambda s: Prompt(text=_text(s), continuations=("yes", "no")), metrics=("tests.own_heads:FIRST",)
        ),
    },
)
