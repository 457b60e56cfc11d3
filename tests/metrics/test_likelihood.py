"""Perplexities against reference outputs of lm-evaluation-harness 0.4.13 and by hand."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from raybench.core.errors import ConfigError, InternalError
from raybench.core.outputs import Likelihoods, Output, TextLikelihood
from raybench.core.protocols import Metric, Scored
from raybench.core.types import FinishReason, Prediction, Sample
from raybench.metrics.likelihood import BITS_PER_BYTE, BYTE_PERPLEXITY, GREEDY_ACC, PERPLEXITY, TOKEN_PERPLEXITY, WORD_PERPLEXITY


def scored(*outputs: Output, targets: tuple[str, ...] = ()) -> Scored:
    rows = [Prediction(sample_id="s", repeat=i, finish_reason=FinishReason.SCORED, output=o) for i, o in enumerate(outputs)]
    return Scored(sample=Sample(id="s", fields={}, targets=targets), predictions=rows, extracted=[None] * len(rows))


def one(logprob: float, *, is_greedy: bool = False, num_tokens: int = 1) -> Likelihoods:
    return Likelihoods(logprobs=(logprob,), is_greedy=(is_greedy,), num_tokens=(num_tokens,))


def value(metric: Metric, samples: list[Scored]) -> float:
    rows = np.array([metric.score(s) for s in samples])
    return float(metric.value(rows.sum(axis=0), len(rows)))


def reference(shared: Path, name: str) -> dict[str, Any]:
    return dict(json.loads(gzip.decompress((shared / "reference" / f"{name}.json.gz").read_bytes())))


def test_lambada_is_scored_as_in_lm_eval(shared: Path) -> None:
    expected = reference(shared, "lambada_openai")

    samples = [scored(one(s["filtered_resps"][0][0], is_greedy=s["filtered_resps"][0][1])) for s in expected["samples"]]

    assert value(PERPLEXITY, samples) == pytest.approx(expected["metrics"]["perplexity,none"], rel=1e-12)
    assert value(GREEDY_ACC, samples) == expected["metrics"]["acc,none"]


def test_wikitext_pages_are_scored_as_in_lm_eval(shared: Path) -> None:
    expected = reference(shared, "wikitext_pages")
    pages = pq.read_table(shared / "data" / "wikitext_2" / "test_pages.parquet").column("page").to_pylist()

    # words and bytes are those of the page before detokenising (T23)
    samples = [
        scored(TextLikelihood(logprob=s["filtered_resps"][0], num_tokens=1), targets=(pages[int(s["doc_id"])],))
        for s in expected["samples"]
    ]

    for metric in (WORD_PERPLEXITY, BYTE_PERPLEXITY, BITS_PER_BYTE):
        assert value(metric, samples) == pytest.approx(expected["metrics"][f"{metric.name},none"], rel=1e-12)


def test_words_are_the_pieces_between_spaces_including_empty_ones() -> None:
    text = " one  two\n"  # re.split(r"\s+", text) gives '', 'one', 'two', ''

    assert WORD_PERPLEXITY.score(scored(TextLikelihood(logprob=-8.0, num_tokens=3), targets=(text,))) == (-8.0, 4.0)


def test_bytes_are_utf8() -> None:
    assert BYTE_PERPLEXITY.score(scored(TextLikelihood(logprob=-8.0, num_tokens=3), targets=("é北",))) == (-8.0, 5.0)


def test_a_uniform_model_has_its_vocabulary_as_perplexity() -> None:
    # 12 tokens, each with probability 1/50
    texts = [scored(TextLikelihood(logprob=-n * math.log(50), num_tokens=n)) for n in (3, 9)]
    continuations = [scored(one(-n * math.log(50), num_tokens=n)) for n in (3, 9)]

    assert value(TOKEN_PERPLEXITY, texts) == value(TOKEN_PERPLEXITY, continuations) == pytest.approx(50)


def test_units_are_summed_before_the_division() -> None:
    # (8 + 2) nats over (1 + 4) bytes, not the mean of 8 and 0.5
    texts = [
        scored(TextLikelihood(logprob=-8.0, num_tokens=1), targets=("a",)),
        scored(TextLikelihood(logprob=-2.0, num_tokens=1), targets=("abcd",)),
    ]

    assert value(BITS_PER_BYTE, texts) == pytest.approx(2 / math.log(2))


def test_repeats_are_averaged_per_sample() -> None:
    assert PERPLEXITY.score(scored(one(-1.0), one(-2.0))) == (-1.5,)
    assert TOKEN_PERPLEXITY.score(scored(one(-1.0, num_tokens=2), one(-2.0, num_tokens=2))) == (-1.5, 2.0)
    assert GREEDY_ACC.score(scored(one(-1.0, is_greedy=True), one(-2.0))) == (0.5,)


def test_perplexity_of_several_continuations_is_refused() -> None:
    two = Likelihoods(logprobs=(-1.0, -2.0), is_greedy=(True, False), num_tokens=(1, 1))

    for metric in (PERPLEXITY, GREEDY_ACC, TOKEN_PERPLEXITY):
        with pytest.raises(ConfigError, match=r"one continuation a sample, found 2\. Use acc"):
            metric.score(scored(two))


def test_a_text_of_unknown_length_is_refused() -> None:
    with pytest.raises(ConfigError, match="the task must give it as its target"):
        WORD_PERPLEXITY.score(scored(TextLikelihood(logprob=-8.0, num_tokens=3)))


def test_the_wrong_kind_of_answer_is_an_internal_error() -> None:
    with pytest.raises(InternalError, match="found Likelihoods"):
        WORD_PERPLEXITY.score(scored(one(-1.0), targets=("a",)))


def test_perplexity_without_any_unit_is_undefined_and_silent() -> None:
    assert math.isnan(BYTE_PERPLEXITY.value(np.zeros(2), 1))
    assert math.isnan(PERPLEXITY.value(np.zeros(1), 0))
