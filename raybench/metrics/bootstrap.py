"""The bootstrap: what the sums of the statistics, or the counts of the rows, would be if the units had been drawn again, with replacement.

Units are samples or, where samples belong together, clusters. Nothing here goes through a linear algebra library, whose result can depend on
the number of threads: the same table and seed give the same bytes on every machine of a kind.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import numpy.typing as npt

from raybench.metrics.statistics import Floats, Table

Method = Literal["bootstrap", "normal-bootstrap"]

MAX_UNITS = 20_000
"""Up to here units are drawn one by one (about 1 s for 10,000 draws)."""
MAX_TABLE_UNITS = 5_000
"""The same for metrics of the whole table, which are computed anew for each draw (about 3 s for 10,000 draws with ranks)."""
MAX_DISTINCT = 2_000
"""With at most so many distinct rows, only the counts of the rows are drawn, for any number of units (about 1.4 s for 10,000 draws)."""
_CELLS = 1 << 18
"""Numbers drawn at once: 2 MB, which stays in the cache; more is slower."""
_COUNTS_ARE_FASTER = 16
"""A multinomial count costs about as much as so many units drawn one by one (80 against 4.5 ns, NumPy 2.4, x86-64)."""


def method_for(num_units: int, num_distinct: int, *, most: int = MAX_UNITS) -> Method:
    """How units are drawn again: exactly, or in the limit where that takes too long.

    `bootstrap` for up to `most` units or 2,000 distinct rows, otherwise `normal-bootstrap`.
    """
    exact = num_units <= most or num_distinct <= MAX_DISTINCT
    return "bootstrap" if exact else "normal-bootstrap"


def weights(counts: Floats, groups: npt.NDArray[np.int64] | None, *, draws: int, seed: int) -> Iterator[Floats]:
    """How often each row counts when the units are drawn again: n units with replacement, `draws` times.

    Args:
        counts: How often each of D distinct rows is there.
        groups: Number of the cluster of each row, from 0 without gaps: clusters are drawn; None: samples are.
        draws: Number of replicates.
        seed: Of PCG64; taken modulo 2**64.

    Yields:
        Blocks [some draws, D] of at most about 2 MB.
    """
    rng = np.random.Generator(np.random.PCG64(seed % 2**64))
    num_rows = len(counts)
    n = int(counts.sum()) if groups is None else int(groups[-1]) + 1
    if groups is None and num_rows * _COUNTS_ARE_FASTER < n:
        step = max(1, _CELLS // num_rows)
        for start in range(0, draws, step):
            yield rng.multinomial(n, counts / n, size=min(step, draws - start)).astype(np.float64)
        return
    # a unit is a cluster, or one of the samples that have a row
    num_units, unit_of = (num_rows, np.repeat(np.arange(num_rows), counts.astype(np.int64))) if groups is None else (n, np.arange(n))
    step = max(1, _CELLS // max(n, num_rows))
    for start in range(0, draws, step):
        size = min(step, draws - start)
        drawn = unit_of[rng.integers(0, n, size=(size, n))] + np.arange(size)[:, None] * num_units
        times = np.bincount(drawn.ravel(), minlength=size * num_units).reshape(size, num_units).astype(np.float64)
        yield times if groups is None else times[:, groups] * counts


def middle(replicated: Floats | None) -> tuple[float, float] | None:
    """2.5th and 97.5th percentile of the replicates of a value; None where there are none."""
    if replicated is None:
        return None
    low, high = np.percentile(replicated, [2.5, 97.5])
    return float(low), float(high)


def replicates(table: Table, *, draws: int, seed: int) -> Floats:
    """Sums of the columns over as many units as the table has, drawn from it `draws` times.

    `bootstrap` draws n units with replacement: unit by unit, or as multinomial counts of the D distinct rows, whichever is faster; both have the
    same distribution (two distinct rows take one binomial number a draw). Memory is a few blocks of 2 MB.

    `normal-bootstrap` draws the sums from the multivariate normal distribution with mean n * mean and covariance n * Cov (divided by n, not n - 1) of
    the rows: the limit of the former for large n by the central limit theorem. Its distribution function is off by at most about
    skewness / (15 * sqrt(n)), the largest value of the first Edgeworth term, and so below 0.0005 * skewness for the n that it is used for.

    Args:
        table: The units; n >= 1.
        draws: Number of replicates.
        seed: Of PCG64; taken modulo 2**64.

    Returns:
        Array [draws, S].
    """
    rng = np.random.Generator(np.random.PCG64(seed % 2**64))
    if method_for(table.num_units, len(table.counts)) == "normal-bootstrap":
        return _normal(table, draws, rng)
    n, num_distinct = table.num_units, len(table.counts)
    if num_distinct * _COUNTS_ARE_FASTER < n:
        return _counted(table, draws, rng)
    return _drawn(table, draws, rng)


def _counted(table: Table, draws: int, rng: np.random.Generator) -> Floats:
    n, shares = table.num_units, table.counts / table.num_units
    columns = [np.ascontiguousarray(column) for column in table.rows.T]
    sums = np.empty((draws, len(columns)))
    step = max(1, _CELLS // len(shares))
    for start in range(0, draws, step):
        stop = min(start + step, draws)
        counts = rng.multinomial(n, shares, size=stop - start)  # [stop - start, D]
        for j, column in enumerate(columns):
            sums[start:stop, j] = (counts * column).sum(axis=1)
    return sums


def _drawn(table: Table, draws: int, rng: np.random.Generator) -> Floats:
    n, repeats = table.num_units, table.counts.astype(np.int64)
    columns = [np.repeat(column, repeats) for column in table.rows.T]
    sums = np.empty((draws, len(columns)))
    step = max(1, _CELLS // n)
    for start in range(0, draws, step):
        stop = min(start + step, draws)
        units = rng.integers(0, n, size=(stop - start, n))  # [stop - start, n]
        for j, column in enumerate(columns):
            sums[start:stop, j] = column.take(units).sum(axis=1)
    return sums


def _normal(table: Table, draws: int, rng: np.random.Generator) -> Floats:
    n = table.num_units
    mean = np.array(table.sums()) / n
    centered = [np.ascontiguousarray(column) - m for column, m in zip(table.rows.T, mean, strict=True)]
    covariance = np.array([[float((table.counts * a * b).sum()) / n for b in centered] for a in centered])
    factor = _cholesky(covariance)
    normals = rng.standard_normal((draws, len(mean)))
    deviations = (normals[:, None, :] * factor[None, :, :]).sum(axis=2)  # [draws, S]
    replicated: Floats = n * mean + np.sqrt(n) * deviations
    return replicated


def _cholesky(covariance: Floats) -> Floats:
    """Lower triangular L with L @ L.T = covariance, which may be singular (a constant column gives a row of zeros)."""
    size = len(covariance)
    factor = np.zeros((size, size))
    for j in range(size):
        pivot = covariance[j, j] - (factor[j, :j] ** 2).sum()
        if pivot <= 1e-12 * covariance[j, j]:
            continue  # the column is a linear function of those before it
        factor[j, j] = np.sqrt(pivot)
        for i in range(j + 1, size):
            factor[i, j] = (covariance[i, j] - (factor[i, :j] * factor[j, :j]).sum()) / factor[j, j]
    return factor
