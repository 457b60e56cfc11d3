"""Pearson and Spearman against scipy."""

from __future__ import annotations

import random
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raybench.core.errors import ConfigError, DataError
from raybench.metrics.correlation import PEARSON, SPEARMAN, Pearson, Spearman
from raybench.metrics.interval import estimate
from tests.metrics.heads import choice, collect, head, measure, regressed, value_of

CASES = [
    pytest.param([0.0, 1.5, 5.0, 3.25, 4.0], [0.3, 1.1, 4.2, 3.9, 2.0], id="mixed"),
    pytest.param([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], id="identical"),
    pytest.param([1.0, 2.0, 3.0, 7.0], [4.0, 3.0, 2.0, -9.0], id="opposite"),
    pytest.param([1.0, 1.0, 2.0, 2.0, 3.0], [5.0, 6.0, 6.0, 6.0, 1.0], id="ties"),
    pytest.param([1e9 + 0.25, 1e9 + 0.5, 1e9 + 1.0], [1.0, 3.0, 2.0], id="far from 0"),
    pytest.param([1.0, 2.0], [9.0, 8.0], id="two samples"),
]
CORRELATIONS = pytest.mark.parametrize("metric", [PEARSON, SPEARMAN], ids=["pearson", "spearman"])


def scipy_value(metric: Pearson | Spearman, x: object, y: object) -> float:
    from scipy import stats

    return float((stats.pearsonr if metric is PEARSON else stats.spearmanr)(x, y).statistic)


@CORRELATIONS
@pytest.mark.parametrize(("true", "answered"), CASES)
def test_the_numbers_are_those_of_scipy(metric: Pearson | Spearman, true: list[float], answered: list[float]) -> None:
    assert value_of(metric, regressed(true, answered)) == pytest.approx(scipy_value(metric, true, answered), abs=1e-12)


@CORRELATIONS
def test_samples_as_in_stsb_give_the_numbers_of_scipy(metric: Pearson | Spearman) -> None:
    rng = np.random.default_rng(5)
    true = rng.integers(0, 26, 1500) / 5  # scores from 0 to 5 in steps of a fifth: many ties
    answered = (true + rng.normal(size=1500)).astype(np.float32).astype(float)

    assert value_of(metric, regressed(true.tolist(), answered.tolist())) == pytest.approx(scipy_value(metric, true, answered), abs=1e-13)


@CORRELATIONS
def test_identical_numbers_correlate_exactly(metric: Pearson | Spearman) -> None:
    x = np.random.default_rng(1).normal(size=99).tolist()

    assert value_of(metric, regressed(x, x)) == pytest.approx(1.0, abs=1e-15)
    assert value_of(metric, regressed(x, [-v for v in x])) == pytest.approx(-1.0, abs=1e-15)


@CORRELATIONS
@pytest.mark.parametrize("answered", [[0.1] * 7, [0.1]])
def test_the_same_answer_to_all_has_no_correlation(metric: Pearson | Spearman, answered: list[float]) -> None:
    true = [1.0, 2.0, 2.5, 3.0, 4.0, 4.5, 5.0][: len(answered)]
    if len(answered) > 1:
        from scipy import stats

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert np.isnan(stats.pearsonr(true, answered).statistic)  # and so we have none
    assert measure(metric, regressed(true, answered), draws=10).value is None
    assert measure(metric, regressed(answered, true), draws=10).value is None
    assert value_of(metric, []) is None


NUMBERS = st.integers(0, 5).map(float) | st.floats(-5, 5, width=32)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=20), st.randoms(use_true_random=False), st.integers(0, 20))
def test_order_and_cut_change_no_bit(pairs: list[tuple[float, float]], rng: random.Random, cut: int) -> None:
    shuffled = list(pairs)
    rng.shuffle(shuffled)
    for metric in (PEARSON, SPEARMAN):
        whole = collect(metric, regressed(*zip(*pairs, strict=True)))
        parts = [collect(metric, regressed([t for t, _ in p], [a for _, a in p])) for p in (shuffled[:cut], shuffled[cut:])]
        parts[0].merge(parts[1])

        assert estimate(parts[0], num_errors=0, draws=20, seed=1) == estimate(whole, num_errors=0, draws=20, seed=1)


@CORRELATIONS
def test_slopes_are_the_derivative_by_the_weight_of_a_row(metric: Pearson | Spearman) -> None:
    rows = np.array([[1.0, 5.0], [1.0, 6.0], [2.0, 6.0], [2.5, 6.0], [3.0, 1.0], [0.0, 0.0]])
    weights = np.array([3.0, 1.0, 2.0, 5.0, 1.0, 2.0])

    steps = 1e-5 * np.eye(6)
    measured = (metric.over(rows)(weights + steps) - metric.over(rows)(weights - steps)) / 2e-5

    assert metric.slopes(rows, weights) == pytest.approx(measured, abs=1e-9)
    assert (weights * metric.slopes(rows, weights)).sum() == pytest.approx(0, abs=1e-12)


@CORRELATIONS
def test_the_number_of_a_choice_is_its_most_likely_option(metric: Pearson | Spearman) -> None:
    options = ("0.0", "2.5", "5.0")
    answers = [(-1.0, -2.0, -3.0), (-9.0, -1.0, -3.0), (-9.0, -4.0, -3.0), (-1.0, -4.0, -3.0)]
    samples = [choice(*a, targets=(t,), choices=options) for a, t in zip(answers, ("0.2", "3", "4.4", "2.0"), strict=True)]

    assert value_of(metric, samples) == pytest.approx(scipy_value(metric, [0.2, 3, 4.4, 2], [0, 2.5, 5, 0]))


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(DataError, match="the target 'nan' is no finite number"):
        PEARSON.score(head(1.0, targets=("nan",)))
    with pytest.raises(DataError, match="the option 'yes' is no finite number"):
        PEARSON.score(choice(-1.0, targets=("1",), choices=("yes",)))
    with pytest.raises(DataError, match="it has no target"):
        SPEARMAN.score(head(1.0))
    with pytest.raises(ConfigError, match="the head has 3 labels; pearson and spearman need a regression"):
        SPEARMAN.score(head(1.0, 2.0, 3.0, targets=("1",)))
