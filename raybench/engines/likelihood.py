"""Log-probabilities of continuations: a decoder run over contexts and options, each shared part once where the architecture allows it.

Shapes: B rows, L padded length, Q tokens of a piece of the tree, P tokens before it, K scored positions, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np

from raybench.engines.attention_masks import TreeMask, tree_mask_of
from raybench.engines.items import Item, Score
from raybench.engines.memory import is_out_of_memory
from raybench.engines.token_tree import TokenTree, token_tree

MAX_LOGITS = 2**28
"""Most logits of one forward pass (1 GiB in float32); a row that needs more runs alone."""

_SOFTMAX_ROWS = 256  # positions whose logits are widened to float32 at once


class _Selection:
    """Which positions go through the output layer: a hook before it. It does not know the model, so that a model is free once it is dropped."""

    def __init__(self) -> None:
        self.at: Any = None  # of the flattened batch; None: all

    def __call__(self, _: Any, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """What follows the layer (scaling, soft-capping) is the model's own and works on any number of positions."""
        if self.at is None:
            return None
        states = args[0].flatten(0, -2)
        return states[self.at.to(states.device)][None], *args[1:]


class Scorer:
    """Scores items with a causal language model of transformers. Softmax always in float32."""

    def __init__(self, model: Any, *, batch_tokens: int) -> None:
        """Take a model.

        Args:
            model: On its device, in evaluation mode.
            batch_tokens: Most padded tokens of one forward pass.
        """
        self._model = model
        self.batch_tokens = batch_tokens
        """May be lowered between two calls, when memory runs out."""
        self._selection = _Selection()
        head = model.get_output_embeddings()
        self._selects = head is not None
        if head is not None:
            head.register_forward_pre_hook(self._selection)
        self.notice: str | None = None
        """Why nothing is shared, once `masks` has found that out."""

    @cached_property
    def masks(self) -> TreeMask | None:
        """How the model is told who sees whom; None: nothing is shared.

        Measured at the first use, on a few made-up tokens: whether the model computes the same in a tree as in rows.
        """
        masks = tree_mask_of(self._model)
        obstacle = masks if isinstance(masks, str) else self._difference(masks)
        if obstacle is not None:
            self.notice = f"contexts are computed anew for every option: {obstacle}"
        return None if obstacle is not None or isinstance(masks, str) else masks

    @property
    def num_vocabulary(self) -> int:
        """Rows of the embedding."""
        return int(self._model.get_input_embeddings().num_embeddings)

    @property
    def piece_tokens(self) -> int:
        """Tokens of the tree in one forward pass.

        Attention grows with its square, and a CPU is busy with few; a GPU needs more. In proportion to the budget, so that half a budget
        is half the memory.
        """
        share = 4 if self._model.device.type == "cuda" else 32
        return max(1, min(max(16, self.batch_tokens // share), MAX_LOGITS // self.num_vocabulary))

    def score(self, items: Sequence[Item]) -> list[list[Score]]:
        """Scores of all continuations, sharing contexts where possible; depends on the items alone."""
        if self.masks is None:
            return self.score_apart(items)
        found = self._score_tree(items, self.masks)
        # NaN of one sequence reaches the others through 0 * NaN in the attention: what is not finite is asked again, alone
        for i, item in enumerate(items):
            if not all(math.isfinite(s.logprob) for s in found[i]):
                found[i] = [self.score_apart([Item(context=item.context, continuations=[c])])[0][0] for c in item.continuations]
        return found

    def score_apart(self, items: Sequence[Item]) -> list[list[Score]]:
        """Scores of all continuations, each with its whole context in a right-padded row: any causal model, nothing shared.

        Right padding needs no mask: no token sees what stands behind it (lm_eval models/huggingface.py, _loglikelihood_tokens).
        """
        rows = [(i, j, [*item.context, *c][:-1], c) for i, item in enumerate(items) for j, c in enumerate(item.continuations)]
        rows.sort(key=lambda r: (-len(r[2]), r[0], r[1]))
        nothing = Score(logprobs=(math.nan,), is_greedy=False)
        found = [[nothing] * len(item.continuations) for item in items]
        most_scored = max(1, MAX_LOGITS // self.num_vocabulary)
        start = 0
        while start < len(rows):
            longest = len(rows[start][2])
            stop, num_scored = start + 1, len(rows[start][3])
            while (
                stop < len(rows)
                and (stop + 1 - start) * longest <= self.batch_tokens
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
            chosen, best = _picked(logits_KV, range(len(keep)), [t for _, c in rows for t in c])
        return _scores(chosen, best, [len(c) for _, c in rows])

    def _score_tree(self, items: Sequence[Item], masks: TreeMask) -> list[list[Score]]:
        import torch
        from transformers import DynamicCache

        tree = token_tree(items)
        nodes = np.array([n for of_item in tree.scored for row in of_item for n in row], np.int64)
        targets = np.array([t for item in items for c in item.continuations for t in c], np.int64)
        order = np.argsort(nodes, kind="stable")
        chosen, best = [0.0] * len(nodes), [False] * len(nodes)
        device = self._model.device
        cache = DynamicCache()
        cached: np.ndarray[Any, np.dtype[np.int64]] = np.empty(0, np.int64)
        with torch.inference_mode():
            for start, stop in _pieces(len(tree.tokens), self.piece_tokens):
                here = np.arange(start, stop)
                keys = np.concatenate([cached, here])
                mine = order[np.searchsorted(nodes, start, sorter=order) : np.searchsorted(nodes, stop, sorter=order)]
                keep, rows = np.unique(nodes[mine], return_inverse=True)
                logits_KV = self._forward(
                    (keep - start).tolist() or [0],
                    input_ids=torch.from_numpy(tree.tokens[None, start:stop]).to(device),
                    position_ids=torch.from_numpy(tree.depth[None, start:stop]).to(device),
                    attention_mask=masks.of(tree, here, keys, device),
                    past_key_values=cache,
                    use_cache=True,
                )
                for n, value, greedy in zip(mine, *_picked(logits_KV, rows.tolist(), targets[mine].tolist()), strict=True):
                    chosen[n], best[n] = value, greedy
                cached = _forget(cache, tree, keys, stop)
        flat = iter(_scores(chosen, best, [len(c) for item in items for c in item.continuations]))
        return [[next(flat) for _ in item.continuations] for item in items]

    def _forward(self, keep: Sequence[int], **inputs: Any) -> Any:
        """Logits [K, V] at the positions `keep` of the flattened [B * L] batch; the output layer, often the largest, runs only there."""
        import torch

        with self._only_at(torch.tensor(keep, device=self._model.device)) as at:
            logits = self._model(**inputs).logits
            return logits[0] if self._selects else logits.flatten(0, 1)[at]

    @contextmanager
    def _only_at(self, at: Any) -> Iterator[Any]:
        self._selection.at = at
        try:
            yield at
        finally:
            self._selection.at = None

    def _difference(self, masks: TreeMask) -> str | None:
        """What is different between a tree, in pieces, and rows; None where nothing is."""
        size = self.num_vocabulary
        tokens = [i * 7919 % size for i in range(1, 41)]
        items = [
            Item(context=tokens[:12] + tokens[a:b], continuations=[tokens[b : b + 3], tokens[a : a + 2]]) for a, b in ((12, 15), (20, 31))
        ]
        apart = [s.logprob for of_item in self.score_apart(items) for s in of_item]
        try:
            shared = self._score_tree([*items, items[0]], masks)
        except (RuntimeError, ValueError, TypeError, AttributeError, IndexError, KeyError, AssertionError) as error:
            if is_out_of_memory(error):
                raise
            return f"the architecture takes no mask of ours ({type(error).__name__}: {' '.join(str(error).split())[:120]})."
        # rounding in bfloat16 is far below 0.1 nats a token; a mask or positions that are ignored are far above
        pairs = zip(apart, [s.logprob for of_item in shared[:2] for s in of_item], strict=True)
        worst = max((abs(a - b) for a, b in pairs if math.isfinite(a) and abs(a - b) > 0.02 * abs(a) + 0.02), default=None)
        return (
            None if worst is None else f"on a probe, shared contexts gave scores that differ by {worst:.2g} nats from those of plain rows."
        )


def _pieces(total: int, size: int) -> list[tuple[int, int]]:
    """[start, stop) of pieces of the tree; any cut is right, since ancestors that are still needed stay in the cache."""
    return [(start, min(start + size, total)) for start in range(0, total, size)]


def _forget(cache: Any, tree: TokenTree, keys: np.ndarray[Any, np.dtype[np.int64]], following: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Keep the states of the ancestors of the node `following`, drop the others; returns the nodes that were kept."""
    import torch

    kept = np.flatnonzero(tree.end[keys] > following)
    # the ancestors are mostly those that the piece began with: then a view is enough, and the next piece copies it anyway
    is_start = len(kept) == 0 or kept[-1] == len(kept) - 1
    at = torch.from_numpy(kept)
    for layer in cache.layers:
        for name in ("keys", "values"):
            states = getattr(layer, name)
            setattr(layer, name, states[:, :, : len(kept)] if is_start else states.index_select(2, at.to(states.device)))
    return keys[kept]


def _picked(logits_KV: Any, rows: Sequence[int], targets: Sequence[int]) -> tuple[list[float], list[bool]]:
    """Log-probability of each target at its row of the logits, and whether it is the most probable token there; `rows` ascend."""
    import torch

    device = logits_KV.device
    at, wanted = (torch.tensor(x, dtype=torch.long, device=device) for x in (rows, targets))  # both may be empty
    chosen = torch.empty(len(rows), dtype=torch.float32, device=device)
    is_best = torch.empty(len(rows), dtype=torch.bool, device=device)
    for start in range(0, len(logits_KV), _SOFTMAX_ROWS):
        wide = logits_KV[start : start + _SOFTMAX_ROWS].float()
        first, last = np.searchsorted(rows, [start, start + _SOFTMAX_ROWS])
        local, token = at[first:last] - start, wanted[first:last]
        is_best[first:last] = wide.argmax(-1)[local] == token
        # logsumexp would round less (by 1e-5 nats a token), but the field's numbers are those of log_softmax
        chosen[first:last] = wide.log_softmax(-1)[local, token]
    return chosen.tolist(), is_best.tolist()


def _scores(chosen: Sequence[float], is_best: Sequence[bool], lengths: Sequence[int]) -> list[Score]:
    found, start = [], 0
    for n in lengths:
        found.append(Score(logprobs=tuple(chosen[start : start + n]), is_greedy=all(is_best[start : start + n])))
        start += n
    return found
