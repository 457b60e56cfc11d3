"""Correlations of answered with right numbers: Pearson's, and Spearman's, which is Pearson's of the ranks (equal numbers share their mean rank).

As scipy.stats.pearsonr and spearmanr (1.17): where all answers or all right numbers are the same, there is no correlation, and no zero in its place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from raybench.core.protocols import Scored, Wrong
from raybench.metrics.decision import numbers
from raybench.metrics.ranks import Order


@dataclass(slots=True, kw_only=True)
class Pearson:
    """cov(x, y) / sqrt(var(x) var(y))."""

    name: str = "pearson"
    stats: tuple[str, ...] = ("true", "answered")
    signature: str = ""
    is_mean: bool = False
    higher_is_better: bool = True
    wrong: Wrong = None

    def score(self, scored: Scored) -> tuple[float, ...]:
        return numbers(scored)

    def over(self, rows: Any) -> Callable[[Any], Any]:
        columns = [np.ascontiguousarray(column) for column in rows.T]

        def value(weights: Any) -> Any:
            x, y = (_centred(column, weights) for column in columns)
            return _correlation(weights, x, y)

        return value

    def slopes(self, rows: Any, weights: Any) -> Any:
        n = weights.sum()
        x, y = (_centred(column, weights) for column in rows.T)
        u, v = (z / np.sqrt((weights * z * z).sum() / n) for z in (x, y))
        # the influence function of Devlin, Gnanadesikan and Kettenring 1975, equation 2.3, by n
        return (u * v - _correlation(weights, x, y) / 2 * (u * u + v * v)) / n


@dataclass(slots=True, kw_only=True)
class Spearman:
    """Pearson's correlation of the ranks among all samples."""

    name: str = "spearman"
    stats: tuple[str, ...] = ("true", "answered")
    signature: str = ""
    is_mean: bool = False
    higher_is_better: bool = True
    wrong: Wrong = None

    def score(self, scored: Scored) -> tuple[float, ...]:
        return numbers(scored)

    def over(self, rows: Any) -> Callable[[Any], Any]:
        order_x, order_y = (Order(column) for column in rows.T)

        def value(weights: Any) -> Any:
            half = weights.sum(-1, keepdims=True) / 2  # the mean of `below`
            return _correlation(weights, order_x.below(weights) - half, order_y.below(weights) - half)

        return value

    def slopes(self, rows: Any, weights: Any) -> Any:
        half = weights.sum() / 2
        order_x, order_y = (Order(column) for column in rows.T)
        x, y = order_x.below(weights) - half, order_y.below(weights) - half
        shared, var_x, var_y = ((weights * a * b).sum() for a, b in ((x, y), (x, x), (y, y)))
        # a row adds its own product, and moves the ranks of those above it
        d_shared = x * y + order_x.above(weights * y) + order_y.above(weights * x)
        d_x, d_y = (z * z + 2 * order.above(weights * z) for z, order in ((x, order_x), (y, order_y)))
        return d_shared / np.sqrt(var_x * var_y) - shared / np.sqrt(var_x * var_y) / 2 * (d_x / var_x + d_y / var_y)


def _centred(column: Any, weights: Any) -> Any:
    """Deviations from the weighted mean [..., D]; exactly 0 where all that count are the same."""
    is_there = weights > 0
    low, high = np.where(is_there, column, np.inf).min(-1), np.where(is_there, column, -np.inf).max(-1)
    mean = np.where(low == high, low, (weights * column).sum(-1) / weights.sum(-1))
    return column - mean[..., None]


def _correlation(weights: Any, x: Any, y: Any) -> Any:
    """Of deviations [..., D]; NaN where one of the variances is 0."""
    var_x, var_y = (weights * x * x).sum(-1), (weights * y * y).sum(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.clip((weights * x * y).sum(-1) / np.sqrt(var_x * var_y), -1.0, 1.0)


PEARSON = Pearson()
SPEARMAN = Spearman()
