"""Standard errors and intervals against formulas, lm-evaluation-harness 0.4.13, and each other."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raybench.core.errors import InternalError
from raybench.core.protocols import Metric
from raybench.core.results import Estimate
from raybench.metrics.choice import ACC
from raybench.metrics.interval import combine, estimate, method, value_if_errors_wrong
from raybench.metrics.likelihood import PERPLEXITY, WORD_PERPLEXITY
from raybench.metrics.mean import Mean
from raybench.metrics.statistics import Statistics
from raybench.metrics.text import TOKEN_F1

SHARES = st.lists(st.sampled_from([0.0, 1.0, 0.5, 1 / 3]), min_size=1, max_size=30)


def collect(metric: Metric, *columns: list[float], clusters: list[str | None] | None = None) -> Statistics:
    collected = Statistics(metric, has_clusters=clusters is not None)
    collected.add(list(zip(*columns, strict=True)), clusters)
    return collected


def measure(metric: Metric, *columns: list[float], clusters: list[str | None] | None = None, draws: int = 2000, seed: int = 0) -> Estimate:
    return estimate(collect(metric, *columns, clusters=clusters), num_errors=0, draws=draws, seed=seed)


def bootstrapped(metric: Mean) -> Mean:
    """The same metric without its analytic standard error."""
    return Mean(name=metric.name, score_of=metric.score_of, stats=metric.stats, is_mean=False)


def test_the_error_of_a_mean_is_that_of_lm_eval() -> None:
    from lm_eval.api.metrics import mean_stderr

    answers = [1.0] * 513 + [0.0] * 806
    f1 = np.random.default_rng(0).random(500).tolist()

    assert measure(ACC, answers).stderr == pytest.approx(mean_stderr(answers), rel=1e-12)
    assert measure(TOKEN_F1, f1).stderr == pytest.approx(mean_stderr(f1), rel=1e-12)


def error_of(metric: Metric, *columns: list[float], clusters: list[str | None] | None = None) -> float:
    error = measure(metric, *columns, clusters=clusters).stderr
    assert error is not None
    return error


def clustered_error_by_definition(x: list[float], clusters: list[str | None]) -> float:
    # Miller 2024, Adding Error Bars to Evals: SE_clustered = sqrt(SE_CLT^2 + 1/n^2 sum_c sum_i sum_{j != i} (s_ic - m)(s_jc - m))
    n, m = len(x), sum(x) / len(x)
    members: dict[Any, list[float]] = defaultdict(list)
    for i, (value, cluster) in enumerate(zip(x, clusters, strict=True)):
        members[i if cluster is None else cluster].append(value - m)
    cross = sum(d[i] * d[j] for d in members.values() for i in range(len(d)) for j in range(len(d)) if i != j)
    return math.sqrt(sum((v - m) ** 2 for v in x) / (n - 1) / n + cross / n**2)


def test_the_clustered_error_is_its_double_sum() -> None:
    rng = np.random.default_rng(3)
    x = [float(v) for v in rng.random(60)]
    clusters = [None if rng.random() < 0.2 else f"passage-{rng.integers(12)}" for _ in x]

    assert measure(TOKEN_F1, x, clusters=clusters).stderr == pytest.approx(clustered_error_by_definition(x, clusters), rel=1e-9)


def test_samples_of_a_cluster_that_agree_count_as_one() -> None:
    # 40 passages, each with 5 questions answered alike: the error of 40 samples, up to n - 1 against n in the variance
    passages = [float(i % 3 == 0) for i in range(40)]
    alike = [p for p in passages for _ in range(5)]

    clustered = measure(ACC, alike, clusters=[str(i // 5) for i in range(200)])

    assert clustered.stderr == pytest.approx(measure(ACC, passages).stderr, rel=0.02)
    assert clustered.stderr == pytest.approx(math.sqrt(5) * error_of(ACC, alike), rel=0.02)


def test_clusters_of_one_give_the_plain_error() -> None:
    x = [0.0, 1.0, 1.0, 0.25, 0.5]

    plain = measure(TOKEN_F1, x).stderr

    assert measure(TOKEN_F1, x, clusters=list("abcde")).stderr == pytest.approx(plain)
    assert measure(TOKEN_F1, x, clusters=[None] * 5).stderr == pytest.approx(plain)


def test_the_bootstrap_error_is_the_sd_of_the_replicates_and_not_divided_again() -> None:
    # T28: lighteval divides it by the root of the number of draws, which made 0.0207 a 0.00065
    answers = [1.0] * 300 + [0.0] * 283
    analytic = measure(ACC, answers).stderr

    for draws in (1000, 10_000):
        error = measure(bootstrapped(ACC), answers, draws=draws).stderr
        assert error == pytest.approx(analytic, rel=0.06)
        assert error == pytest.approx(0.0207, abs=0.0013)


def test_the_bootstrap_error_of_a_perplexity_is_that_of_the_delta_method() -> None:
    rng = np.random.default_rng(4)
    logprobs = (-rng.gamma(3.0, 1.0, 2000)).tolist()
    words = rng.integers(5, 60, 2000).astype(float)
    sums = (-words * 3 + rng.normal(size=2000) * 20).tolist()

    single = measure(PERPLEXITY, logprobs)
    ratio = measure(WORD_PERPLEXITY, sums, words.tolist())

    # d exp(-m) = exp(-m) dm; for a ratio r = a / b: Var r = Var(a_i - r b_i) / (n mean(b)^2)
    assert single.stderr == pytest.approx(math.exp(-np.mean(logprobs)) * np.std(logprobs) / math.sqrt(2000), rel=0.06)
    r = sum(sums) / words.sum()
    assert ratio.stderr == pytest.approx(math.exp(-r) * np.std(np.array(sums) - r * words) / math.sqrt(2000) / words.mean(), rel=0.06)
    assert ratio.value == pytest.approx(math.exp(-r))


def test_the_cluster_bootstrap_agrees_with_the_clustered_error() -> None:
    rng = np.random.default_rng(8)
    level = rng.random(200)
    sizes = rng.integers(1, 12, 200)
    x = [float(rng.random() < level[c]) for c in range(200) for _ in range(sizes[c])]
    clusters: list[str | None] = [str(c) for c in range(200) for _ in range(sizes[c])]

    analytic = measure(ACC, x, clusters=clusters)
    drawn = measure(bootstrapped(ACC), x, clusters=clusters, draws=4000)

    assert drawn.stderr == pytest.approx(analytic.stderr, rel=0.08)
    assert error_of(ACC, x, clusters=clusters) > 1.3 * error_of(ACC, x)
    assert analytic.ci95 == pytest.approx(drawn.ci95, abs=0.01)


def test_the_interval_holds_the_middle_95_percent() -> None:
    answers = [1.0] * 513 + [0.0] * 806

    found = measure(ACC, answers, draws=10_000)

    # normal approximation of the binomial distribution: 0.38893 -+ 1.96 * 0.01343
    assert found.ci95 == pytest.approx((0.3626, 0.4153), abs=0.0015)


def test_one_sample_has_a_value_and_nothing_else() -> None:
    assert measure(ACC, [1.0]) == Estimate(value=1.0, stderr=None, ci95=None, num_samples=1, num_errors=0)


def test_one_cluster_has_a_value_and_nothing_else() -> None:
    assert measure(ACC, [1.0, 0.0], clusters=["a", "a"]) == Estimate(value=0.5, stderr=None, ci95=None, num_samples=2, num_errors=0)


def test_without_draws_only_means_have_an_error() -> None:
    mean, perplexity = measure(ACC, [1.0, 0.0], draws=0), measure(PERPLEXITY, [-1.0, -2.0], draws=0)

    assert (mean.stderr, mean.ci95) == (0.5, None)
    assert (perplexity.stderr, perplexity.ci95) == (None, None)


def test_no_answered_sample_has_no_value() -> None:
    for collected in (Statistics(ACC), Statistics(ACC, has_clusters=True)):
        found = estimate(collected, num_errors=7, draws=100, seed=0)
        assert found == Estimate(value=None, stderr=None, ci95=None, num_samples=0, num_errors=7)


@pytest.mark.parametrize("logprob", [math.nan, -math.inf, -1e9])
def test_an_undefined_or_infinite_value_is_none(logprob: float) -> None:
    found = measure(PERPLEXITY, [logprob, -2.0])

    assert (found.value, found.stderr, found.ci95) == (None, None, None)


def test_an_undefined_replicate_leaves_the_error_unknown() -> None:
    # a quarter of the replicates hold the text without words twice
    found = measure(WORD_PERPLEXITY, [-1.0, -2.0], [0.0, 3.0])

    assert found.value == pytest.approx(math.e)
    assert (found.stderr, found.ci95) == (None, None)


def test_right_or_wrong_throughout_is_the_best_or_worst_value() -> None:
    assert measure(ACC, [1.0] * 9).value == 1.0
    assert measure(ACC, [0.0] * 9).value == 0.0
    assert measure(ACC, [1.0] * 9).ci95 == (1.0, 1.0)


@settings(deadline=None)
@given(SHARES, st.randoms(use_true_random=False), st.booleans())
def test_order_and_partition_change_no_byte(x: list[float], rng: random.Random, has_clusters: bool) -> None:
    clusters: list[str | None] | None = [rng.choice([None, "a", "b", "c"]) for _ in x] if has_clusters else None
    whole = collect(bootstrapped(TOKEN_F1), x, clusters=clusters)

    order = rng.sample(range(len(x)), len(x))
    cut = rng.randrange(len(x) + 1)
    parts = [
        collect(bootstrapped(TOKEN_F1), [x[i] for i in part], clusters=None if clusters is None else [clusters[i] for i in part])
        for part in (order[:cut], order[cut:])
    ]
    parts[0].merge(parts[1])

    assert repr(estimate(parts[0], num_errors=1, draws=40, seed=3)) == repr(estimate(whole, num_errors=1, draws=40, seed=3))
    assert method(parts[0]) == method(whole) == "bootstrap"


@settings(deadline=None)
@given(SHARES)
def test_every_value_lies_between_all_wrong_and_all_right(x: list[float]) -> None:
    value = measure(TOKEN_F1, x, draws=0).value

    assert value is not None
    assert 0.0 <= value <= 1.0
    assert value == pytest.approx(sum(x) / len(x))


@settings(deadline=None)
@given(SHARES, st.integers(0, 50), st.integers(0, 50))
def test_more_errors_never_raise_the_value_if_errors_were_wrong(x: list[float], few: int, more: int) -> None:
    collected = collect(TOKEN_F1, x)
    value = estimate(collected, num_errors=0, draws=0, seed=0).value
    one, other = (value_if_errors_wrong(collected, {(0.0,): n}) for n in (few, few + more))

    assert value is not None
    assert one is not None
    assert other is not None
    assert other <= one <= value
    assert value_if_errors_wrong(collected, {}) == value


def test_errors_are_wrong_answers_among_all_samples() -> None:
    assert value_if_errors_wrong(collect(ACC, [1.0, 1.0, 0.0]), {(0.0,): 1}) == 0.5
    assert value_if_errors_wrong(collect(ACC, []), {(0.0,): 4}) == 0.0
    assert value_if_errors_wrong(collect(ACC, []), {}) is None
    assert value_if_errors_wrong(collect(PERPLEXITY, [-1.0]), {None: 1}) is None


def test_a_metric_whose_value_is_not_one_number_a_draw_is_refused() -> None:
    class Bad(Mean):
        def value(self, sums: Any, n: Any) -> Any:
            return np.asarray(sums) / n

    bad = Bad(name="bad", score_of=ACC.score_of, stats=("right",))

    with pytest.raises(InternalError, match=r"metric bad: value gave an array of shape \(1,\) for sums of shape \(1,\), expected \(\)"):
        measure(bad, [1.0, 0.0])


def members() -> list[Estimate]:
    return [
        Estimate(value=0.5, stderr=0.03, ci95=(0.44, 0.56), num_samples=277, num_errors=1),
        Estimate(value=0.8, stderr=0.01, ci95=(0.78, 0.82), num_samples=1600, num_errors=0),
        Estimate(value=0.2, stderr=0.02, ci95=(0.16, 0.24), num_samples=400, num_errors=2),
    ]


def test_equal_weights_are_those_of_lm_eval() -> None:
    from lm_eval.api.metrics import aggregate_subtask_metrics, unweighted_mean_stderr

    found = combine(members(), "equal")

    assert found.value == pytest.approx(aggregate_subtask_metrics([0.5, 0.8, 0.2], [277, 1600, 400], weight_by_size=False))
    assert found.stderr == pytest.approx(unweighted_mean_stderr([0.03, 0.01, 0.02]))
    assert (found.num_samples, found.num_errors) == (2277, 3)


def test_weights_by_samples_are_those_of_lm_eval() -> None:
    from lm_eval.api.metrics import aggregate_subtask_metrics, pooled_sample_stderr

    found = combine(members(), "samples")

    assert found.value == pytest.approx(aggregate_subtask_metrics([0.5, 0.8, 0.2], [277, 1600, 400]))
    # the pooled variance weighs by n - 1 and is meant for means only: close, not equal
    assert found.stderr == pytest.approx(pooled_sample_stderr([0.03, 0.01, 0.02], [277, 1600, 400]), rel=2e-3)
    assert found.stderr == pytest.approx(math.hypot(277 * 0.03, 1600 * 0.01, 400 * 0.02) / 2277)
    assert found.ci95 is not None
    assert found.value == pytest.approx(sum(found.ci95) / 2)
    assert found.stderr == pytest.approx((found.ci95[1] - found.ci95[0]) / 2 / 1.96, rel=1e-4)


def test_weights_by_samples_give_the_mean_and_nearly_the_error_of_all_samples() -> None:
    x, y = [1.0] * 60 + [0.0] * 40, [1.0] * 180 + [0.0] * 120

    whole, found = measure(ACC, x + y), combine([measure(ACC, x), measure(ACC, y)], "samples")

    assert found.value == pytest.approx(whole.value)
    assert found.stderr == pytest.approx(whole.stderr, rel=0.01)


def test_a_member_without_value_or_error_leaves_the_group_without() -> None:
    no_value = Estimate(value=None, num_samples=0, num_errors=9)
    no_error = Estimate(value=1.0, num_samples=1, num_errors=0)

    assert combine([*members(), no_value], "equal") == Estimate(value=None, num_samples=2277, num_errors=12)
    assert combine([members()[0], no_error], "equal") == Estimate(value=0.75, num_samples=278, num_errors=1)
    with pytest.raises(InternalError, match="without members"):
        combine([], "equal")
