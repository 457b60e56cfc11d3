"""Attention of rows that begin alike, over keys and values kept once: the model's own modules, our attention in between.

Registered with transformers under `NAME` and used only while `attending` lasts. A forward pass carries a `Pass`, which finds for every layer
the keys and values to attend to and keeps the new ones; the model sees neither a cache nor a mask.

Shapes: B rows, Q new tokens, H query heads, K key heads, G = H / K, D head size, P prefix tokens, T own tokens of the longest row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

NAME = "raybench_shared"
_HARMLESS = frozenset({"dropout", "is_causal", "position_ids", "position_embeddings", "output_attentions", "use_cache", "cache_position"})
"""What models hand on to an attention function beside what is honoured here, without changing what it means."""


class Unsupported(Exception):
    """The model's attention has a part that is not known here (soft-capping, sinks, position biases)."""


class Pass(Protocol):
    """One forward pass as its attention sees it."""

    def attend(self, layer: int, query: Any, key: Any, value: Any, scale: float, window: int | None) -> Any:
        """Keep key and value [B, K, Q, D]; give what query [B, H, Q, D] reads, [B, Q, H, D]."""


@contextmanager
def attending(model: Any) -> Iterator[None]:
    """While this lasts, the model's attention is ours, and needs a `shared_pass` in every call."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, _attention)
    before = model.config._attn_implementation
    model.config._attn_implementation = NAME
    try:
        yield
    finally:
        model.config._attn_implementation = before


def _attention(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    scaling: float | None = None,
    sliding_window: int | None = None,
    shared_pass: Pass | None = None,
    **others: Any,
) -> tuple[Any, None]:
    unknown = sorted(name for name, given in others.items() if name not in _HARMLESS and given is not None and given is not False)
    if unknown or attention_mask is not None or shared_pass is None:
        raise Unsupported(
            ", ".join(unknown) or ("a mask of the model's own" if shared_pass is not None else "arguments that are not handed on")
        )
    scale = query.shape[-1] ** -0.5 if scaling is None else float(scaling)
    return shared_pass.attend(module.layer_idx, query, key, value, scale, sliding_window), None


States = dict[int, tuple[Any, Any]]
"""Layer to keys and values, each [K, n, D]."""


@dataclass(slots=True, kw_only=True)
class Segment:
    """New tokens of one sequence in a packed row."""

    tokens: Sequence[int]
    start: int
    """Position of the first of them."""
    prior: Callable[[int], Sequence[tuple[Any, Any]]]
    """Layer to the keys and values of all positions before, piece by piece, each [K, n, D]."""
    keep: Callable[[int, Any, Any], None]
    """Takes layer, keys and values [K, Q, D] of the new tokens."""


@dataclass(slots=True, kw_only=True)
class Reading:
    """A pass over prompts: segments behind each other in one row, each sees what is before it in its own sequence."""

    segments: Sequence[Segment]
    windows: dict[int, int | None] = field(default_factory=dict)
    """Sliding window that each layer asked for."""
    _masks: dict[Any, Any] = field(default_factory=dict)

    def attend(self, layer: int, query: Any, key: Any, value: Any, scale: float, window: int | None) -> Any:
        """See `Pass`; query [1, H, Q, D]."""
        import torch
        from torch.nn.functional import scaled_dot_product_attention

        self.windows[layer] = window
        heads, size = key.shape[1], query.shape[-1]
        parts, a = [], 0
        for number, segment in enumerate(self.segments):
            n = len(segment.tokens)
            q = query[0, :, a : a + n].reshape(1, heads, -1, size)  # [1, K, G * n, D]: the query heads of a key head stand in one row
            k, v = key[0, :, a : a + n].contiguous(), value[0, :, a : a + n].contiguous()
            segment.keep(layer, k, v)
            prior = segment.prior(layer)
            if prior:
                k, v = torch.cat([*(x for x, _ in prior), k], dim=1), torch.cat([*(x for _, x in prior), v], dim=1)
            mask = self._mask(number, window, group=query.shape[1] // heads, device=query.device)
            read = scaled_dot_product_attention(q, k[None], v[None], attn_mask=mask, scale=scale)
            parts.append(read.view(query.shape[1], n, -1).transpose(0, 1))
            a += n
        return torch.cat(parts)[None]

    def _mask(self, number: int, window: int | None, *, group: int, device: Any) -> Any:
        """[G * n, P + n], True where a token sees another; the same for all layers of one window."""
        import torch

        if (number, window, device) not in self._masks:
            segment = self.segments[number]
            seen = torch.arange(segment.start + len(segment.tokens), device=device)
            at = seen[segment.start :, None]
            mask = seen <= at if window is None else (seen <= at) & (seen > at - window)
            self._masks[number, window, device] = mask.repeat(group, 1)
        return self._masks[number, window, device]


@dataclass(slots=True, kw_only=True)
class SharedRun:
    """Keys and values that several rows of a batch begin with."""

    start: int
    stop: int
    """Positions that it covers."""
    states: States
    rows: list[int] | None
    """Indices of the rows, or None: all."""


@dataclass(slots=True, kw_only=True)
class Writing:
    """A pass that gives every row of a batch one token."""

    shared: Sequence[SharedRun]
    own: States
    """Layer to keys and values [B, K, T, D] of what rows do not share."""
    own_start: Any
    """Position of each row's first own token [B]."""
    at: Any
    """Where among its own tokens each row's new one goes [B]."""
    width: int
    """Own tokens of the longest row, the new one included."""
    _masks: dict[Any, tuple[Any, Any]] = field(default_factory=dict)

    def attend(self, layer: int, query: Any, key: Any, value: Any, scale: float, window: int | None) -> Any:
        """See `Pass`; query [B, H, 1, D]. One softmax in float32 over shared and own positions."""
        import torch

        keys, values = self.own[layer]
        num_rows, heads, _, size = key.shape
        every, at = torch.arange(num_rows, device=key.device), self.at.to(key.device)  # layers may lie on several devices
        keys[every, :, at] = key[:, :, 0]
        values[every, :, at] = value[:, :, 0]
        q = (query * scale).reshape(num_rows, heads, -1, size)  # [B, K, G, D]
        of_shared, of_own = self._mask(window, query.device)
        scores = torch.matmul(q, keys[:, :, : self.width].transpose(-1, -2)).float() + of_own  # [B, K, G, T]
        if not self.shared:
            read = torch.matmul(scores.softmax(-1).to(q.dtype), values[:, :, : self.width])
            return read.reshape(num_rows, 1, query.shape[1], -1)
        begun = [self._score_shared(q, run.states[layer][0], run.rows) for run in self.shared]
        if len(self.shared) == 1 and self.shared[0].rows is None:
            prefix = begun[0] if of_shared is None else begun[0] + of_shared
        else:
            length = max(run.stop for run in self.shared)
            prefix = scores.new_full((num_rows, heads, q.shape[2], length), float("-inf"))
            for run, found in zip(self.shared, begun, strict=True):
                if run.rows is None:
                    prefix[..., run.start : run.stop] = found
                else:
                    prefix[run.rows, :, :, run.start : run.stop] = found
            if of_shared is not None:
                prefix = prefix + of_shared
        chances = torch.cat([prefix, scores], dim=-1).softmax(-1).to(q.dtype)
        read = torch.matmul(chances[..., prefix.shape[-1] :], values[:, :, : self.width])
        for run in self.shared:
            mine = chances[..., run.start : run.stop] if run.rows is None else chances[run.rows, :, :, run.start : run.stop]
            found = _by_head(mine, run.states[layer][1])
            if run.rows is None:
                read = read + found
            else:
                read[run.rows] += found
        return read.reshape(num_rows, 1, query.shape[1], -1)

    def _score_shared(self, q: Any, keys: Any, rows: Any) -> Any:
        return _by_head(q if rows is None else q[rows], keys.transpose(-1, -2)).float()

    def _mask(self, window: int | None, device: Any) -> tuple[Any, Any]:
        """What is added to scores of shared [B, 1, 1, P] (None: nothing) and own positions [B, 1, 1, T]."""
        import torch

        if (window, device) not in self._masks:
            own, at, own_start = torch.arange(self.width, device=device), self.at.to(device)[:, None], self.own_start.to(device)[:, None]
            is_hidden = own > at
            of_shared = None
            if window is not None:
                is_hidden = is_hidden | (own <= at - window)
                before = torch.arange(max((run.stop for run in self.shared), default=0), device=device)
                of_shared = _minus_infinity(before <= own_start + at - window)
            self._masks[window, device] = of_shared, _minus_infinity(is_hidden)
        return self._masks[window, device]


def _minus_infinity(is_hidden: Any) -> Any:
    import torch

    return torch.zeros(is_hidden.shape, device=is_hidden.device).masked_fill_(is_hidden, float("-inf"))[:, None, None]


def _by_head(rows: Any, states: Any) -> Any:
    """[R, K, G, x] times [K, x, y] -> [R, K, G, y], one multiplication a head for all rows."""
    import torch

    num_rows, heads, group, _ = rows.shape
    flat = rows.transpose(0, 1).reshape(heads, num_rows * group, -1)
    return torch.matmul(flat, states).view(heads, num_rows, group, -1).transpose(0, 1)
