"""Collected statistics: the same whatever the order and the partition, and exact."""

from __future__ import annotations

import math
import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raybench.core.errors import InternalError
from raybench.metrics import statistics
from raybench.metrics.choice import ACC
from raybench.metrics.likelihood import WORD_PERPLEXITY
from raybench.metrics.statistics import Statistics, Table

NUMBERS = st.floats(-1e6, 1e6) | st.sampled_from([0.0, -0.0, 0.1, 1 / 3, 1e-300])
ROWS = st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=40)


def same(a: Table, b: Table) -> bool:
    return a.rows.tobytes() == b.rows.tobytes() and a.counts.tobytes() == b.counts.tobytes()


@settings(deadline=None)
@given(ROWS, st.randoms(use_true_random=False), st.integers(1, 5), st.integers(1, 50))
def test_order_and_partition_change_nothing(rows: list[tuple[float, float]], rng: random.Random, num_parts: int, block: int) -> None:
    names = [rng.choice([None, "a", "b", "c", "d"]) for _ in rows]
    whole = Statistics(WORD_PERPLEXITY, has_clusters=True)
    whole.add(rows, names)

    pairs = list(zip(rows, names, strict=True))
    rng.shuffle(pairs)
    parts = [Statistics(WORD_PERPLEXITY, has_clusters=True) for _ in range(num_parts)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "BLOCK", block)  # so that few rows are packed, too
        for i, (row, name) in enumerate(pairs):
            parts[i % num_parts].add([row], [name])
    for part in parts[1:]:
        parts[0].merge(part)

    assert parts[0].num_samples == whole.num_samples == len(rows)
    assert same(parts[0].samples(), whole.samples())
    ours, theirs = parts[0].clusters(), whole.clusters()
    assert ours is not None
    assert theirs is not None
    assert same(ours, theirs)


@settings(deadline=None)
@given(ROWS, st.integers(1, 2**26 - 1))
def test_sums_are_exact(rows: list[tuple[float, float]], times: int) -> None:
    collected = Statistics(WORD_PERPLEXITY)
    collected.add(rows)
    table = collected.samples()
    many = Table(rows=table.rows, counts=table.counts * 0 + times)

    assert table.sums() == [math.fsum(column) for column in zip(*rows, strict=True)]
    assert many.sums() == [float(sum(Fraction(x) for x in column) * times) for column in many.rows.T.tolist()]


def test_few_distinct_rows_take_constant_memory() -> None:
    collected = Statistics(ACC)
    for _ in range(100):
        collected.add([(1.0,), (0.0,), (1.0,)])

    table = collected.samples()

    assert table.rows.tolist() == [[0.0], [1.0]]
    assert table.counts.tolist() == [100, 200]
    assert collected.num_samples == table.num_units == 300


def test_negative_zero_is_zero_in_any_order() -> None:
    one, other = Statistics(WORD_PERPLEXITY), Statistics(WORD_PERPLEXITY)
    one.add([(-0.0, 1.0), (0.0, 1.0)])
    other.add([(0.0, 1.0), (-0.0, 1.0)])

    assert same(one.samples(), other.samples())


def test_clusters_are_sums_with_the_number_of_their_samples() -> None:
    collected = Statistics(ACC, has_clusters=True)
    collected.add([(1.0,), (0.0,), (1.0,), (1.0,)], ["p", "p", None, "q"])
    collected.add([(1.0,), (1.0,)], ["p", None])

    clusters = collected.clusters()

    assert clusters is not None
    assert clusters.rows.tolist() == [[1.0, 1.0], [2.0, 3.0]]  # q and the two without a name, and p
    assert clusters.counts.tolist() == [3, 1]


def test_it_can_be_read_in_between() -> None:
    collected = Statistics(ACC)
    collected.add([(1.0,)])
    before = collected.samples()
    collected.add([(0.0,), (1.0,)])

    assert before.counts.tolist() == [1]
    assert collected.samples().counts.tolist() == [1, 2]


def test_merging_leaves_the_other_as_it_was() -> None:
    one, other = Statistics(ACC, has_clusters=True), Statistics(ACC, has_clusters=True)
    one.add([(1.0,)], ["b"])
    other.add([(0.0,), (1.0,)], ["a", "b"])
    before = other.samples().rows.tolist()

    one.merge(other)

    clusters = one.clusters()
    assert clusters is not None
    assert np.column_stack([clusters.rows, clusters.counts]).tolist() == [[0, 1, 1], [2, 2, 1]]
    assert other.samples().rows.tolist() == before
    assert other.num_samples == 2


def test_a_row_of_the_wrong_length_is_an_error_that_names_the_metric() -> None:
    collected = Statistics(ACC)
    collected.add([(1.0,), (1.0, 2.0)])

    with pytest.raises(InternalError, match=r"metric acc: score gave \[1, 2\] numbers a sample, stats names 1"):
        collected.samples()


def test_clusters_must_be_given_exactly_when_there_are_any() -> None:
    with pytest.raises(InternalError, match="clusters: none"):
        Statistics(ACC, has_clusters=True).add([(1.0,)])
    with pytest.raises(InternalError, match="has_clusters is False"):
        Statistics(ACC).add([(1.0,)], ["a"])
    with pytest.raises(InternalError, match="1 rows with clusters: 2"):
        Statistics(ACC, has_clusters=True).add([(1.0,)], ["a", "b"])


def test_statistics_of_different_metrics_do_not_merge() -> None:
    with pytest.raises(InternalError, match="cannot be merged"):
        Statistics(ACC).merge(Statistics(WORD_PERPLEXITY))
