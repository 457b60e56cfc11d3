"""Next-token kinds for a plain module, without a key-value cache: whole rows through the module, right-padded.

Shapes: B rows, L padded length, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from raybench.engines.items import Item, Score
from raybench.engines.net import MAX_LOGITS, batches
from raybench.engines.rows import Row, Stepper

Forward = Callable[[Any, Any], Any]
"""(input_ids [B, L], attention_mask [B, L]) -> logits [B, L, V], the logits at a position for the token behind it."""


class NextToken:
    """Likelihoods and answers of a module that predicts the next token."""

    def __init__(self, forward: Forward, *, device: Any, pad_id: int, vocabulary: int, budget: int) -> None:
        """Take a module.

        Args:
            forward: Of the module.
            device: Where it runs.
            pad_id: Fills rows up on the right.
            vocabulary: Logits at a position; bounds the size of a batch.
            budget: Most padded tokens of one forward pass.
        """
        self._forward = forward
        self._device = device
        self._pad_id = pad_id
        self._budget = max(1, min(budget, MAX_LOGITS // vocabulary))

    def score(self, items: Sequence[Item]) -> list[list[Score]]:
        """Scores of all continuations of each item, each behind its whole context."""
        import torch

        rows = [(item.context, list(c)) for item in items for c in item.continuations]
        found = [Score(logprobs=(math.nan,), is_greedy=False)] * len(rows)
        inputs = [[*context, *tokens][:-1] for context, tokens in rows]
        with torch.inference_mode():
            for members in batches([len(x) for x in inputs], budget=self._budget):
                logits_BLV = self._run([inputs[i] for i in members]).float()
                for b, i in enumerate(members):
                    context, tokens = rows[i]
                    mine = logits_BLV[b, len(context) - 1 : len(context) - 1 + len(tokens)]
                    wanted = torch.tensor(tokens, device=self._device)
                    logprobs = mine.log_softmax(-1).gather(-1, wanted[:, None])[:, 0].tolist()
                    found[i] = Score(logprobs=tuple(logprobs), is_greedy=bool((mine.argmax(-1) == wanted).all()))
        in_order = iter(found)
        return [[next(in_order) for _ in item.continuations] for item in items]

    def write(self, rows: Sequence[Row], stepper: Stepper) -> None:
        """Complete the rows with all their turns, each turn in the batch it began in: every step reads the whole row again."""
        turn = list(rows)
        while turn:
            self._write_turn(turn, stepper)
            turn = [row for row in turn if row.turn()]

    def _write_turn(self, rows: Sequence[Row], stepper: Stepper) -> None:
        import torch

        lengths = [len(r.prompt) + r.sampling.max_tokens for r in rows]
        with torch.inference_mode():
            for members in batches(lengths, budget=self._budget):
                live = [rows[i] for i in members]
                while live:
                    inputs = [r.prompt + r.new for r in live]
                    logits_BLV = self._run(inputs)
                    at = torch.tensor([len(x) - 1 for x in inputs], device=self._device)
                    stepper.advance(live, logits_BLV[torch.arange(len(live), device=self._device), at].float())
                    live = [r for r in live if r.finish is None]

    def _run(self, rows: Sequence[list[int]]) -> Any:
        import torch

        width = max(map(len, rows))
        ids = torch.tensor([r + [self._pad_id] * (width - len(r)) for r in rows], device=self._device)
        mask = torch.tensor([[1] * len(r) + [0] * (width - len(r)) for r in rows], device=self._device)
        return self._forward(ids, mask)
