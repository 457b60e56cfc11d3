"""Value, standard error and interval of a metric of the whole table: classes and ranks, which sums cannot give.

Up to 5,000 units the rows' counts are drawn again and the metric is computed anew for each draw. Above that the standard error is the infinitesimal
jackknife, sqrt(sum over units of (derivative of the value by the unit's weight)^2), and the replicates are normal around the value (Efron 1982, The
Jackknife, the Bootstrap and Other Resampling Plans, chapter 6): one sort instead of 10,000.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from raybench.core.errors import InternalError
from raybench.core.protocols import TableMetric
from raybench.core.results import Estimate
from raybench.metrics import bootstrap
from raybench.metrics.statistics import Floats, Statistics, Table


def of_table(metric: TableMetric, statistics: Statistics, *, num_errors: int, draws: int, seed: int) -> Estimate:
    """As interval.estimate; the standard error is the standard deviation of the replicates, and None without them."""
    value = table_value(metric, statistics.samples())
    members, groups = statistics.members()
    replicated = None
    if value is not None and draws and _num_units(members, groups) >= 2:
        if _method(members, groups) == "bootstrap":
            value_of = metric.over(members.rows)
            drawn = bootstrap.weights(members.counts, groups, draws=draws, seed=seed)
            replicated = np.concatenate([_checked(metric, value_of, weights) for weights in drawn])
        else:
            normals = np.random.Generator(np.random.PCG64(seed % 2**64)).standard_normal(draws)
            replicated = value + _jackknifed(metric, members, groups) * normals
        if not np.isfinite(replicated).all():
            replicated = None
    stderr = float(replicated.std(ddof=1)) if replicated is not None and draws >= 2 else None
    return Estimate(
        value=value, stderr=stderr, ci95=bootstrap.middle(replicated), num_samples=statistics.num_samples, num_errors=num_errors
    )


def table_value(metric: TableMetric, samples: Table) -> float | None:
    """The value of the samples; None where there are none, or it is undefined."""
    if samples.num_units == 0 or not np.isfinite(samples.rows).all():
        return None
    value = float(_checked(metric, metric.over(samples.rows), samples.counts))
    return value if math.isfinite(value) else None


def table_method(statistics: Statistics) -> bootstrap.Method:
    """How `of_table` draws."""
    return _method(*statistics.members())


def _method(members: Table, groups: npt.NDArray[np.int64] | None) -> bootstrap.Method:
    num_units = _num_units(members, groups)
    num_distinct = len(members.counts) if groups is None else num_units
    return bootstrap.method_for(num_units, num_distinct, most=bootstrap.MAX_TABLE_UNITS)


def _num_units(members: Table, groups: npt.NDArray[np.int64] | None) -> int:
    return members.num_units if groups is None else len(np.unique(groups))


def _jackknifed(metric: TableMetric, members: Table, groups: npt.NDArray[np.int64] | None) -> float:
    slopes = np.asarray(metric.slopes(members.rows, members.counts), np.float64)
    if groups is None:
        return math.sqrt(math.fsum((members.counts * slopes**2).tolist()))
    return math.sqrt(math.fsum((np.bincount(groups, members.counts * slopes) ** 2).tolist()))


def _checked(metric: TableMetric, value_of: Callable[[Any], Any], weights: Floats) -> Floats:
    with np.errstate(all="ignore"):
        values = np.asarray(value_of(weights), np.float64)
    if values.shape != weights.shape[:-1]:
        raise InternalError(
            f"metric {metric.name}: an array of shape {values.shape} came for weights of shape {weights.shape}, expected {weights.shape[:-1]}."
        )
    return values
