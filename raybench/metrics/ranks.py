"""The order of some numbers, sorted once for any weights of them."""

from __future__ import annotations

from typing import Any

import numpy as np


class Order:
    """Which numbers of a column are below and above which; equal ones count half each way."""

    def __init__(self, column: Any) -> None:
        """Sort a column [D]."""
        self._order = np.argsort(column, kind="stable")
        in_order = column[self._order]
        is_new = np.ones(len(column), np.bool_)
        is_new[1:] = in_order[1:] != in_order[:-1]
        self._starts = np.flatnonzero(is_new)
        self._group = np.empty(len(column), np.intp)  # of each row, among the distinct numbers
        self._group[self._order] = np.cumsum(is_new) - 1

    def below(self, weights: Any) -> Any:
        """For each row, the weight of the rows with smaller numbers and half the weight of those with the same [..., D]."""
        equal = np.add.reduceat(weights[..., self._order], self._starts, axis=-1)
        return (np.cumsum(equal, axis=-1) - equal / 2)[..., self._group]

    def above(self, weights: Any) -> Any:
        """The same of larger numbers."""
        return weights.sum(-1, keepdims=True) - self.below(weights)
