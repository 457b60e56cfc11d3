"""Whether probabilities mean what they say: the expected calibration error, and the Brier score.

The probabilities are the softmax of a head's logits, or of the summed log-probabilities of the options.

    ece     sum over bins of |sum of (confidence - right)| / n: confidence is the highest probability, the bins are (0, 1/15], ..., (14/15, 1]
            (Guo et al. 2017, On Calibration of Modern Neural Networks, equation 3 and section 2, with their 15 bins)
    brier   mean of sum over classes of (probability - truth)^2 (Brier 1950); with two classes half of it, as scikit-learn's brier_score_loss (1.9)
            has it: 0 to 1 for two classes, 0 to 2 for more
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from raybench.core.protocols import Scored, Wrong
from raybench.metrics.decision import decide
from raybench.metrics.mean import Mean

NUM_BINS = 15


@dataclass(slots=True, kw_only=True)
class CalibrationError:
    """A statistic a bin: its sum of confidence minus right answers."""

    name: str = "ece"
    stats: tuple[str, ...] = tuple(f"gap_{i}" for i in range(NUM_BINS))
    signature: str = f"bins:{NUM_BINS}-equal-width"
    is_mean: bool = False
    higher_is_better: bool = False
    wrong: Wrong = None

    def score(self, scored: Scored) -> tuple[float, ...]:
        decision = decide(scored)
        confidence = decision.probabilities[decision.answer]
        at = min(NUM_BINS, max(1, math.ceil(confidence * NUM_BINS))) - 1
        gap = confidence - (decision.answer == decision.truth)
        return tuple(gap if i == at else 0.0 for i in range(NUM_BINS))

    def value(self, sums: Any, n: Any) -> Any:
        return np.abs(sums).sum(-1) / np.asarray(n, np.float64)


def _squared_error(scored: Scored) -> float:
    decision = decide(scored)
    error = math.fsum((p - (k == decision.truth)) ** 2 for k, p in enumerate(decision.probabilities))
    return error / 2 if len(decision.scores) == 2 else error


ECE = CalibrationError()
BRIER = Mean(name="brier", score_of=_squared_error, stats=("squared_error",), higher_is_better=False, wrong=None)
