"""The next token of each row: repetition penalty, then temperature, top-k, top-p and min-p in the order of transformers' generate.

A token is drawn by one number in [0, 1) of the row's own generator, against the cumulative distribution over token ids in order: it depends on
the row's own logits and draws alone. Where equal logits lie on the edge of top-k or top-p, the lowest ids stay, so that exactly as many are
kept as the definition says, whatever order a device sorts them in.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from raybench.core.fingerprint import seed_for
from raybench.core.types import Request, Sampling

_FIRST_CANDIDATES = 256  # sorted first for top-p; where they do not reach it, the whole row is sorted


def seed_of(request: Request) -> int | None:
    """The seed of a request's draws; None where nothing is drawn."""
    if request.sampling is None or request.sampling.temperature == 0:
        return None
    if request.seed is not None:
        return request.seed
    # a request made by hand may have no seed: its key still tells its draws apart from those of other repeats
    return seed_for(0, request.request, request.sample_id, request.repeat, "sampling")


def next_tokens(logits_RV: Any, sampling: Sampling, *, seen: Sequence[Sequence[int]], draws: Sequence[Random | None]) -> list[int]:
    """The tokens that follow, one a row.

    Args:
        logits_RV: float32 logits, not changed.
        sampling: How they are drawn.
        seen: Token ids of prompt and answer of each row, for the repetition penalty.
        draws: Each row's own generator; only where the temperature is above 0.
    """
    if sampling.repetition_penalty != 1.0:
        logits_RV = _penalised(logits_RV, sampling.repetition_penalty, seen)
    if sampling.temperature == 0:
        return [int(t) for t in logits_RV.argmax(-1).tolist()]
    return _drawn(logits_RV.cpu(), sampling, draws)  # sums in float64 and in a fixed order, which not every device has


def _penalised(logits_RV: Any, penalty: float, seen: Sequence[Sequence[int]]) -> Any:
    import torch

    logits_RV = logits_RV.clone()
    for row, tokens in enumerate(seen):
        ids = torch.tensor(sorted(set(tokens)), device=logits_RV.device)
        old = logits_RV[row, ids]
        logits_RV[row, ids] = torch.where(old < 0, old * penalty, old / penalty)
    return logits_RV


def _drawn(logits_RV: Any, sampling: Sampling, draws: Sequence[Random | None]) -> list[int]:
    import torch

    scaled = logits_RV / sampling.temperature
    if sampling.top_k is not None and sampling.top_k < scaled.shape[-1]:
        least = scaled.topk(sampling.top_k).values[:, -1]
        keep = _highest(scaled, least, torch.full_like(least, sampling.top_k, dtype=torch.long))
        scaled = scaled.masked_fill(~keep, float("-inf"))
    weights = (scaled - scaled.amax(-1, keepdim=True)).double().exp()  # the most probable token has weight 1
    if sampling.top_p < 1.0:
        weights = _nucleus(weights, sampling.top_p)
    if sampling.min_p > 0.0:
        weights = weights.masked_fill(weights < sampling.min_p, 0.0)
    cumulative = weights.cumsum(-1)
    total = cumulative[:, -1]
    numbers = []
    for draw in draws:
        assert draw is not None, "a row that is sampled needs a generator"
        numbers.append(draw.random())
    goal = torch.tensor(numbers, dtype=torch.float64) * total
    goal = torch.minimum(goal, torch.nextafter(total, torch.zeros_like(total)))  # rounding must not lead behind the last token
    return [int(t) for t in torch.searchsorted(cumulative, goal[:, None], right=True)[:, 0].tolist()]


def _nucleus(weights: Any, top_p: float) -> Any:
    """The smallest set whose share reaches `top_p`: a token stays while those before it are below."""
    wanted = top_p * weights.sum(-1)
    best = weights.topk(min(_FIRST_CANDIDATES, weights.shape[-1])).values
    stays = best.cumsum(-1) - best < wanted[:, None]
    counts = stays.sum(-1).clamp(min=1)
    least = best.gather(-1, counts[:, None] - 1)[:, 0]
    wide = stays.all(-1).nonzero()[:, 0] if best.shape[-1] < weights.shape[-1] else []
    for row in wide:
        ordered = weights[row].sort(descending=True).values
        counts[row] = max(1, int((ordered.cumsum(-1) - ordered < wanted[row]).sum()))
        least[row] = ordered[counts[row] - 1]
    return weights.masked_fill(~_highest(weights, least, counts), 0.0)


def _highest(values: Any, least: Any, counts: Any) -> Any:
    """Mask of the `counts` highest values of each row, the lowest of which is `least`; of equal ones the lowest ids."""
    keep = values >= least[:, None]
    for row in (keep.sum(-1) > counts).nonzero()[:, 0]:
        above, equal = values[row] > least[row], values[row] == least[row]
        keep[row] = above | (equal & (equal.cumsum(-1) <= counts[row] - above.sum()))
    return keep
