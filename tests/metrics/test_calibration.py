"""Calibration against scikit-learn's Brier score, and a loop over bins as Guo et al. 2017 define it."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raybench.metrics.calibration import BRIER, ECE
from raybench.metrics.interval import estimate
from tests.metrics.heads import choice, collect, head, measure, value_of

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(300, 4)) * 2
LABELS = RNG.integers(0, 4, 300)


def ece_by_definition(probabilities: np.ndarray, labels: np.ndarray) -> float:
    # Guo et al. 2017, equation 3: sum over bins ((m-1)/M, m/M] of |B_m| / n |acc(B_m) - conf(B_m)|, M = 15
    confidence, is_right = probabilities.max(1), probabilities.argmax(1) == labels
    found = 0.0
    for m in range(1, 16):
        inside = (confidence > (m - 1) / 15) & (confidence <= m / 15)
        if inside.any():
            found += inside.mean() * abs(is_right[inside].mean() - confidence[inside].mean())
    return found


@pytest.mark.parametrize("num_classes", [2, 4])
def test_probabilities_of_a_head_give_the_numbers_of_outside(num_classes: int) -> None:
    from scipy.special import softmax
    from sklearn.metrics import brier_score_loss

    logits, labels = LOGITS[:, :num_classes], LABELS % num_classes
    samples = [head(*row, label=int(t)) for row, t in zip(logits.tolist(), labels, strict=True)]
    probabilities = softmax(logits, axis=1)

    assert value_of(ECE, samples) == pytest.approx(ece_by_definition(probabilities, labels), rel=1e-12)
    expected = brier_score_loss(labels, probabilities[:, 1] if num_classes == 2 else probabilities)
    assert value_of(BRIER, samples) == pytest.approx(expected, rel=1e-12)


def test_certain_and_right_is_best_and_certain_and_wrong_is_worst() -> None:
    right, wrong = [choice(0.0, -math.inf, label=0)] * 3, [choice(0.0, -math.inf, label=1)] * 3

    assert (value_of(ECE, right), value_of(BRIER, right)) == (0.0, 0.0)
    assert (value_of(ECE, wrong), value_of(BRIER, wrong)) == (1.0, 1.0)
    assert value_of(BRIER, [head(99.0, -999.0, -999.0, label=1)]) == pytest.approx(2.0)
    assert value_of(ECE, []) is None
    assert value_of(BRIER, []) is None


def test_the_edge_of_a_bin_belongs_to_the_lower_one() -> None:
    # probabilities 1/3 each: the edge of bins 5 and 6; with a third of the samples right nothing is miscalibrated
    samples = [head(0.0, 0.0, 0.0, label=label) for label in (0, 1, 2)]

    assert value_of(ECE, samples) == pytest.approx(0.0, abs=1e-15)
    assert ECE.score(samples[0])[4] != 0.0


def test_options_that_are_all_impossible_are_equally_likely() -> None:
    assert value_of(BRIER, [choice(-math.inf, -math.inf, label=0)]) == 0.25


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.tuples(*[st.floats(-30, 30)] * 3)), min_size=1, max_size=20),
    st.randoms(use_true_random=False),
    st.integers(0, 20),
)
def test_order_and_cut_change_no_bit(rows: list[tuple[int, tuple[float, ...]]], rng: random.Random, cut: int) -> None:
    samples = [head(*logits, label=label) for label, logits in rows]
    shuffled = list(samples)
    rng.shuffle(shuffled)
    for metric in (ECE, BRIER):
        parts = [collect(metric, part) for part in (shuffled[:cut], shuffled[cut:])]
        parts[0].merge(parts[1])

        found = estimate(parts[0], num_errors=0, draws=20, seed=1)
        assert found == estimate(collect(metric, samples), num_errors=0, draws=20, seed=1)
        assert found.value is not None
        assert 0.0 <= found.value <= (1.0 if metric is ECE else 2.0)


def test_the_error_of_the_calibration_error_is_the_sd_of_drawn_samples() -> None:
    from scipy.special import softmax

    probabilities = softmax(LOGITS, axis=1)
    samples = [head(*row, label=int(t)) for row, t in zip(LOGITS.tolist(), LABELS, strict=True)]
    rng = np.random.default_rng(1)
    values = [ece_by_definition(probabilities[at], LABELS[at]) for at in rng.integers(0, 300, (600, 300))]

    assert measure(ECE, samples, draws=4000).stderr == pytest.approx(np.std(values), rel=0.1)
