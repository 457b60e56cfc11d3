"""SQuAD 2.0, where a question may have no answer: right is then the empty answer alone, and an empty answer to any other question is wrong.

As the official evaluation script (evaluate-v2.0.py; the same in transformers, data/metrics/squad_metrics.py): normalised as in SQuAD 1.1, best target
counts. `hasans` are the questions that have an answer, `noans` the others (of which the script prints the same number twice, as exact and as f1).

A reader of spans says that there is no answer where the score of none is above that of its best place, by more than a threshold of 0. The `best` metrics
take the threshold with which the value is highest, and `_threshold` is that number: the difference of the two scores above which none is answered; it is
undefined where answering nothing is best. Answers with the same difference are given or withheld together, while the script tries them one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from raybench.core.outputs import Spans
from raybench.core.protocols import Scored, Wrong
from raybench.core.types import Sample
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


def _nothing_right(sample: Sample, has_answer: bool) -> tuple[float, float]:
    return 0.0, float(bool(sample.targets) == has_answer)


@dataclass(slots=True, kw_only=True)
class Best:
    """The highest value that a threshold can give, or that threshold."""

    name: str
    score_of: ScoreOf
    is_threshold: bool = False
    stats: tuple[str, ...] = ("no_answer", "gain", "right_if_none")
    """How much no answer is preferred; what the answer adds, below 0 where it should not be given; whether no answer is right."""
    signature: str = "normalise:squad-1.1|no-answer:best"
    is_mean: bool = False
    higher_is_better: bool = True
    wrong: Wrong = None

    def score(self, scored: Scored) -> tuple[float, ...]:
        answer, has_answer = answers(scored)[0], bool(scored.sample.targets)
        gain = self.score_of(answer.text, golds(scored)) if has_answer else -float(bool(answer.text))
        return answer.no_answer, gain, float(not has_answer)

    def over(self, rows: Any) -> Callable[[Any], Any]:
        order, ends = _in_order(rows[:, 0])
        gains = rows[order, 1]

        def value(weights: Any) -> Any:
            sums = np.cumsum(weights[..., order] * gains, axis=-1)[..., ends]  # of all answers up to a threshold
            if self.is_threshold:
                return np.where(sums.max(-1) > 0, rows[order, 0][ends][sums.argmax(-1)], np.nan)
            return ((weights * rows[:, 2]).sum(-1) + np.maximum(sums.max(-1), 0.0)) / weights.sum(-1)

        return value

    def slopes(self, rows: Any, weights: Any) -> Any:
        if self.is_threshold:
            return np.full(len(rows), np.nan)  # it jumps: there is no derivative
        order, ends = _in_order(rows[:, 0])
        sums = np.cumsum(weights[order] * rows[order, 1])[ends]
        last = rows[order, 0][ends][sums.argmax()] if sums.max() > 0 else -np.inf
        # at its best the threshold itself may move without changing the value
        return (rows[:, 2] + np.where(rows[:, 0] <= last, rows[:, 1], 0.0) - self.over(rows)(weights)) / weights.sum()


def _in_order(column: Any) -> tuple[Any, Any]:
    """The order of some numbers, and where in it a number stands for the last time."""
    order = np.argsort(column, kind="stable")
    in_order = column[order]
    return order, np.flatnonzero(np.append(in_order[1:] != in_order[:-1], True))


_SIGNATURE = "normalise:squad-1.1|no-answer:0"


def _half(name: str, score_of: ScoreOf, *, has_answer: bool) -> Ratio:
    """The mean over the questions with an answer, or over those without."""
    return Ratio(
        name=name,
        parts_of=partial(_part, score_of=score_of, has_answer=has_answer),
        wrong=partial(_nothing_right, has_answer=has_answer),
        stats=("score", "counted"),
        signature=_SIGNATURE,
    )


_NEVER_RIGHT = (0.0, 0.0, 0.0)
"""Whatever the threshold."""
EXACT = Mean(name="squad2_exact", score_of=partial(_mean, score_of=exact), stats=("right",), signature=_SIGNATURE)
F1 = Mean(name="squad2_f1", score_of=partial(_mean, score_of=f1), stats=("f1",), signature=_SIGNATURE)
HASANS_EXACT = _half("squad2_hasans_exact", exact, has_answer=True)
HASANS_F1 = _half("squad2_hasans_f1", f1, has_answer=True)
NOANS = _half("squad2_noans", exact, has_answer=False)
BEST_EXACT = Best(name="squad2_best_exact", score_of=exact, wrong=_NEVER_RIGHT)
BEST_EXACT_THRESHOLD = Best(name="squad2_best_exact_threshold", score_of=exact, is_threshold=True)
BEST_F1 = Best(name="squad2_best_f1", score_of=f1, wrong=_NEVER_RIGHT)
BEST_F1_THRESHOLD = Best(name="squad2_best_f1_threshold", score_of=f1, is_threshold=True)
