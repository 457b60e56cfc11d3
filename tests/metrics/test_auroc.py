"""Areas under ROC curves against scikit-learn."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raybench.core.errors import ConfigError, DataError
from raybench.metrics.auroc import AUROC, AUROC_OVR
from raybench.metrics.interval import estimate
from tests.metrics.heads import choice, collect, head, measure, value_of


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize(
    ("true", "scores"),
    [
        pytest.param([0, 1, 1, 0, 1, 0], [0.3, 0.2, 2.0, -1.0, 0.9, 0.8], id="mixed"),
        pytest.param([0, 1, 1, 0, 1, 0], [0.5, 0.5, 2.0, 0.5, 0.5, 0.1], id="ties"),
        pytest.param([0, 0, 1, 1], [-2.0, -1.0, 1.0, 2.0], id="apart"),
        pytest.param([0, 0, 1, 1], [2.0, 1.0, -1.0, -2.0], id="the wrong way round"),
        pytest.param([0, 1, 0, 1], [0.7, 0.7, 0.7, 0.7], id="all the same"),
    ],
)
def test_two_classes_give_the_area_of_scikit_learn(true: list[int], scores: list[float]) -> None:
    from sklearn.metrics import roc_auc_score

    samples = [head(0.25, 0.25 + s, label=t) for t, s in zip(true, scores, strict=True)]

    assert value_of(AUROC, samples) == pytest.approx(roc_auc_score(true, [sigmoid(s) for s in scores]), abs=1e-15)
    assert value_of(AUROC_OVR, samples) == pytest.approx(roc_auc_score(true, [sigmoid(s) for s in scores]), abs=1e-15)


def test_many_classes_give_the_mean_of_one_against_the_rest_of_scikit_learn() -> None:
    from scipy.special import softmax
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    true = rng.integers(0, 5, 300)
    logits = rng.normal(size=(300, 5)).round(2)
    logits[np.arange(300), true] += 1

    found = value_of(AUROC_OVR, [head(*row, label=int(t)) for row, t in zip(logits.tolist(), true, strict=True)])

    assert found == pytest.approx(roc_auc_score(true, softmax(logits, axis=1), multi_class="ovr", average="macro"), abs=1e-12)


def test_probabilities_that_round_to_one_keep_their_order() -> None:
    # softmax gives 1.0 for all of these in double precision, and scikit-learn half a point for each pair
    samples = [head(0.0, 50.0, label=0), head(0.0, 60.0, label=1), head(0.0, 55.0, label=0), head(0.0, 70.0, label=1)]

    assert value_of(AUROC, samples) == 1.0


def test_impossible_options_stay_in_order() -> None:
    samples = [choice(-1.0, -math.inf, label=0), choice(-math.inf, -1.0, label=1), choice(-1.0, -2.0, label=1)]

    assert value_of(AUROC, samples) == 1.0


@pytest.mark.parametrize("labels", [[], [0, 0], [1]])
def test_one_class_alone_has_no_area(labels: list[int]) -> None:
    samples = [head(0.0, float(i), label=label) for i, label in enumerate(labels)]

    assert value_of(AUROC, samples) is None
    assert measure(AUROC_OVR, samples, draws=10).value is None


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.tuples(*[st.integers(-3, 3)] * 3)), min_size=1, max_size=20),
    st.randoms(use_true_random=False),
    st.integers(0, 20),
)
def test_order_and_cut_change_no_bit(rows: list[tuple[int, tuple[int, ...]]], rng: random.Random, cut: int) -> None:
    samples = [head(*map(float, logits), label=label) for label, logits in rows]
    shuffled = list(samples)
    rng.shuffle(shuffled)
    parts = [collect(AUROC_OVR, part) for part in (shuffled[:cut], shuffled[cut:])]
    parts[0].merge(parts[1])

    assert estimate(parts[0], num_errors=0, draws=20, seed=1) == estimate(collect(AUROC_OVR, samples), num_errors=0, draws=20, seed=1)


@pytest.mark.parametrize("metric", [AUROC, AUROC_OVR], ids=lambda m: m.name)
def test_slopes_are_the_derivative_by_the_weight_of_a_row(metric: object) -> None:
    columns = (
        [[0, 0.5], [0, 1.0], [1, 1.0], [1, 2.0], [1, 0.0]] if metric is AUROC else [[0, 2, 1, 0], [1, 1, 1, 3], [2, 0, 0, 5], [1, 0, 4, 2]]
    )
    rows, weights = np.array(columns, float), np.arange(2.0, 2.0 + len(columns))
    assert metric in (AUROC, AUROC_OVR)
    area = AUROC if metric is AUROC else AUROC_OVR

    steps = 1e-5 * np.eye(len(rows))
    measured = (area.over(rows)(weights + steps) - area.over(rows)(weights - steps)) / 2e-5

    assert area.slopes(rows, weights) == pytest.approx(measured, abs=1e-9)


def test_classes_have_to_be_two_or_the_same_ones_throughout() -> None:
    with pytest.raises(ConfigError, match=r"has 3 classes\. Use auroc_ovr"):
        AUROC.score(head(0.0, 1.0, 2.0, label=0))
    with pytest.raises(DataError, match="samples have 2 to 3 classes"):
        value_of(AUROC_OVR, [head(0.0, 1.0, 2.0, label=0), head(0.0, 1.0, label=0)])
