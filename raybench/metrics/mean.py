"""Metrics whose value is the mean of one number a sample: accuracies, matches, F1, pass@k."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from raybench.core.protocols import Scored, Wrong


@dataclass(slots=True, kw_only=True)
class Mean:
    """The mean over samples of a number between 0 (wrong) and 1 (right)."""

    name: str
    score_of: Callable[[Scored], float]
    """The number of one sample, already averaged over its repeats: so that samples with more repeats do not weigh more."""
    stats: tuple[str, ...]
    """Name of that number."""
    signature: str = ""
    is_mean: bool = True
    higher_is_better: bool = True
    wrong: Wrong = (0.0,)

    def score(self, scored: Scored) -> tuple[float, ...]:
        return (self.score_of(scored),)

    def value(self, sums: Any, n: Any) -> Any:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(sums)[..., 0] / np.asarray(n, np.float64)
