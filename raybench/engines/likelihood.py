"""Log-probabilities of continuations: a decoder run over contexts and options, each shared part once where the architecture allows it.

Shapes: Q tokens of a pack, P tokens of the prefix before it, B rows, L padded length, K scored positions, V vocabulary.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from raybench.engines.packing import Item, Pack, groups, layout, packs

MAX_LOGITS = 2**28
"""Most logits of one forward pass (1 GiB in float32); a row that needs more runs alone."""

_SOFTMAX_ROWS = 512  # positions whose logits are widened to float32 at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What a model gives to one continuation."""

    logprob: float
    """Sum over its tokens, in nats; NaN where the logits are not finite."""
    is_greedy: bool
    """Whether every token was the most probable one."""


class Scorer:
    """Scores items with a causal language model of transformers. Softmax always in float32."""

    def __init__(self, model: Any, *, batch_tokens: int) -> None:
        """Measure once, on a few made-up tokens, whether `model` computes the same in packs as alone; if not it never packs.

        Args:
            model: On its device, in evaluation mode.
            batch_tokens: Most padded tokens of one forward pass.
        """
        self._model = model
        self._batch_tokens = batch_tokens
        # one row of a pack grows quadratically in attention; a CPU is busy with few tokens, a GPU needs more
        self._pack_tokens = min(batch_tokens, 2048 if model.device.type == "cuda" else 512)
        self.packs = self._can_pack()
        """Whether shared contexts are computed once."""

    def score(self, items: Sequence[Item]) -> list[list[Score]]:
        """Scores of all continuations, sharing contexts where possible; depends on the items alone."""
        if not self.packs:
            return self.score_apart(items)
        found: list[list[Score]] = [[] for _ in items]
        for group in groups(items):
            prefix = self._prefix(items[group.members[0]].context[: group.num_shared]) if group.num_shared else None
            for members in packs(items, group, num_tokens=self._pack_tokens):
                scores = self._run_pack([items[i] for i in members], prefix, group.num_shared)
                if len(members) > 1 and not all(math.isfinite(s.logprob) for of_item in scores for s in of_item):
                    # in one row, NaN of one item reaches the others through 0 * NaN in the attention
                    scores = [self._run_pack([items[i]], prefix, group.num_shared)[0] for i in members]
                for i, of_item in zip(members, scores, strict=True):
                    found[i] = of_item
        return found

    def score_apart(self, items: Sequence[Item]) -> list[list[Score]]:
        """Scores of all continuations, each with its whole context in a right-padded row: any causal model, nothing shared.

        Right padding needs no mask: no token sees what stands behind it (lm_eval models/huggingface.py, _loglikelihood_tokens).
        """
        rows = [(i, j, [*item.context, *c][:-1], c) for i, item in enumerate(items) for j, c in enumerate(item.continuations)]
        rows.sort(key=lambda r: (-len(r[2]), r[0], r[1]))
        found = [[Score(logprob=math.nan, is_greedy=False)] * len(item.continuations) for item in items]
        most_scored = max(1, MAX_LOGITS // self._model.get_input_embeddings().num_embeddings)
        start = 0
        while start < len(rows):
            longest = len(rows[start][2])
            stop, num_scored = start + 1, len(rows[start][3])
            while (
                stop < len(rows)
                and (stop + 1 - start) * longest <= self._batch_tokens
                and num_scored + len(rows[stop][3]) <= most_scored
                and len(rows[stop][2]) * 4 >= longest * 3  # at most a quarter is padding
            ):
                num_scored += len(rows[stop][3])
                stop += 1
            for (i, j, _, _), score in zip(rows[start:stop], self._run_rows([(x, c) for _, _, x, c in rows[start:stop]]), strict=True):
                found[i][j] = score
            start = stop
        return found

    def _run_rows(self, rows: Sequence[tuple[list[int], Sequence[int]]]) -> list[Score]:
        import torch

        width = max(len(x) for x, _ in rows)
        ids = torch.tensor([x + [0] * (width - len(x)) for x, _ in rows], device=self._model.device)
        keep = [b * width + k for b, (x, c) in enumerate(rows) for k in range(len(x) - len(c), len(x))]
        with torch.inference_mode():
            logits_KV = self._forward(keep, input_ids=ids, use_cache=False)
            index = _split(list(range(len(keep))), [len(c) for _, c in rows])
            return _scores(logits_KV, index, [c for _, c in rows])

    def _prefix(self, tokens: Sequence[int]) -> Any:
        """Keys and values of a shared prefix, computed once: a cache and, for each layer, its (keys, values)."""
        import torch
        from transformers import DynamicCache

        cache = DynamicCache(config=self._model.config)
        with torch.inference_mode():
            ids = torch.tensor([list(tokens)], device=self._model.device)
            self._forward([len(tokens) - 1], input_ids=ids, past_key_values=cache, use_cache=True)
        return cache, [(layer.keys, layer.values) for layer in cache.layers]

    def _run_pack(self, items: Sequence[Item], prefix: Any, num_shared: int) -> list[list[Score]]:
        import torch

        pack = layout(items, num_shared=num_shared)
        device = self._model.device
        extra: dict[str, Any] = {"use_cache": False}
        if prefix is not None:
            cache, states = prefix
            for layer, (keys, values) in zip(cache.layers, states, strict=True):
                layer.keys, layer.values = keys, values  # forget the previous pack; a forward pass appends to copies
            extra = {"past_key_values": cache, "use_cache": True}
        keep = sorted({k for rows in pack.scored for row in rows for k in row})
        place = {k: n for n, k in enumerate(keep)}
        with torch.inference_mode():
            logits_KV = self._forward(
                keep,
                input_ids=torch.tensor([pack.tokens], device=device),
                position_ids=torch.tensor([pack.positions], device=device),
                attention_mask=_block_mask(pack, num_shared, self._model.dtype, device),
                **extra,
            )
            index = [[place[k] for k in row] for rows in pack.scored for row in rows]
            flat = iter(_scores(logits_KV, index, [c for item in items for c in item.continuations]))
        return [[next(flat) for _ in item.continuations] for item in items]

    def _forward(self, keep: Sequence[int], **inputs: Any) -> Any:
        """Logits [K, V] at the positions `keep` of the flattened [B * L] batch; the output layer, often the largest, runs only there."""
        import torch

        at = torch.tensor(keep, device=self._model.device)
        head = self._model.get_output_embeddings()
        if head is None:
            return self._model(**inputs).logits.flatten(0, 1)[at]

        def select(_: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
            return args[0].flatten(0, 1)[at][None], *args[1:]

        # what follows the output layer (scaling, soft-capping) is the model's own and works on any number of positions
        hook = head.register_forward_pre_hook(select)
        try:
            return self._model(**inputs).logits[0]
        finally:
            hook.remove()

    def _can_pack(self) -> bool:
        """Packing needs plain attention over everything before, positions as an argument, and a free choice of mask."""
        from transformers import DynamicCache
        from transformers.cache_utils import DynamicLayer

        layers = DynamicCache(config=self._model.config).layers
        if (
            "position_ids" not in inspect.signature(self._model.forward).parameters
            or not layers
            or any(type(layer) is not DynamicLayer for layer in layers)
        ):
            return False
        size = self._model.get_input_embeddings().num_embeddings
        tokens = [i * 7919 % size for i in range(1, 21)]
        items = [
            Item(context=tokens[:8] + tokens[a:b], continuations=[tokens[b : b + 3], tokens[a : a + 2]]) for a, b in ((8, 11), (14, 16))
        ]
        apart = [s.logprob for of_item in self.score_apart(items) for s in of_item]
        prefix = self._prefix(tokens[:8])
        packed = [s.logprob for of_item in self._run_pack(items, prefix, 8) + self._run_pack(items, None, 0) for s in of_item]
        # rounding in bfloat16 is far below 0.1 nats a token; a mask or positions that are ignored are far above
        return all(abs(a - b) <= 0.02 * abs(a) + 0.02 or not math.isfinite(a) for a, b in zip(apart * 2, packed, strict=True))


def _block_mask(pack: Pack, num_shared: int, dtype: Any, device: Any) -> Any:
    """Additive mask [1, 1, Q, P + Q]: a token sees the prefix, and before itself its own context and its own branch."""
    import torch

    item = torch.tensor(pack.item, device=device)
    branch = torch.tensor(pack.branch, device=device)
    order = torch.arange(len(pack.tokens), device=device)
    sees = (item[:, None] == item) & (order[:, None] >= order) & ((branch == 0) | (branch[:, None] == branch))
    sees = torch.cat([sees.new_ones(len(order), num_shared), sees], dim=1)
    return torch.zeros(sees.shape, dtype=dtype, device=device).masked_fill_(~sees, torch.finfo(dtype).min)[None, None]


def _scores(logits_KV: Any, index: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]]) -> list[Score]:
    """Scores of continuations whose tokens are predicted at the rows `index` of the logits."""
    import torch

    rows = torch.tensor([k for row in index for k in row], device=logits_KV.device)
    targets = torch.tensor([t for c in continuations for t in c], device=logits_KV.device)
    chosen = torch.empty(len(rows), dtype=torch.float32, device=rows.device)
    is_best = torch.empty(len(rows), dtype=torch.bool, device=rows.device)
    for start in range(0, len(logits_KV), _SOFTMAX_ROWS):
        wide = logits_KV[start : start + _SOFTMAX_ROWS].float()
        mine = ((rows >= start) & (rows < start + _SOFTMAX_ROWS)).nonzero()[:, 0]
        at, wanted = rows[mine] - start, targets[mine]
        is_best[mine] = wide.argmax(-1)[at] == wanted
        chosen[mine] = wide.log_softmax(-1)[at, wanted]
    lengths = [len(c) for c in continuations]
    # the terms are summed in float64: on the same logits the result does not depend on how they are grouped
    sums = [math.fsum(part) for part in _split(chosen.tolist(), lengths)]
    greedy = _split(is_best.tolist(), lengths)
    return [Score(logprob=s if math.isfinite(s) else math.nan, is_greedy=all(g)) for s, g in zip(sums, greedy, strict=True)]


def _split(values: list[Any], lengths: Sequence[int]) -> list[list[Any]]:
    parts, start = [], 0
    for n in lengths:
        parts.append(values[start : start + n])
        start += n
    return parts
