"""SQuAD 2.0, where a question may have no answer: right is then the empty answer alone, and an empty answer to any other question is wrong.

As the official evaluation script (evaluate-v2.0.py; the same in transformers, data/metrics/squad_metrics.py): normalised as in SQuAD 1.1, best target
counts. `hasans` are the questions that have an answer, `noans` the others (of which the script prints the same number twice, as exact and as f1).

A reader of spans says that there is no answer where the score of none is above that of its best place, by more than a threshold of 0. The `best` metrics
take the threshold with which the value is highest, and `_threshold` is that number: the difference of the two scores above which none is answered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from raybench.core.outputs import Spans
from raybench.core.protocols import Scored
from raybench.metrics.mean import Mean
from raybench.metrics.ratio import Ratio
from raybench.metrics.text import squad_f1, squad_normalise


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What was answered, and by how much having no answer was preferred to it."""

    text: str
    """Empty where there is none."""
    no_answer: float
    """Score of no answer - score of the text; 0 where there are no scores, or no text."""


def answers(scored: Scored) -> list[Answer]:
    """What was answered to a sample, one a repeat."""
    return [
        _of_spans(p.output) if isinstance(p.output, Spans) else Answer(text=text or "", no_answer=0.0)
        for p, text in zip(scored.predictions, scored.extracted, strict=True)
    ]


def _of_spans(spans: Spans) -> Answer:
    for text, score in zip(spans.texts, spans.scores, strict=True):
        if text.strip():
            return Answer(text=text, no_answer=spans.null_score - score)
    return Answer(text="", no_answer=0.0)


def golds(scored: Scored) -> tuple[str, ...]:
    """The right answers; the empty one where there is none that says anything."""
    return tuple(t for t in scored.sample.targets if squad_normalise(t)) or ("",)


def exact(answer: str, right: Sequence[str]) -> float:
    """1 where the answer is one of the right ones, otherwise 0."""
    return float(squad_normalise(answer) in {squad_normalise(t) for t in right})


def f1(answer: str, right: Sequence[str]) -> float:
    """Token F1 with the best of the right answers; where one of the two is empty, 1 if both are."""
    empty = not squad_normalise(answer).split()
    return max(float(empty) if not squad_normalise(t).split() else squad_f1(answer, t) for t in right)


ScoreOf = Callable[[str, Sequence[str]], float]


def _mean(scored: Scored, score_of: ScoreOf) -> float:
    right = golds(scored)
    values = [score_of("" if a.no_answer > 0 else a.text, right) for a in answers(scored)]
    return sum(values) / len(values)


def _part(scored: Scored, score_of: ScoreOf, has_answer: bool) -> tuple[float, float]:
    return (_mean(scored, score_of), 1.0) if bool(scored.sample.targets) == has_answer else (0.0, 0.0)


_SIGNATURE = "normalise:squad-1.1|no-answer:0"
_PART = ("score", "counted")
EXACT = Mean(name="squad2_exact", score_of=partial(_mean, score_of=exact), stats=("right",), signature=_SIGNATURE)
F1 = Mean(name="squad2_f1", score_of=partial(_mean, score_of=f1), stats=("f1",), signature=_SIGNATURE)
HASANS_EXACT = Ratio(
    name="squad2_hasans_exact", parts_of=partial(_part, score_of=exact, has_answer=True), stats=_PART, signature=_SIGNATURE
)
HASANS_F1 = Ratio(name="squad2_hasans_f1", parts_of=partial(_part, score_of=f1, has_answer=True), stats=_PART, signature=_SIGNATURE)
NOANS = Ratio(name="squad2_noans", parts_of=partial(_part, score_of=exact, has_answer=False), stats=_PART, signature=_SIGNATURE)
