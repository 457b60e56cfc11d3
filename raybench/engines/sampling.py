"""The next token of one row: repetition penalty, then temperature, top-k, top-p and min-p in the order of transformers' generate."""

from __future__ import annotations

from random import Random
from typing import Any

from raybench.core.types import Sampling


def next_token(logits_V: Any, sampling: Sampling, *, seen: Any, draw: Random | None) -> int:
    """The token that follows.

    Drawn by one number in [0, 1) against the cumulative distribution, so that it depends on the row's own logits and draws alone.

    Args:
        logits_V: float32 logits of the row, not changed.
        sampling: How it is drawn.
        seen: Tensor of the token ids of prompt and answer, for the repetition penalty.
        draw: The row's own generator; only where the temperature is above 0.
    """
    import torch

    if sampling.repetition_penalty != 1.0:
        ids = seen.unique()
        old = logits_V[ids]
        logits_V = logits_V.index_copy(0, ids, torch.where(old < 0, old * sampling.repetition_penalty, old / sampling.repetition_penalty))
    if sampling.temperature == 0:
        return int(logits_V.argmax())
    assert draw is not None, "a row that is sampled needs a generator"
    scaled = (logits_V / sampling.temperature).cpu()
    # a stable order: equal logits stay in order of their ids
    ordered, ids = torch.sort(scaled, descending=True, stable=True)
    if sampling.top_k is not None:
        ordered, ids = ordered[: sampling.top_k], ids[: sampling.top_k]
    if sampling.top_p < 1.0:
        before = ordered.softmax(-1, dtype=torch.float64).cumsum(-1) - ordered.softmax(-1, dtype=torch.float64)
        num_kept = max(1, int((before < sampling.top_p).sum()))
        ordered, ids = ordered[:num_kept], ids[:num_kept]
    probabilities = ordered.softmax(-1, dtype=torch.float64)
    if sampling.min_p > 0.0:
        num_kept = max(1, int((probabilities >= sampling.min_p * probabilities[0]).sum()))
        probabilities, ids = probabilities[:num_kept], ids[:num_kept]
    cumulative = probabilities.cumsum(-1)
    at = int(torch.searchsorted(cumulative, draw.random() * float(cumulative[-1]), right=True))
    return int(ids[min(at, len(ids) - 1)])
