"""How far two answers lie apart, and what they decide."""

from __future__ import annotations

from collections.abc import Hashable

import pytest

from raybench.core.outputs import Classification, Embedding, Generation, Likelihoods, Output, Spans, Tags, TextLikelihood
from raybench.core.types import FinishReason, Prediction
from raybench.driver.drift import decision, distances


def row(output: Output, request: str = "") -> Prediction:
    return Prediction(sample_id="s", request=request, finish_reason=FinishReason.SCORED, output=output)


def options(*logprobs: float, greedy: bool = False) -> Likelihoods:
    return Likelihoods(logprobs=logprobs, is_greedy=(greedy,) * len(logprobs), num_tokens=(1,) * len(logprobs))


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (options(-1.0, -2.0), options(-1.5, -2.0), [0.5, 0.0]),
        (TextLikelihood(logprob=-20.0, num_tokens=10), TextLikelihood(logprob=-21.0, num_tokens=10), [0.1]),
        (Generation(text="a", token_logprobs=(-1.0, -2.0)), Generation(text="a", token_logprobs=(-1.25, -2.0)), [0.25, 0.0]),
        (Generation(text="a", token_logprobs=(-1.0,)), Generation(text="b", token_logprobs=(-3.0,)), []),  # other tokens
        (Generation(text="a"), Generation(text="a"), []),  # none are kept
        (Classification(logits=(1.0, 2.0)), Classification(logits=(1.0, 2.5)), [0.0, 0.5]),
        (Embedding(vector=(3.0, 0.0)), Embedding(vector=(0.0, 4.0)), [5.0]),
        (Tags(labels=("O",)), Tags(labels=("B",)), []),
    ],
)
def test_numbers_are_compared_one_by_one(first: Output, second: Output, expected: list[float]) -> None:
    assert distances([row(first)], [row(second)]) == pytest.approx(expected)


SPAN = Spans(texts=("here", "there"), starts=(0, 5), stops=(4, 10), scores=(2.0, 1.0), null_score=0.0)


@pytest.mark.parametrize(
    ("rows", "extracted", "expected"),
    [
        ([row(options(-3.0, -1.0, -2.0))], [], 1),
        ([row(options(-3.0), "option-0"), row(options(-2.0), "option-1")], [], 1),  # options that are questions
        ([row(options(-3.0, -1.0)), row(options(-1.0, -9.0), "uncond")], [], 1),  # a part of the score, not of the choice
        ([row(options(-3.0, greedy=True))], [], True),  # one option: would the model say it?
        ([row(Generation(text="so: 4"))], ["4", None], ("4", None)),
        ([row(Classification(logits=(1.0, 2.0), label="b"))], [], "b"),
        ([row(Classification(logits=(1.0,)))], [], None),  # a regression
        ([row(Tags(labels=("O", "B")))], [], ("O", "B")),
        ([row(SPAN)], [], "here"),
        ([row(TextLikelihood(logprob=-1.0, num_tokens=1))], [], None),
        ([row(Embedding(vector=(1.0,)))], [], None),
    ],
)
def test_a_sample_decides_what_its_kind_can(rows: list[Prediction], extracted: list[str | None], expected: Hashable) -> None:
    assert decision(rows, extracted) == expected
