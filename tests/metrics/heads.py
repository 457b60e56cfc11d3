"""Answers of heads and choices, as the metrics see them, and estimates of them."""

from __future__ import annotations

from collections.abc import Sequence

from raybench.core.outputs import Classification, Likelihoods, Output
from raybench.core.protocols import AnyMetric, Scored
from raybench.core.results import Estimate
from raybench.core.types import FinishReason, Prediction, Sample
from raybench.metrics.interval import estimate
from raybench.metrics.statistics import Statistics


def scored(output: Output, *, label: int | None = None, targets: tuple[str, ...] = (), choices: tuple[str, ...] = ()) -> Scored:
    prediction = Prediction(sample_id="s", finish_reason=FinishReason.SCORED, output=output)
    sample = Sample(id="s", fields={}, label=label, targets=targets, choices=choices)
    return Scored(sample=sample, predictions=[prediction], extracted=[None])


def head(*logits: float, label: int | None = None, targets: tuple[str, ...] = ()) -> Scored:
    """The answer of a head with these logits."""
    return scored(Classification(logits=logits, label=None), label=label, targets=targets)


def choice(*logprobs: float, label: int | None = None, targets: tuple[str, ...] = (), choices: tuple[str, ...] = ()) -> Scored:
    """The answer to a choice with these log-probabilities."""
    output = Likelihoods(logprobs=logprobs, is_greedy=(False,) * len(logprobs), num_tokens=(1,) * len(logprobs))
    return scored(output, label=label, targets=targets, choices=choices)


def one_hot(answer: int, num: int) -> list[float]:
    return [float(k == answer) for k in range(num)]


def classified(true: Sequence[int], answered: Sequence[int], num: int) -> list[Scored]:
    """Samples of `num` classes."""
    return [head(*one_hot(a, num), label=t) for t, a in zip(true, answered, strict=True)]


def regressed(true: Sequence[float], answered: Sequence[float]) -> list[Scored]:
    """Samples of a regression."""
    return [head(a, targets=(repr(t),)) for t, a in zip(true, answered, strict=True)]


def collect(metric: AnyMetric, samples: Sequence[Scored], clusters: Sequence[str | None] | None = None) -> Statistics:
    statistics = Statistics(metric, has_clusters=clusters is not None)
    statistics.add([metric.score(s) for s in samples], clusters)
    return statistics


def measure(
    metric: AnyMetric, samples: Sequence[Scored], clusters: Sequence[str | None] | None = None, *, draws: int = 0, seed: int = 0
) -> Estimate:
    return estimate(collect(metric, samples, clusters), num_errors=0, draws=draws, seed=seed)


def value_of(metric: AnyMetric, samples: Sequence[Scored]) -> float | None:
    return measure(metric, samples).value
