from __future__ import annotations

from random import Random
from typing import Any

import pytest

from raybench.core.types import Sampling
from raybench.engines.sampling import next_token


class Fixed(Random):
    """A generator that gives one number for ever."""

    def __init__(self, value: float) -> None:
        super().__init__(0)
        self.value = value

    def random(self) -> float:
        return self.value


def logits() -> Any:
    import torch

    return torch.randn(50, generator=torch.Generator().manual_seed(0)) * 2


def warped(sampling: Sampling, seen: list[int]) -> Any:
    """Probabilities [V] that transformers' own processors leave, in the order of GenerationMixin._get_logits_processor."""
    import torch
    from transformers import generation as g

    chain: list[Any] = [g.RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty), g.TemperatureLogitsWarper(sampling.temperature)]
    if sampling.top_k is not None:
        chain.append(g.TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        chain.append(g.TopPLogitsWarper(sampling.top_p))
    if sampling.min_p > 0:
        chain.append(g.MinPLogitsWarper(sampling.min_p))
    scores = logits()[None]
    for step in chain:
        scores = step(torch.tensor([seen]), scores)
    return scores[0].softmax(-1)


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=1.0),
        Sampling(temperature=0.3),
        Sampling(temperature=2.0, top_k=5),
        Sampling(temperature=2.0, top_p=0.7),
        Sampling(temperature=1.0, min_p=0.2),
        Sampling(temperature=1.0, repetition_penalty=1.7),
        Sampling(temperature=1.4, top_k=20, top_p=0.9, min_p=0.05, repetition_penalty=1.2),
        Sampling(temperature=1.0, top_p=1e-9),  # never fewer than one token
    ],
)
def test_tokens_are_drawn_with_the_probabilities_of_transformers(sampling: Sampling) -> None:
    import torch

    seen = [3, 7, 7, 11]
    expected = warped(sampling, seen)
    num_draws = 2000
    counts = torch.zeros(50)

    for i in range(num_draws):  # an even grid instead of chance: each token comes up in proportion, to one part
        token = next_token(logits(), sampling, seen=torch.tensor(seen), draw=Fixed((i + 0.5) / num_draws))
        counts[token] += 1

    assert (counts / num_draws).tolist() == pytest.approx(expected.tolist(), abs=1.01 / num_draws)


def test_without_temperature_the_penalty_still_counts() -> None:
    import torch

    values = torch.tensor([1.0, 2.0, 1.9])

    assert next_token(values, Sampling(), seen=torch.tensor([1]), draw=None) == 1
    assert next_token(values, Sampling(repetition_penalty=1.5), seen=torch.tensor([1]), draw=None) == 2
    assert values.tolist() == pytest.approx([1.0, 2.0, 1.9])  # unchanged
