"""The statistics of many samples in little memory: distinct rows with counts, in an order that does not depend on how they came."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from raybench.core.errors import DataError, InternalError
from raybench.core.protocols import AnyMetric

Floats = npt.NDArray[np.float64]

BLOCK = 20_000
"""Distinct rows held as Python objects before they are packed into an array (about 5 MB)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Table:
    """Units of a bootstrap: distinct rows and how many units have each."""

    rows: Floats
    """[D, S], in lexicographic order."""
    counts: Floats
    """[D], whole numbers."""

    @property
    def num_units(self) -> int:
        return int(self.counts.sum())

    def sums(self) -> list[float]:
        """The sum of each column over all units, correctly rounded: no order of addition can change it."""
        return [math.fsum(chain.from_iterable(_products(column, self.counts))) for column in self.rows.T]

    def with_units(self, row: Sequence[float], count: int) -> Table:
        """This table and `count` more units with the same row; distinct rows may then stand twice."""
        return Table(rows=np.vstack([self.rows, np.asarray([row], np.float64)]), counts=np.append(self.counts, float(count)))


def _products(column: Floats, counts: Floats) -> Iterator[list[float]]:
    """Numbers whose exact sum is that of column * counts.

    A product of two doubles is rounded; with the value split into its upper 26 and lower 27 bits both products are exact for counts below 2**26.
    """
    upper = (np.ascontiguousarray(column).view(np.int64) & ~np.int64((1 << 27) - 1)).view(np.float64)
    yield (upper * counts).tolist()
    yield ((column - upper) * counts).tolist()


class Statistics:
    """Collects the statistic rows of one metric, a shard at a time; the result is the same for any order and any partition.

    Metrics with few distinct rows (right or wrong) take constant memory, others (S + 1) * 8 bytes a sample, and with clusters 8 more and the names
    of the clusters. `has_clusters` says whether samples of the task belong together; then every `add` names their clusters.
    """

    def __init__(self, metric: AnyMetric, *, has_clusters: bool = False) -> None:
        self.metric = metric
        self.has_clusters = has_clusters
        self.num_samples = 0
        self._tally: Counter[tuple[float, ...]] = Counter()  # with clusters, the number of the cluster stands before the statistics
        self._packed: list[Floats] = []  # blocks [rows, columns of a key + count]
        self._is_sorted = True  # whether _packed is one block of sorted, distinct rows
        self._clusters: dict[str, int] = {}
        self._num_clusters = 0

    def add(self, rows: Sequence[tuple[float, ...]], clusters: Sequence[str | None] | None = None) -> None:
        """Take in the rows of some samples.

        Args:
            rows: What `metric.score` returned, one a sample.
            clusters: The samples' clusters, when there are any; a sample without one is a cluster of its own.

        Raises:
            InternalError: when clusters are missing, superfluous or of another number.
        """
        if self.has_clusters != (clusters is not None) or (clusters is not None and len(clusters) != len(rows)):
            found = "none" if clusters is None else len(clusters)
            raise InternalError(f"metric {self.metric.name}: {len(rows)} rows with clusters: {found}; has_clusters is {self.has_clusters}.")
        keys = rows if clusters is None else [(self._number(c), *row) for c, row in zip(clusters, rows, strict=True)]
        for start in range(0, len(keys), BLOCK):
            self._tally.update(keys[start : start + BLOCK])
            if len(self._tally) > BLOCK:
                self._pack()
        self.num_samples += len(rows)

    def merge(self, other: Statistics) -> None:
        """Take in what another collector of the same metric has; `other` keeps its own.

        Raises:
            InternalError: when the two do not collect the same.
        """
        mine, theirs = ((s.metric.name, s.metric.signature, s.has_clusters) for s in (self, other))
        if mine != theirs:
            raise InternalError(f"statistics of {theirs} cannot be merged into those of {mine} (metric, signature, has_clusters).")
        if not other.num_samples:
            return  # an empty table does not know how wide it is
        block = other._sorted().copy()
        if self.has_clusters:
            names = {number: name for name, number in other._clusters.items()}
            numbers = np.array([self._number(names.get(i)) for i in range(other._num_clusters)], np.float64)
            block[:, 0] = numbers[block[:, 0].astype(np.int64)]
        self._packed.append(block)
        self._is_sorted = False
        self.num_samples += other.num_samples

    def samples(self) -> Table:
        """Samples as units."""
        packed = self._sorted()
        if self.has_clusters:
            packed = _distinct(packed[:, 1:])
        return Table(rows=packed[:, :-1], counts=packed[:, -1])

    def members(self) -> tuple[Table, npt.NDArray[np.int64] | None]:
        """Distinct rows of each cluster, cluster after cluster, and the number of the cluster of each row; without clusters `samples` and None.

        Clusters are numbered in the order of what they hold, whatever the order in which they came.
        """
        if not self.has_clusters:
            return self.samples(), None
        packed = self._sorted()
        blocks = np.split(packed[:, 1:], _starts(packed[:, :1])[1:])
        blocks = sorted(blocks, key=lambda block: block.tobytes())
        together = np.concatenate(blocks) if len(packed) else packed[:, 1:]
        numbers = np.repeat(np.arange(len(blocks)), [len(block) for block in blocks])
        return Table(rows=together[:, :-1], counts=together[:, -1]), numbers

    def clusters(self) -> Table | None:
        """Clusters as units, when there are any: the sums of each statistic over the cluster's samples, and behind them their number."""
        if not self.has_clusters:
            return None
        packed = self._sorted()
        starts = _starts(packed[:, :1])
        counts = np.ascontiguousarray(packed[:, -1])
        columns = [np.add.reduceat(column * counts, starts) for column in packed[:, 1:-1].T]
        grouped = _distinct(np.column_stack([*columns, np.add.reduceat(counts, starts), np.ones(len(starts))]))
        return Table(rows=grouped[:, :-1], counts=grouped[:, -1])

    def _number(self, cluster: str | None) -> int:
        if cluster is not None and cluster in self._clusters:
            return self._clusters[cluster]
        number = self._num_clusters
        self._num_clusters += 1
        if cluster is not None:
            self._clusters[cluster] = number
        return number

    def _pack(self) -> None:
        if not self._tally:
            return
        lengths = set(map(len, self._tally)) | {block.shape[1] - 1 for block in self._packed}
        width = max(lengths)
        if self.metric.stats[-1] == "...":
            if len(lengths) > 1:
                found = sorted(length - self.has_clusters - len(self.metric.stats) + 2 for length in lengths)
                raise DataError(
                    f"metric {self.metric.name}: samples have {found[0]} to {found[-1]} classes; it compares them class by class, so that all "
                    "samples need the same ones."
                )
        elif lengths != {len(self.metric.stats) + self.has_clusters}:
            found = sorted(length - self.has_clusters for length in lengths)
            raise InternalError(f"metric {self.metric.name}: score gave {found} numbers a sample, stats names {len(self.metric.stats)}.")
        block = np.empty((len(self._tally), width + 1))
        block[:, :-1] = list(self._tally)
        block[:, -1] = list(self._tally.values())
        self._packed.append(block + 0.0)  # makes -0.0 and 0.0 one
        self._is_sorted = False
        self._tally.clear()

    def _sorted(self) -> Floats:
        """All rows as one block of sorted, distinct keys, with counts in the last column."""
        self._pack()
        if not self._is_sorted:
            together = np.concatenate(self._packed)
            self._packed.clear()
            self._packed.append(_distinct(together))
            self._is_sorted = True
        return self._packed[0] if self._packed else np.empty((0, len(self.metric.stats) + self.has_clusters + 1))


def _distinct(block: Floats) -> Floats:
    """Sort the rows of `block` by all columns but the last, make equal ones one, and add up their last column."""
    block = block[np.lexsort(block[:, -2::-1].T)]  # lexsort takes its last key first
    starts = _starts(block[:, :-1])
    if len(starts) == len(block):
        return block
    return np.column_stack([block[starts, :-1], np.add.reduceat(block[:, -1], starts)])


def _starts(keys: Floats) -> npt.NDArray[Any]:
    """Where a new key begins among sorted ones."""
    is_new = np.ones(len(keys), np.bool_)
    is_new[1:] = (keys[1:] != keys[:-1]).any(axis=1)
    return np.flatnonzero(is_new)
