"""Vectors of texts: the last hidden states of an encoder, pooled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from raybench.core.outputs import Embedding
from raybench.core.types import Prediction, Request
from raybench.engines.predictions import nonfinite, scored
from raybench.engines.reading import Head, Read, answer_readable

Pooling = Literal["mean", "cls", "last"]


def embed(head: Head, requests: Sequence[Request], *, pooling: Pooling, normalize: bool, is_pooled: bool = False) -> list[Prediction]:
    """Answer `embed` requests.

    Args:
        head: Its net gives hidden states [B, L, D], or vectors [B, D].
        requests: What is asked.
        pooling: mean: over all tokens, special ones included; cls: the first token; last: the last one. The first two as in
            sentence-transformers 5 (sentence_transformers/models/Pooling.py).
        normalize: Whether vectors get the length 1.
        is_pooled: The net gives vectors already.
    """

    def reduce(output: Any, mask: Any) -> Any:
        vectors = output.float() if is_pooled else pool(output.float(), mask, pooling)
        return vectors / vectors.norm(dim=-1, keepdim=True).clamp(min=1e-12) if normalize else vectors

    def answer(asked: list[Request], read: list[Read]) -> list[Prediction]:
        vectors = [tuple(v.tolist()) for v in head.net.per_row([r.row for r in read], reduce)]
        return [
            scored(request, Embedding(vector=v), num_prompt_tokens=len(r.row.ids), num_truncated=r.num_truncated)
            if all(map(math.isfinite, v))
            else nonfinite(request)
            for request, r, v in zip(asked, read, vectors, strict=True)
        ]

    return answer_readable(requests, head.reader.read(requests), answer)


def pool(states_BLD: Any, mask_BL: Any, pooling: Pooling) -> Any:
    """[B, D] of hidden states; padding may stand on either side."""
    import torch

    rows = torch.arange(len(states_BLD), device=states_BLD.device)
    if pooling == "cls":
        return states_BLD[rows, mask_BL.argmax(-1)]
    if pooling == "last":
        places = torch.arange(mask_BL.shape[1], device=states_BLD.device)
        return states_BLD[rows, (places * mask_BL).argmax(-1)]
    weight = mask_BL[..., None].to(states_BLD.dtype)
    # padding may hold anything, even NaN: 0 * NaN would spoil the sum
    return states_BLD.masked_fill(mask_BL[..., None] == 0, 0.0).sum(1) / weight.sum(1).clamp(min=1)
