from __future__ import annotations

from random import Random
from typing import Any

import pytest

from raybench.core.types import Sampling
from raybench.engines.sampling import next_tokens


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

    # an even grid instead of chance: each token comes up in proportion, to one part
    draws = [Fixed((i + 0.5) / num_draws) for i in range(num_draws)]
    tokens = next_tokens(logits().expand(num_draws, -1), sampling, seen=[seen] * num_draws, draws=draws)
    counts = torch.bincount(torch.tensor(tokens), minlength=50)

    assert (counts / num_draws).tolist() == pytest.approx(expected.tolist(), abs=1.01 / num_draws)


def test_without_temperature_the_penalty_still_counts() -> None:
    import torch

    values = torch.tensor([1.0, 2.0, 1.9])

    assert next_tokens(values[None], Sampling(), seen=[[1]], draws=[None]) == [1]
    assert next_tokens(values[None], Sampling(repetition_penalty=1.5), seen=[[1]], draws=[None]) == [2]
    assert values.tolist() == pytest.approx([1.0, 2.0, 1.9])  # unchanged


@pytest.mark.parametrize("sampling", [Sampling(temperature=1.0, top_k=3), Sampling(temperature=1.0, top_p=0.5)])
def test_of_equal_logits_on_the_edge_the_lowest_ids_are_kept(sampling: Sampling) -> None:
    import torch

    values = torch.tensor([0.0, 1.0, 1.0, 1.0, 1.0, 1.0]) * 30  # five equal ones: the third passes a half
    draws = [Fixed((i + 0.5) / 100) for i in range(100)]

    tokens = next_tokens(values.expand(100, -1), sampling, seen=[[]] * 100, draws=draws)

    assert sorted(set(tokens)) == [1, 2, 3]


def test_a_flat_distribution_is_cut_where_its_sum_reaches_top_p() -> None:
    import torch

    draws = [Fixed((i + 0.5) / 4000) for i in range(4000)]
    values = torch.arange(1000, 0, -1) / 1e6  # nearly equal, more of them than are looked at first

    tokens = next_tokens(values.expand(4000, -1), Sampling(temperature=1.0, top_p=0.5), seen=[[]] * 4000, draws=draws)

    assert sorted(set(tokens)) == list(range(500))


def test_a_row_draws_the_same_among_other_rows() -> None:
    import torch

    several = torch.randn(5, 400, generator=torch.Generator().manual_seed(3)) * 3
    sampling = Sampling(temperature=1.2, top_p=0.8, top_k=100, min_p=0.01)

    together = next_tokens(several, sampling, seen=[[]] * 5, draws=[Random(i) for i in range(5)])

    assert together == [next_tokens(several[i : i + 1], sampling, seen=[[]], draws=[Random(i)])[0] for i in range(5)]
