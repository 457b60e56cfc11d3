"""A Transformer written from scratch, as a causal and as a masked language model: no transformers, only PyTorch.

What raybench needs of a plain module is in raybench/engines/pytorch_module.py: a function that makes it, and
`forward(input_ids, attention_mask) -> logits [B, L, V]`. Shapes: B rows, L positions, D width, H heads, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

LENGTH = 16


def causal(vocabulary: int, width: int = 64, layers: int = 2, heads: int = 4) -> nn.Module:
    """A model of the next token."""
    return Transformer(vocabulary, width, layers, heads, is_causal=True)


def masked(vocabulary: int, width: int = 64, layers: int = 2, heads: int = 4) -> nn.Module:
    """A model of the token that stands at a place."""
    return Transformer(vocabulary, width, layers, heads, is_causal=False)


class Transformer(nn.Module):
    """Learned positions, normalisation before attention and before the feed-forward part, output layer tied to the embedding."""

    def __init__(self, vocabulary: int, width: int, layers: int, heads: int, *, is_causal: bool) -> None:
        super().__init__()
        self.max_length = LENGTH  # tells raybench how long a row may be
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(LENGTH, width)
        self.blocks = nn.ModuleList(Block(width, heads, is_causal=is_causal) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        nn.init.normal_(self.tokens.weight, std=0.1)  # the output layer too: larger ones begin with a large loss

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits [B, L, V] of tokens [B, L]; padding, where the mask is 0, is not looked at."""
        states_BLD = self.tokens(input_ids) + self.positions(torch.arange(input_ids.shape[1], device=input_ids.device))
        for block in self.blocks:
            states_BLD = block(states_BLD, attention_mask.bool())
        return self.norm(states_BLD) @ self.tokens.weight.T


class Block(nn.Module):
    """Attention and a feed-forward part, each added to what comes in."""

    def __init__(self, width: int, heads: int, *, is_causal: bool) -> None:
        super().__init__()
        self.heads, self.is_causal = heads, is_causal
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mix, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.inner = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, states_BLD: Tensor, is_token_BL: Tensor) -> Tensor:
        """States [B, L, D] to states [B, L, D]."""
        length = states_BLD.shape[1]
        sees_BLL = is_token_BL[:, None, :].expand(-1, length, -1)
        if self.is_causal:
            sees_BLL = sees_BLL & torch.ones(length, length, dtype=torch.bool, device=states_BLD.device).tril()
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.mix(self.before(states_BLD)).chunk(3, dim=-1)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=sees_BLL[:, None])
        states_BLD = states_BLD + self.out(mixed.transpose(1, 2).flatten(2))
        return states_BLD + self.inner(self.between(states_BLD))
