"""Precision, recall, F1 and the Matthews correlation of classes; definitions and values of scikit-learn 1.9 (sklearn/metrics/_classification.py).

For each class k: tp_k samples of the class that were answered so, answered_k answers, true_k samples.

    precision   tp / answered        recall   tp / true        f1   2 tp / (answered + true)

One number of them:

    (no suffix)  of class 1 of two: the positive one
    _micro       of the sums over classes; with one answer a sample all three are the accuracy
    _macro       plain mean over the classes that are right or answered at least once
    _weighted    mean over classes, weighted by true_k

    matthews     (n sum tp - sum answered true) / sqrt((n^2 - sum answered^2) (n^2 - sum true^2))   (Gorodkin 2004, equation 8)

An error among two classes counts as the other one, in the accuracy of `_micro` as any other; for the rest a wrong answer has no one value: which of
many classes would have been answered is unknown, and in `_weighted` it would shift the weights.

What has the denominator 0 counts 0, as scikit-learn and so the official GLUE and SuperGLUE scores have it (scikit-learn adds a warning).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from raybench.core.errors import ConfigError
from raybench.core.protocols import Scored, Wrong
from raybench.core.types import Sample
from raybench.metrics.decision import decide

_STEP = 1e-20
"""Of the complex-step derivative: f(x + ih) = f(x) + ih f'(x) + O(h^2), so that no digits are lost (Squire and Trapp 1998)."""

Formula = Callable[[Any, Any, Any], Any]
"""tp, answered, true, each [..., K] -> value [...]; made of arithmetic alone, so that it takes complex numbers."""


@dataclass(slots=True, kw_only=True)
class Confusion:
    """A number of the confusion counts of right and answered classes."""

    name: str
    formula: Formula
    is_binary: bool = False
    """Whether it is of two classes only."""
    stats: tuple[str, ...] = ("true", "answered")
    signature: str = ""
    is_mean: bool = False
    higher_is_better: bool = True
    wrong: Wrong = None

    def score(self, scored: Scored) -> tuple[float, ...]:
        decision = decide(scored)
        if self.is_binary and len(decision.scores) != 2:
            raise ConfigError(
                f"metric {self.name}: it is of class 1 of two, and sample '{scored.sample.id}' has {len(decision.scores)} classes. "
                f"Use {self.name}_macro, {self.name}_micro or {self.name}_weighted."
            )
        return float(decision.truth), float(decision.answer)

    def over(self, rows: Any) -> Callable[[Any], Any]:
        parts = self._parts(rows)

        def value(weights: Any) -> Any:
            # matrix products of whole numbers are exact: no order of addition can change them
            return self.formula(*(weights @ part for part in parts))

        return value

    def slopes(self, rows: Any, weights: Any) -> Any:
        parts = self._parts(rows)
        counts = [(weights @ part).astype(np.complex128) for part in parts]  # 3 x [K]
        found = np.zeros(len(rows))
        for i, part in enumerate(parts):
            for k in range(part.shape[1]):
                moved = [c.copy() for c in counts]
                moved[i][k] += 1j * _STEP
                found += part[:, k] * (self.formula(*moved).imag / _STEP)
        return found

    def _parts(self, rows: Any) -> tuple[Any, Any, Any]:
        """What a row adds to tp, answered and true, each [D, K], for the classes that are there; both of them for two classes."""
        classes = np.array([0.0, 1.0]) if self.is_binary else np.unique(rows)
        true, answered = (column[:, None] == classes for column in rows.T)
        return (true & answered).astype(np.float64), answered.astype(np.float64), true.astype(np.float64)


def _other_of_two(sample: Sample) -> tuple[float, ...] | None:
    """Right class and the other one; None where there are more."""
    return (float(sample.label), 1.0 - sample.label) if sample.label is not None and len(sample.choices) == 2 else None


def _any_other(sample: Sample) -> tuple[float, ...] | None:
    """Right class and another one: accuracies do not depend on which."""
    return None if sample.label is None else (float(sample.label), float(not sample.label))


def _ratio(a: Any, b: Any) -> Any:
    """The ratio, and 0 where b is 0."""
    return np.divide(a, b, out=np.zeros_like(a), where=b != 0)


def _precision(tp: Any, answered: Any, true: Any) -> Any:
    return _ratio(tp, answered)


def _recall(tp: Any, answered: Any, true: Any) -> Any:
    return _ratio(tp, true)


def _f1(tp: Any, answered: Any, true: Any) -> Any:
    return _ratio(2 * tp, answered + true)


def _matthews(tp: Any, answered: Any, true: Any) -> Any:
    shared = true.sum(-1) * tp.sum(-1) - (answered * true).sum(-1)
    spread_answered, spread_true = (counts.sum(-1) ** 2 - (counts * counts).sum(-1) for counts in (answered, true))
    return _ratio(shared, np.sqrt(spread_answered) * np.sqrt(spread_true))


def _positive(by_class: Formula) -> Formula:
    return lambda tp, answered, true: by_class(tp, answered, true)[..., 1]


def _micro(by_class: Formula) -> Formula:
    return lambda tp, answered, true: by_class(*(counts.sum(-1, keepdims=True) for counts in (tp, answered, true)))[..., 0]


def _macro(by_class: Formula) -> Formula:
    def mean(tp: Any, answered: Any, true: Any) -> Any:
        num_present = (answered + true != 0).sum(-1)
        return by_class(tp, answered, true).sum(-1) / num_present

    return mean


def _weighted(by_class: Formula) -> Formula:
    return lambda tp, answered, true: (by_class(tp, answered, true) * true).sum(-1) / true.sum(-1)


def _family(name: str, by_class: Formula) -> tuple[Confusion, ...]:
    return (
        Confusion(name=name, formula=_positive(by_class), is_binary=True, signature="average:binary", wrong=_other_of_two),
        Confusion(name=f"{name}_micro", formula=_micro(by_class), signature="average:micro", wrong=_any_other),
        Confusion(name=f"{name}_macro", formula=_macro(by_class), signature="average:macro", wrong=_other_of_two),
        Confusion(name=f"{name}_weighted", formula=_weighted(by_class), signature="average:weighted"),
    )


AVERAGES = ("of class 1 of two", "over all classes together", "mean over classes", "mean over classes, weighted by their samples")
"""What the members of a family are, in order."""
PRECISION = _family("precision", _precision)
RECALL = _family("recall", _recall)
F1 = _family("f1", _f1)
MATTHEWS = Confusion(name="matthews", formula=_matthews, wrong=_other_of_two)
