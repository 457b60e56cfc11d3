"""Metrics whose value is a sum over samples divided by another one: scores of a part of the samples, precision, recall and F1 of what is counted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from raybench.core.protocols import Scored, Wrong


@dataclass(slots=True, kw_only=True)
class Ratio:
    """sum of the first statistic / sum of the second."""

    name: str
    parts_of: Callable[[Scored], tuple[float, float]]
    """What a sample adds to both sums."""
    stats: tuple[str, ...]
    """Names of the two."""
    of_nothing: float = math.nan
    """The value where the second sum is 0."""
    signature: str = ""
    is_mean: bool = False
    higher_is_better: bool = True
    wrong: Wrong = None

    def score(self, scored: Scored) -> tuple[float, ...]:
        return self.parts_of(scored)

    def value(self, sums: Any, n: Any) -> Any:
        above, below = (np.asarray(sums)[..., i] for i in range(2))
        return np.divide(above, below, out=np.full_like(above, self.of_nothing), where=below != 0)
