"""Errors and intervals of metrics of the whole table, against scipy's bootstrap, loops by definition and each other."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from raybench.core.protocols import TableMetric
from raybench.metrics import bootstrap
from raybench.metrics.auroc import AUROC
from raybench.metrics.confusion import F1, MATTHEWS
from raybench.metrics.correlation import PEARSON, SPEARMAN
from raybench.metrics.interval import estimate, method
from raybench.metrics.statistics import Statistics
from tests.metrics.heads import classified, measure, regressed

RNG = np.random.default_rng(2)
TRUE = RNG.integers(0, 3, 400)
ANSWERED = np.where(RNG.random(400) < 0.7, TRUE, RNG.integers(0, 3, 400))
X = RNG.normal(size=400)
Y = X + RNG.normal(size=400)
METRICS = pytest.mark.parametrize("metric", [F1[2], MATTHEWS, AUROC, PEARSON, SPEARMAN], ids=lambda m: m.name)


def columns(metric: TableMetric) -> tuple[np.ndarray, np.ndarray]:
    if metric is AUROC:
        return (X > 0).astype(int), Y.round(1)  # with ties
    return (X, Y) if metric in (PEARSON, SPEARMAN) else (TRUE, ANSWERED)


def collected(metric: TableMetric, x: np.ndarray, y: np.ndarray, clusters: list[str | None] | None = None) -> Statistics:
    statistics = Statistics(metric, has_clusters=clusters is not None)
    statistics.add(list(zip(x.astype(float).tolist(), y.astype(float).tolist(), strict=True)), clusters)
    return statistics


def direct(metric: TableMetric, x: np.ndarray, y: np.ndarray) -> float:
    """The value by scikit-learn and scipy."""
    from scipy import stats
    from sklearn import metrics

    if metric is F1[2]:
        return float(metrics.f1_score(x, y, average="macro"))
    if metric is AUROC:
        return float(metrics.roc_auc_score(x, y))
    if metric is MATTHEWS:
        return float(metrics.matthews_corrcoef(x, y))
    return float((stats.pearsonr if metric is PEARSON else stats.spearmanr)(x, y).statistic)


@METRICS
def test_the_error_is_the_sd_of_values_of_drawn_samples(metric: TableMetric) -> None:
    x, y = columns(metric)
    rng = np.random.default_rng(0)
    # by definition (Efron 1979): draw n samples with replacement, compute the metric of them, take the sd; 600 times
    values = [direct(metric, x[at], y[at]) for at in rng.integers(0, 400, (600, 400))]

    found = estimate(collected(metric, x, y), num_errors=0, draws=4000, seed=3)

    assert found.stderr == pytest.approx(np.std(values), rel=0.1)  # of 600 draws an sd is known to 3 %
    assert found.ci95 == pytest.approx(np.percentile(values, [2.5, 97.5]), abs=0.4 * np.std(values))


@METRICS
def test_clusters_are_drawn_whole(metric: TableMetric) -> None:
    x, y = columns(metric)
    x, y = np.repeat(x[:100], 4), np.repeat(y[:100], 4)
    names = [str(i // 4) for i in range(400)]

    clustered = estimate(collected(metric, x, y, list(names)), num_errors=0, draws=4000, seed=3)
    plain = estimate(collected(metric, x[::4], y[::4]), num_errors=0, draws=4000, seed=3)

    # four copies of each sample say no more than one
    assert clustered.value == pytest.approx(plain.value, abs=1e-12)
    assert clustered.stderr == pytest.approx(plain.stderr, rel=0.06)


@METRICS
@pytest.mark.parametrize("has_clusters", [False, True])
def test_the_limit_for_many_samples_agrees_with_the_draws(metric: TableMetric, has_clusters: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = columns(metric)
    clusters: list[str | None] | None = [f"{i % 150}" if i % 5 else None for i in range(400)] if has_clusters else None
    statistics = collected(metric, x, y, clusters)
    drawn = estimate(statistics, num_errors=0, draws=4000, seed=3)
    assert method(statistics) == "bootstrap"

    monkeypatch.setattr(bootstrap, "MAX_TABLE_UNITS", 10)
    monkeypatch.setattr(bootstrap, "MAX_DISTINCT", 2)
    limit = estimate(statistics, num_errors=0, draws=4000, seed=3)

    assert method(statistics) == "normal-bootstrap"
    assert limit.value == drawn.value
    assert limit.stderr == pytest.approx(drawn.stderr, rel=0.08)
    assert limit.ci95 == pytest.approx(drawn.ci95, abs=0.5 * (drawn.stderr or 0.0))


@METRICS
def test_clusters_come_in_any_order(metric: TableMetric) -> None:
    x, y = (column[:60] for column in columns(metric))
    names: list[str | None] = [None if i % 7 == 0 else f"passage-{i % 11}" for i in range(60)]
    order = np.random.default_rng(4).permutation(60)

    forward = estimate(collected(metric, x, y, names), num_errors=0, draws=50, seed=0)
    shuffled = estimate(collected(metric, x[order], y[order], [names[i] for i in order]), num_errors=0, draws=50, seed=0)

    assert shuffled == forward


@METRICS
def test_the_seed_decides_the_draws(metric: TableMetric) -> None:
    statistics = collected(metric, *columns(metric))

    found = [estimate(statistics, num_errors=0, draws=50, seed=seed) for seed in (1, 1, 2)]

    assert found[0] == found[1]
    assert found[0].stderr != found[2].stderr


def test_counts_drawn_at_once_are_distributed_like_samples_drawn_one_by_one() -> None:
    few = collected(F1[2], TRUE, ANSWERED)  # 9 distinct rows of 400: multinomial counts
    table = few.samples()
    one_by_one = np.repeat(table.rows, table.counts.astype(int), axis=0)

    counted = np.concatenate(list(bootstrap.weights(table.counts, None, draws=3000, seed=1)))
    drawn = np.concatenate(list(bootstrap.weights(np.ones(400), None, draws=3000, seed=2)))

    assert len(table.counts) * 16 < 400
    assert (counted.sum(1) == 400).all()
    assert (drawn.sum(1) == 400).all()
    assert F1[2].over(table.rows)(counted).std() == pytest.approx(F1[2].over(one_by_one)(drawn).std(), rel=0.08)


def test_one_sample_or_cluster_has_a_value_and_no_error() -> None:
    assert measure(F1[0], classified([1], [1], 2), draws=10).stderr is None
    assert measure(F1[0], classified([1, 0, 1], [1, 1, 0], 2), ["a"] * 3, draws=10).ci95 is None
    assert measure(F1[0], classified([1, 0, 1], [1, 1, 0], 2), draws=0).stderr is None


def test_a_draw_without_a_correlation_leaves_no_interval() -> None:
    found = measure(PEARSON, regressed([1.0, 2.0], [1.0, 2.0]), draws=100)  # half of the draws take one sample twice

    assert found.value == 1.0
    assert found.ci95 is None


@pytest.mark.slow
def test_a_million_samples_need_no_table_of_draws() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=1_000_000)
    statistics = collected(SPEARMAN, x, x + rng.normal(size=1_000_000))
    statistics.samples()

    tracemalloc.start()
    found = estimate(statistics, num_errors=0, draws=10_000, seed=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert found.value is not None
    # of a bivariate normal with r = 1/sqrt(2) the population's Spearman is 6/pi asin(r/2) (Pearson 1907)
    assert found.value == pytest.approx(6 / np.pi * np.arcsin(np.sqrt(0.5) / 2), abs=0.003)
    # its standard error approximately (Bonett and Wright 2000, Sample size requirements for estimating correlations)
    r = found.value
    assert found.stderr == pytest.approx((1 - r**2) * np.sqrt((1 + r**2 / 2) / 1_000_000), rel=0.15)
    assert peak < 400 * 2**20  # 10,000 x 1,000,000 counts would be 80 GB
