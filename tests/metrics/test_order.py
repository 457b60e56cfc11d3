"""Every built-in metric: the order of samples and how they are cut into shards change no bit of value and error; errors never pay."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raybench.core.outputs import Classification, Embedding, Generation, Likelihoods, Output, Spans, Tags, TextLikelihood
from raybench.core.protocols import Scored
from raybench.core.results import Estimate
from raybench.core.types import FinishReason, Kind, Prediction, Sample
from raybench.metrics.grouped import GroupMetric, Groups
from raybench.metrics.interval import estimate, value_if_errors_wrong, wrong_row
from raybench.metrics.registry import get_metric, kinds, metric_names, requests
from raybench.metrics.statistics import Statistics

TAGS, TEXTS, CHOICES = ("O", "B-PER", "I-PER", "B-LOC"), ("", "Paris", "the Paris.", "London 北京", "北京大学"), ("1", "2.5", "4")
ONE = ("greedy_acc", "perplexity", "pseudo_perplexity", "mlm_loss", "denoising_loss", "token_perplexity")
"""Metrics of one continuation."""
COUNT = 12


def answered(name: str, number: int, rng: random.Random, num_classes: int = 3) -> Scored:
    """A sample of the kind that the metric scores, with any answer."""
    floats = [round(rng.uniform(-5, 0), 3) for _ in range(3)]
    kind = min(kinds(name), key=list(Kind).index)
    if name in ONE:
        num_classes = 1
    elif name in ("precision", "recall", "f1", "auroc", "gender_parity", "multirc_em"):
        num_classes = 2
    floats = floats[:num_classes]
    likely = Likelihoods(logprobs=tuple(floats), is_greedy=(rng.random() < 0.5,) * len(floats), num_tokens=(2,) * len(floats))
    outputs: dict[Kind, Output] = {
        Kind.LOGLIKELIHOOD: likely,
        Kind.FILL: likely,
        Kind.CLASSIFY: Classification(logits=tuple(floats), label=None),
        Kind.ROLLING: TextLikelihood(logprob=floats[0], num_tokens=7),
        Kind.GENERATE: Generation(text=rng.choice(TEXTS)),
        Kind.TAG: Tags(labels=tuple(rng.choices(TAGS, k=3))),
        Kind.SPAN: Spans(texts=(rng.choice(TEXTS), ""), starts=(0, 0), stops=(1, 0), scores=(floats[0], -9.0), null_score=-2.5),
        Kind.EMBED: Embedding(vector=(rng.random(), rng.random())),
    }
    output = likely if name in ("pearson", "spearman") else outputs[kind]
    rows = [Prediction(sample_id="s", repeat=r, finish_reason=FinishReason.STOP, output=output) for r in range(100 if "@" in name else 1)]
    if name == "info_nce":
        rows = [replace(rows[0], output=Embedding(vector=(rng.random(), rng.random()))) for _ in range(4)]
    rows += [replace(rows[0], request=n) for n in requests(name) if n]
    targets: tuple[str, ...] = TEXTS[1:3]
    if kind is Kind.TAG:
        targets = tuple(rng.choices(TAGS, k=3))
    elif name.startswith("squad2"):
        targets = TEXTS[1 : rng.randint(1, 3)]  # some have none
    elif name in ("pearson", "spearman"):
        targets = (str(rng.randint(0, 5)),)
    elif name == "mc2":
        targets = CHOICES[1:2]
    fields = {
        "idx": {"paragraph": number % 3, "question": number % 5},
        "premise": f"{('he', 'she')[number % 2]} {number // 2}",
        "hypothesis": "so",
    }
    sample = Sample(id=str(number), fields=fields, choices=CHOICES[: len(floats)], label=rng.randrange(len(floats)), targets=targets)
    return Scored(sample=sample, predictions=rows, extracted=[getattr(row.output, "text", None) for row in rows])


@cache
def samples(name: str) -> list[Scored]:
    rng = random.Random(name)
    return [answered(name, i, rng) for i in range(COUNT)]


def measured(name: str, order: list[int], cut: int) -> Estimate:
    """Value, error and interval of the samples in an order, which come in shards of a size."""
    metric, found = get_metric(name), [samples(name)[i] for i in order]
    statistics = Statistics(metric)
    if isinstance(metric, GroupMetric):
        groups = Groups(metric)
        for one in found:
            groups.add(one.sample, metric.score(one))
        statistics.add(groups.units()[0])
    else:
        for start in range(0, len(found), cut):
            statistics.add([metric.score(one) for one in found[start : start + cut]])
    return estimate(statistics, num_errors=0, draws=20, seed=0)


@pytest.mark.parametrize("name", [*metric_names(), "pass@7", "seqeval_f1@PER"])
@given(order=st.permutations(range(COUNT)), cut=st.integers(1, COUNT))
def test_order_and_cut_change_no_bit(name: str, order: list[int], cut: int) -> None:
    assert measured(name, order, cut) == in_order(name)


@cache
def in_order(name: str) -> Estimate:
    found = measured(name, list(range(COUNT)), COUNT)
    assert found.value is not None or "threshold" in name  # which is undefined where no answer is worth giving
    return found


UNREADABLE = {
    *("perplexity", "token_perplexity", "pseudo_perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte"),
    *("mlm_loss", "denoising_loss", "info_nce", "ece", "brier", "auroc", "auroc_ovr", "pearson", "spearman", "gender_parity"),
    *("precision_weighted", "recall_weighted", "f1_weighted", "seqeval_precision"),
    *("squad2_best_exact_threshold", "squad2_best_f1_threshold"),
}
"""Metrics for which no statistics are those of a wrong answer."""


def test_all_other_metrics_can_count_an_error_as_a_wrong_answer() -> None:
    for name in metric_names():
        sample = answered(name, 0, random.Random(0), num_classes=2).sample
        assert (wrong_row(get_metric(name), sample) is None) == (name in UNREADABLE), name


@pytest.mark.parametrize("name", [n for n in metric_names() if n not in UNREADABLE and not isinstance(get_metric(n), GroupMetric)])
@given(seed=st.integers(0, 10_000))
def test_more_errors_never_raise_the_value_if_they_were_wrong(name: str, seed: int) -> None:
    metric, rng = get_metric(name), random.Random(seed)
    found = [answered(name, i, rng, num_classes=2) for i in range(6)]
    statistics = Statistics(metric)
    statistics.add([metric.score(one) for one in found[:3]])

    rows = [wrong_row(metric, one.sample) for one in found[3:]]
    values = [value_if_errors_wrong(statistics, Counter(rows[:count])) for count in range(4)]

    known = [value for value in values if value is not None]  # of no question of a kind there is none
    assert all(after <= before + 1e-12 for before, after in pairwise(known)), values
