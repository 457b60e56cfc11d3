"""The area under the ROC curve, as scikit-learn's roc_auc_score (1.9) gives it.

It is the chance that a sample of a class gets a higher score for it than a sample of another class, equal scores counting half (Hanley and McNeil 1982).
The score of class k is its logit or summed log-probability minus the log of the sum over the other classes: the same order as its probability, without
the ties that probabilities near 1 get by rounding.

    auroc       of class 1 of two
    auroc_ovr   of each class against all others, plain mean over classes

Undefined where a class, or all others, has no sample: then there is no value.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from raybench.core.errors import ConfigError
from raybench.core.protocols import Scored, Wrong
from raybench.metrics.decision import decide
from raybench.metrics.ranks import Order


@dataclass(slots=True, kw_only=True)
class Auroc:
    """The area under the ROC curve of one class or the mean over all."""

    name: str
    stats: tuple[str, ...]
    is_binary: bool
    signature: str = ""
    is_mean: bool = False
    higher_is_better: bool = True
    wrong: Wrong = None

    def score(self, scored: Scored) -> tuple[float, ...]:
        decision = decide(scored)
        if not self.is_binary:
            return float(decision.truth), *(_margin(decision.scores, k) for k in range(len(decision.scores)))
        if len(decision.scores) != 2:
            raise ConfigError(
                f"metric {self.name}: it is of class 1 of two, and sample '{scored.sample.id}' has {len(decision.scores)} classes. Use auroc_ovr."
            )
        return float(decision.truth), _margin(decision.scores, 1)

    def over(self, rows: Any) -> Callable[[Any], Any]:
        classes = list(self._classes(rows))

        def value(weights: Any) -> Any:
            return sum(_area(weights, is_of, order) for is_of, order in classes) / len(classes)

        return value

    def slopes(self, rows: Any, weights: Any) -> Any:
        found = np.zeros(len(rows))
        classes = list(self._classes(rows))
        for is_of, order in classes:
            inside, outside = weights * is_of, weights * ~is_of
            area = _area(weights, is_of, order)
            # a sample of the class adds the share that it beats, one of another class the share that it is beaten by (DeLong et al. 1988)
            of_class, of_others = order.below(outside) / outside.sum() - area, order.above(inside) / inside.sum() - area
            found += np.where(is_of, of_class / inside.sum(), of_others / outside.sum()) / len(classes)
        return found

    def _classes(self, rows: Any) -> Any:
        """Of each class: which rows are of it [D], and the order of its scores."""
        first = 1 if self.is_binary else 0
        for i in range(1, rows.shape[1]):
            yield rows[:, 0] == first + i - 1, Order(rows[:, i])


def _area(weights: Any, is_of: Any, order: Order) -> Any:
    inside, outside = weights * is_of, weights * ~is_of
    with np.errstate(divide="ignore", invalid="ignore"):
        return (inside * order.below(outside)).sum(-1) / (inside.sum(-1) * outside.sum(-1))


def _margin(scores: tuple[float, ...], k: int) -> float:
    """The log-odds of class k, log p - log(1 - p); infinite scores (impossible options) stay below or above all others."""
    others = [score for i, score in enumerate(scores) if i != k]
    highest = max(others)
    if math.isinf(highest) or math.isinf(scores[k]):
        return -_FAR if scores[k] < highest else _FAR if scores[k] > highest else 0.0
    return scores[k] - highest - math.log(math.fsum(math.exp(score - highest) for score in others))


_FAR = 1e300
"""Stands for an infinite margin; statistics are finite."""

AUROC = Auroc(name="auroc", stats=("true", "margin"), is_binary=True)
AUROC_OVR = Auroc(name="auroc_ovr", stats=("true", "margin_0", "..."), is_binary=False, signature="average:macro")
