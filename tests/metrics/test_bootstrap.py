"""Replicates have the distribution that probability theory gives them."""

from __future__ import annotations

import numpy as np
import pytest

from raybench.metrics.bootstrap import MAX_UNITS, method_for, replicates
from raybench.metrics.statistics import Table


def table(*rows: tuple[float, ...], counts: list[int] | None = None) -> Table:
    return Table(rows=np.array(rows), counts=np.array(counts or [1] * len(rows), np.float64))


def continuous(n: int) -> Table:
    rng = np.random.default_rng(5)
    x = rng.gamma(2.0, 3.0, n)
    return Table(rows=np.column_stack([x, 2 * x + rng.normal(size=n), np.full(n, 7.0)]), counts=np.ones(n))


def test_two_distinct_rows_follow_the_binomial_distribution() -> None:
    from scipy.stats import binom

    sums = replicates(table((0.0,), (1.0,), counts=[806, 513]), draws=20_000, seed=1)[:, 0]

    for share in (0.025, 0.25, 0.5, 0.75, 0.975):
        assert np.quantile(sums, share) == pytest.approx(binom.ppf(share, 1319, 513 / 1319), abs=1.5)
    assert sums.std() == pytest.approx(binom.std(1319, 513 / 1319), rel=0.02)


@pytest.mark.parametrize("n", [300, MAX_UNITS + 1])
def test_mean_and_covariance_are_those_of_n_draws(n: int) -> None:
    units = continuous(n)

    sums = replicates(units, draws=4000, seed=2)

    # sampling with replacement: mean n m, covariance n Cov with Cov divided by n
    expected = n * np.cov(units.rows[:, :2].T, ddof=0)
    assert np.cov(sums[:, :2].T) == pytest.approx(expected, rel=0.08)
    assert sums.mean(axis=0) == pytest.approx(n * units.rows.mean(axis=0), rel=1e-2)
    assert sums[:, 2] == pytest.approx(7.0 * n)  # a constant stays one


def test_units_drawn_one_by_one_and_counted_have_the_same_distribution() -> None:
    from scipy.stats import ks_2samp

    one_by_one = table((0.0,), (1.0,), (5.0,), counts=[9, 20, 11])  # 40 < 16 * 3
    counted = table((0.0,), (1.0,), (5.0,), counts=[18, 40, 22])

    a = replicates(one_by_one, draws=20_000, seed=3)[:, 0]
    b = replicates(one_by_one, draws=20_000, seed=4)[:, 0]
    c = replicates(counted, draws=20_000, seed=4)[:, 0]

    # two halves of the first kind of draw add up to the second
    assert ks_2samp(a + b, c).pvalue > 0.01


def test_the_normal_limit_agrees_with_drawing_units_at_the_border() -> None:
    below, above = continuous(MAX_UNITS), continuous(MAX_UNITS + 1)

    drawn = replicates(below, draws=3000, seed=6)[:, 0] / MAX_UNITS
    normal = replicates(above, draws=3000, seed=6)[:, 0] / (MAX_UNITS + 1)

    assert method_for(below.num_units, len(below.counts)) == "bootstrap"
    assert method_for(above.num_units, len(above.counts)) == "normal-bootstrap"
    spread = drawn.std()
    for share in (0.025, 0.5, 0.975):
        difference = (np.quantile(normal, share) - above.rows[:, 0].mean()) - (np.quantile(drawn, share) - below.rows[:, 0].mean())
        assert abs(difference) < 0.15 * spread


def test_few_distinct_rows_are_drawn_exactly_for_any_number_of_units() -> None:
    assert method_for(11 * 10**6, 2) == "bootstrap"


def test_a_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    for units in (continuous(200), continuous(MAX_UNITS + 1), table((0.0,), (1.0,), counts=[300, 500])):
        first = replicates(units, draws=50, seed=7)
        assert first.tobytes() == replicates(units, draws=50, seed=7).tobytes()
        assert first.tobytes() != replicates(units, draws=50, seed=8).tobytes()


def test_a_negative_seed_is_a_seed() -> None:
    assert replicates(continuous(20), draws=3, seed=-1).shape == (3, 3)


def test_a_single_distinct_row_never_varies() -> None:
    assert set(replicates(table((0.5,), counts=[1000]), draws=20, seed=0)[:, 0]) == {500.0}
