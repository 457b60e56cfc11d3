"""Plain PyTorch modules as a user would bring them, named `tests.own_modules:NAME` in configurations."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn


class Bag(nn.Module):
    """A mean of embeddings, and a layer of labels."""

    def __init__(self, vocabulary: int, num_labels: int) -> None:
        super().__init__()
        self.tokens, self.head = nn.Embedding(vocabulary, 16), nn.Linear(16, num_labels)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        mask = attention_mask[..., None].float()
        return SimpleNamespace(logits=self.head((self.tokens(input_ids) * mask).sum(1) / mask.sum(1)))


class Tagger(nn.Module):
    """A label of each token on its own."""

    def __init__(self, vocabulary: int, num_labels: int) -> None:
        super().__init__()
        self.tokens, self.head = nn.Embedding(vocabulary, 16), nn.Linear(16, num_labels)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        logits: Tensor = self.head(self.tokens(input_ids))
        return logits


class Alternating(Tagger):
    """Its own decoding: no label twice in a row, by Viterbi, as a CRF with two allowed transitions would."""

    def decode(self, input_ids: Tensor, attention_mask: Tensor) -> list[list[int]]:
        found = []
        for logits, length in zip(self(input_ids, attention_mask), attention_mask.sum(-1).tolist(), strict=True):
            scores, back = logits[0], []
            for step in logits[1:length]:
                from_other = scores[None, :].masked_fill(torch.eye(len(scores), dtype=torch.bool), -torch.inf)
                best, at = from_other.max(-1)
                scores, back = best + step, [*back, at.tolist()]
            path = [int(scores.argmax())]
            for at in reversed(back):
                path.insert(0, at[path[0]])
            found.append(path)
        return found


class Encoder(nn.Module):
    """Hidden states of tokens."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, 16)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        states: Tensor = self.tokens(input_ids)
        return states


def nothing() -> str:
    """A factory that makes no module."""
    return "nothing"
