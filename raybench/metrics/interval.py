"""A value with its standard error and interval, from the statistics of a metric."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from raybench.core.errors import InternalError
from raybench.core.protocols import AnyMetric, Metric, TableMetric
from raybench.core.results import Estimate
from raybench.core.types import Sample
from raybench.metrics import bootstrap
from raybench.metrics.statistics import Floats, Statistics, Table
from raybench.metrics.table_interval import of_table, table_method, table_value

Row = tuple[float, ...]
"""Statistics of one sample."""
Z95 = 1.959963984540054
"""97.5th percentile of the standard normal distribution."""


def method(statistics: Statistics) -> bootstrap.Method:
    """How `estimate` draws the replicates of its interval; for signatures. See bootstrap.replicates."""
    if isinstance(statistics.metric, TableMetric):
        return table_method(statistics)
    units = statistics.clusters() or statistics.samples()
    return bootstrap.method_for(units.num_units, len(units.counts))


def estimate(statistics: Statistics, *, num_errors: int, draws: int, seed: int) -> Estimate:
    """The value of the collected samples, its standard error and its 95 % interval.

    Standard error: for means sd / sqrt(n) with n - 1 in the variance, or the clustered one (`standard_error`); for other metrics the standard
    deviation of the bootstrap replicates, which is not divided by anything (see table_interval for metrics that sums cannot give). Interval: 2.5th
    and 97.5th percentile of the replicates, where whole clusters are drawn if there are any. Everything that cannot be known is None: the value when no sample was answered or the metric is undefined or
    infinite, errors and interval when there are fewer than two samples or clusters, or a replicate is undefined.

    Args:
        statistics: Of the answered samples.
        num_errors: Samples without an answer; only reported.
        draws: Bootstrap replicates; 0: no interval, and a standard error only for means.
        seed: Of the bootstrap.
    """
    metric = statistics.metric
    if isinstance(metric, TableMetric):
        return of_table(metric, statistics, num_errors=num_errors, draws=draws, seed=seed)
    samples, clusters = statistics.samples(), statistics.clusters()
    units = clusters or samples
    value = _value(metric, samples)
    stderr: float | None = None
    ci95 = None
    if value is not None and units.num_units >= 2:
        replicated = _replicated_values(metric, units, has_sizes=clusters is not None, draws=draws, seed=seed)
        ci95 = bootstrap.middle(replicated)
        if metric.is_mean:
            stderr = standard_error(samples, clusters)
        elif replicated is not None and draws >= 2:
            stderr = float(replicated.std(ddof=1))
    return Estimate(value=value, stderr=stderr, ci95=ci95, num_samples=statistics.num_samples, num_errors=num_errors)


def wrong_row(metric: AnyMetric, sample: Sample) -> Row | None:
    """The statistics that an error counts for a sample; None where it has no such reading."""
    return metric.wrong(sample) if callable(metric.wrong) else metric.wrong


def value_if_errors_wrong(statistics: Statistics, errors: Mapping[Row | None, int]) -> float | None:
    """The value if further samples had been answered wrongly; None where that has no meaning (perplexity).

    Args:
        statistics: Of the answered samples.
        errors: What `wrong_row` gave for each of the others, and how often.
    """
    metric, table = statistics.metric, statistics.samples()
    for row, count in errors.items():
        if row is None:
            return None
        table = table.with_units(row, count)
    return table_value(metric, table) if isinstance(metric, TableMetric) else _value(metric, table)


def standard_error(samples: Table, clusters: Table | None = None) -> float:
    """Standard error of the mean of the first statistic.

    With clusters c of samples i, and n samples with mean m:

        SE^2 = sum_i (x_i - m)^2 / (n - 1) / n  +  sum_c sum_{i != j in c} (x_i - m)(x_j - m) / n^2

    (Miller 2024, Adding Error Bars to Evals, arXiv:2411.00640; without clusters the second term is 0). The double sum is the square of the
    cluster's sum of deviations minus its sum of squares.

    Args:
        samples: At least two units.
        clusters: As `Statistics.clusters` gives them; at least two units.
    """
    n = samples.num_units
    mean = samples.sums()[0] / n
    squares = math.fsum((samples.counts * (samples.rows[:, 0] - mean) ** 2).tolist())
    variance = squares / (n - 1) / n
    if clusters is not None:
        deviations = clusters.rows[:, 0] - clusters.rows[:, -1] * mean
        variance += (math.fsum((clusters.counts * deviations**2).tolist()) - squares) / n**2
    return math.sqrt(max(0.0, variance))


def combine(estimates: Sequence[Estimate], weights: Literal["samples", "equal"]) -> Estimate:
    """One number of several tasks: sum w_i v_i with standard error sqrt(sum w_i^2 se_i^2).

    The members are taken as independent, and as fixed: the error is that of drawing other samples of the same tasks, not other tasks. Tasks that
    share passages are not independent, and the error is then too small. The interval is value +- 1.96 standard errors. No value when a member has
    none, no error when a member has none.

    Args:
        estimates: Of the members, at least one.
        weights: samples: w_i = n_i / sum n; equal: w_i = 1 / number of members.
    """
    if not estimates:
        raise InternalError("a group without members has no value.")
    num_samples = sum(e.num_samples for e in estimates)
    num_errors = sum(e.num_errors for e in estimates)
    values = [e.value for e in estimates if e.value is not None]
    if len(values) < len(estimates) or num_samples == 0:
        return Estimate(value=None, num_samples=num_samples, num_errors=num_errors)
    parts = [e.num_samples if weights == "samples" else 1 for e in estimates]
    value = math.fsum(w * v for w, v in zip(parts, values, strict=True)) / sum(parts)
    errors = [e.stderr for e in estimates if e.stderr is not None]
    if len(errors) < len(estimates):
        return Estimate(value=value, num_samples=num_samples, num_errors=num_errors)
    stderr = math.sqrt(math.fsum((w * se) ** 2 for w, se in zip(parts, errors, strict=True))) / sum(parts)
    ci95 = value - Z95 * stderr, value + Z95 * stderr
    return Estimate(value=value, stderr=stderr, ci95=ci95, num_samples=num_samples, num_errors=num_errors)


def average(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of several metrics of one task, which stand on the same samples.

    Its standard error is at most the mean of theirs, reached where they always err together; that is what is given.

    Args:
        estimates: Of the metrics, at least one.
    """
    first = estimates[0]
    if len(estimates) == 1:
        return first
    values = [e.value for e in estimates if e.value is not None]
    if len(values) < len(estimates):
        return Estimate(value=None, num_samples=first.num_samples, num_errors=first.num_errors)
    errors = [e.stderr for e in estimates if e.stderr is not None]
    value, stderr = math.fsum(values) / len(values), math.fsum(errors) / len(errors) if len(errors) == len(values) else None
    ci95 = None if stderr is None else (value - Z95 * stderr, value + Z95 * stderr)
    return Estimate(value=value, stderr=stderr, ci95=ci95, num_samples=first.num_samples, num_errors=first.num_errors)


def _value(metric: Metric, samples: Table) -> float | None:
    n = samples.num_units
    if n == 0 or not np.isfinite(samples.rows).all():
        return None
    value = float(_call(metric, np.array(samples.sums()), n))
    return value if math.isfinite(value) else None


def _replicated_values(metric: Metric, units: Table, *, has_sizes: bool, draws: int, seed: int) -> Floats | None:
    """The metric of each replicate [draws]; None when there are none or one is undefined."""
    if draws == 0:
        return None
    sums = bootstrap.replicates(units, draws=draws, seed=seed)
    values: Floats = _call(metric, sums[:, :-1], sums[:, -1]) if has_sizes else _call(metric, sums, units.num_units)
    return values if np.isfinite(values).all() else None


def _call(metric: Metric, sums: Floats, n: Any) -> Any:
    with np.errstate(all="ignore"):
        values = np.asarray(metric.value(sums, n), np.float64)
    if values.shape != sums.shape[:-1]:
        raise InternalError(
            f"metric {metric.name}: value gave an array of shape {values.shape} for sums of shape {sums.shape}, expected {sums.shape[:-1]}."
        )
    return values
