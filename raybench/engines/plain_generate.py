"""Generation by the model's own cache: left-padded batches, nothing shared. For decoders whose attention cannot be taken over."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from raybench.engines.rows import Row, Stepper


class PlainGenerator:
    """Completes rows with any causal language model of transformers."""

    def __init__(self, model: Any) -> None:
        """Take a model on its device, in evaluation mode."""
        from transformers import DynamicCache
        from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

        self._model = model
        parameters = inspect.signature(model.forward).parameters
        self._takes_positions = "position_ids" in parameters
        self._takes_keep = "logits_to_keep" in parameters
        self._cache_name = "past_key_values" if "past_key_values" in parameters else "cache_params"
        layers = DynamicCache(config=model.config).layers
        self._can_pad = all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)
        """A recurrent state takes padding in: such models run prompts of one length together."""
        self._can_leave = all(type(layer) is DynamicLayer for layer in layers)

    def run(self, rows: Sequence[Row], stepper: Stepper, *, batch_tokens: int) -> None:
        """Complete the rows, longest prompts first, in batches that depend on the rows alone; further turns are read anew.

        Args:
            rows: Of one shard.
            stepper: Gives the next tokens.
            batch_tokens: Most tokens, prompt and answer, of the rows that run together.
        """
        turn = list(rows)
        while turn:
            order = sorted(range(len(turn)), key=lambda i: (-len(turn[i].prompt), i))
            while order:
                longest = len(turn[order[0]].prompt)
                width = longest + max(turn[i].sampling.max_tokens for i in order)
                size = max(1, batch_tokens // width)
                batch = [i for i in order[:size] if self._can_pad or len(turn[i].prompt) == longest]
                self._run_batch([turn[i] for i in batch], stepper)
                order = order[len(batch) :]
            turn = [row for row in turn if row.turn()]

    def _run_batch(self, rows: list[Row], stepper: Stepper) -> None:
        import torch
        from transformers import DynamicCache

        device = self._model.device
        width = max(len(r.prompt) for r in rows)
        ids = torch.tensor([[0] * (width - len(r.prompt)) + r.prompt for r in rows], device=device)
        mask = torch.tensor([[0] * (width - len(r.prompt)) + [1] * len(r.prompt) for r in rows], device=device)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        cache = DynamicCache(config=self._model.config)
        with torch.inference_mode():
            while True:
                inputs = {"input_ids": ids, "attention_mask": mask, self._cache_name: cache, "use_cache": True}
                if self._takes_positions:
                    inputs["position_ids"] = positions
                if self._takes_keep:
                    inputs["logits_to_keep"] = 1
                stepper.advance(rows, self._model(**inputs).logits[:, -1].float())
                live = [b for b, r in enumerate(rows) if r.finish is None]
                if not live:
                    return
                if self._can_leave and len(live) <= len(rows) * 3 // 4:  # by a rule that depends on the rows alone
                    at = torch.tensor(live, device=device)
                    cache.batch_select_indices(at)
                    mask, positions = mask[at], positions[at]
                    rows = [rows[b] for b in live]
                ids = torch.tensor([[r.new[-1] if r.new else 0] for r in rows], device=device)
                mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
                positions = positions[:, -1:] + 1
