"""Precision, recall, F1 and Matthews against scikit-learn, whose numbers the official GLUE and SuperGLUE scores are."""

from __future__ import annotations

import random
import warnings
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raybench.core.errors import ConfigError, DataError
from raybench.core.protocols import TableMetric
from raybench.metrics.choice import ACC
from raybench.metrics.confusion import F1, MATTHEWS, PRECISION, RECALL, Confusion
from raybench.metrics.interval import estimate
from raybench.metrics.registry import get_metric
from tests.metrics.heads import choice, classified, collect, head, value_of

BINARY = [
    pytest.param([0, 1, 1, 0, 1, 1, 0], [0, 1, 0, 1, 1, 1, 0], id="mixed"),
    pytest.param([0, 1, 0, 1], [0, 1, 0, 1], id="identical"),
    pytest.param([0, 1, 0, 1], [1, 0, 1, 0], id="disjoint"),
    pytest.param([0, 0, 0], [0, 0, 0], id="nothing positive"),
    pytest.param([0, 1, 1], [0, 0, 0], id="nothing answered positive"),
    pytest.param([0, 0, 0], [1, 1, 0], id="nothing truly positive"),
    pytest.param([1], [1], id="one sample"),
]
MANY = [
    pytest.param([0, 1, 2, 3, 2, 1, 0, 2], [0, 2, 2, 3, 1, 1, 0, 2], id="mixed"),
    pytest.param([0, 1, 2, 3], [0, 1, 2, 3], id="identical"),
    pytest.param([0, 1, 2, 3], [3, 2, 1, 0], id="disjoint"),
    pytest.param([0, 0, 2, 2], [0, 1, 2, 2], id="a class never right, one never there"),
    pytest.param([2, 2, 2], [2, 2, 2], id="one class"),
    pytest.param([0, 1, 1, 0], [2, 2, 2, 2], id="always the same"),
]


def sklearn_value(metric: Confusion, true: Sequence[int], answered: Sequence[int]) -> float:
    from sklearn import metrics

    name, _, average = metric.name.partition("_")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns where it divides by 0, and gives 0
        if name == "matthews":
            return float(metrics.matthews_corrcoef(true, answered))
        function = {"precision": metrics.precision_score, "recall": metrics.recall_score, "f1": metrics.f1_score}[name]
        return float(function(true, answered, average=average or "binary"))


@pytest.mark.parametrize("metric", [PRECISION[0], RECALL[0], F1[0], MATTHEWS], ids=lambda m: m.name)
@pytest.mark.parametrize(("true", "answered"), BINARY)
def test_two_classes_give_the_numbers_of_scikit_learn(metric: Confusion, true: list[int], answered: list[int]) -> None:
    assert value_of(metric, classified(true, answered, 2)) == pytest.approx(sklearn_value(metric, true, answered), abs=1e-14)


@pytest.mark.parametrize("metric", [*PRECISION[1:], *RECALL[1:], *F1[1:], MATTHEWS], ids=lambda m: m.name)
@pytest.mark.parametrize(("true", "answered"), MANY)
def test_many_classes_give_the_numbers_of_scikit_learn(metric: Confusion, true: list[int], answered: list[int]) -> None:
    assert value_of(metric, classified(true, answered, 4)) == pytest.approx(sklearn_value(metric, true, answered), abs=1e-14)


@pytest.mark.parametrize("metric", [*F1[1:], MATTHEWS], ids=lambda m: m.name)
def test_150_classes_give_the_numbers_of_scikit_learn(metric: Confusion) -> None:
    rng = np.random.default_rng(0)
    true = rng.integers(0, 150, 2000)
    answered = np.where(rng.random(2000) < 0.7, true, rng.integers(0, 150, 2000))

    found = value_of(metric, classified(true.tolist(), answered.tolist(), 150))

    assert found == pytest.approx(sklearn_value(metric, true.tolist(), answered.tolist()), rel=1e-12)


def test_no_sample_has_no_value() -> None:
    assert value_of(F1[0], []) is None
    assert value_of(MATTHEWS, []) is None


PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30)


@settings(deadline=None, max_examples=60)
@given(PAIRS, st.randoms(use_true_random=False), st.integers(0, 30))
def test_order_and_cut_change_no_bit(pairs: list[tuple[int, int]], rng: random.Random, cut: int) -> None:
    shuffled = list(pairs)
    rng.shuffle(shuffled)
    for metric in (*F1[1:], MATTHEWS):
        whole = collect(metric, classified(*zip(*pairs, strict=True), 4))
        parts = [collect(metric, classified([t for t, _ in p], [a for _, a in p], 4)) for p in (shuffled[:cut], shuffled[cut:])]
        parts[0].merge(parts[1])

        assert estimate(parts[0], num_errors=0, draws=20, seed=1) == estimate(whole, num_errors=0, draws=20, seed=1)


@settings(deadline=None, max_examples=60)
@given(PAIRS)
def test_micro_averages_are_the_accuracy_and_all_right_is_best(pairs: list[tuple[int, int]]) -> None:
    true, answered = [t for t, _ in pairs], [a for _, a in pairs]
    samples = classified(true, answered, 4)

    assert value_of(F1[1], samples) == value_of(PRECISION[1], samples) == value_of(RECALL[1], samples) == value_of(ACC, samples)
    for metric in (*PRECISION[1:], *RECALL[1:], *F1[1:]):
        found, best = value_of(metric, samples), value_of(metric, classified(true, true, 4))
        assert best == 1.0
        assert found is not None
        assert 0.0 <= found <= best


@pytest.mark.parametrize("name", ["precision", "recall_macro", "f1_weighted", "f1_micro", "f1_macro", "matthews"])
def test_slopes_are_the_derivative_by_the_weight_of_a_row(name: str) -> None:
    metric = get_metric(name)
    assert isinstance(metric, TableMetric)
    rows = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], float)
    if "_" in name:
        rows = np.vstack([rows, [[2, 2], [2, 0], [3, 1]]])
    weights = np.arange(3.0, 3.0 + len(rows))

    steps = 1e-5 * np.eye(len(rows))
    measured = (metric.over(rows)(weights + steps) - metric.over(rows)(weights - steps)) / 2e-5

    assert metric.slopes(rows, weights) == pytest.approx(measured, abs=1e-9)
    assert (weights * metric.slopes(rows, weights)).sum() == pytest.approx(0, abs=1e-12)


def test_the_answer_of_a_choice_is_its_most_likely_option() -> None:
    samples = [choice(-3.0, -1.0, label=1), choice(-1.0, -3.0, label=1), choice(-1.0, -1.0, label=0)]

    assert value_of(F1[0], samples) == pytest.approx(sklearn_value(F1[0], [1, 1, 0], [1, 0, 0]))
    assert value_of(ACC, samples) == pytest.approx(2 / 3)


def test_a_head_of_three_classes_has_no_positive_class() -> None:
    with pytest.raises(ConfigError, match=r"of class 1 of two, and sample 's' has 3 classes\. Use f1_macro"):
        F1[0].score(head(0.0, 1.0, 2.0, label=1))


@pytest.mark.parametrize("label", [None, -1, 2])
def test_a_hidden_label_is_no_wrong_answer(label: int | None) -> None:
    with pytest.raises(DataError, match=r"its label is .*, expected 0 to 1"):
        MATTHEWS.score(head(0.0, 1.0, label=label))


def test_a_regression_has_no_classes() -> None:
    with pytest.raises(ConfigError, match=r"the answer is one number\. Use pearson"):
        F1[0].score(head(0.5, label=0))
    with pytest.raises(ConfigError, match=r"the answer is one number, a regression\. Use pearson"):
        ACC.score(head(0.5, label=0))
