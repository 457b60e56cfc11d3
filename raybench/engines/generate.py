"""Answers token by token: left-padded batches with a key-value cache, each row with its own sampling, seed and stops.

An own loop instead of `model.generate`: nothing of the checkpoint's generation_config but its end tokens can reach an answer, a row stops
by its own stop strings, and its draws are its own.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from raybench.core.types import FinishReason, Sampling
from raybench.engines.sampling import next_token


@dataclass(slots=True, kw_only=True)
class Row:
    """One answer in the making."""

    prompt: list[int]
    sampling: Sampling
    draw: Random | None
    """Where its draws come from; None for greedy."""
    new: list[int] = field(default_factory=list)
    """Tokens so far, without the end token."""
    num_new: int = 0
    """Tokens that the model gave, with the end token."""
    finish: FinishReason | None = None
    """ERROR: the logits were not finite."""


class Generator:
    """Generates with a causal language model of transformers."""

    def __init__(self, model: Any, tokenizer: Any, *, eos: frozenset[int], batch_tokens: int) -> None:
        """Take a model on its device, in evaluation mode.

        Args:
            model: The decoder.
            tokenizer: Its tokenizer.
            eos: Tokens that end an answer: the tokenizer's, and those that the checkpoint's files declare (end of a chat turn).
            batch_tokens: Most tokens, prompt and answer, of the rows that run together.
        """
        self._model = model
        self._tokenizer = tokenizer
        self._eos = eos
        self._batch_tokens = batch_tokens
        self._takes_positions = "position_ids" in inspect.signature(model.forward).parameters
        self._takes_keep = "logits_to_keep" in inspect.signature(model.forward).parameters

    def run(self, rows: Sequence[Row]) -> None:
        """Complete the rows, in batches that depend on the rows alone."""
        order = sorted(range(len(rows)), key=lambda i: (-len(rows[i].prompt), i))
        while order:
            width = len(rows[order[0]].prompt) + max(rows[i].sampling.max_tokens for i in order)
            size = max(1, self._batch_tokens // width)
            self._run_batch([rows[i] for i in order[:size]])
            order = order[size:]

    def text(self, row: Row) -> str:
        """The answer: without special tokens, cut at each stop string in turn (lm_eval models/utils.py, postprocess_generated_text)."""
        stops = [s for s in row.sampling.stop if s]
        answer = self._decode(row.new, skip=True)
        cut = _cut(answer, stops)
        if cut == answer and stops and row.finish is FinishReason.STOP:
            # a stop string that is a special token is seen only with special tokens kept: the tokens before it are the answer
            kept = len(_cut(self._decode(row.new, skip=False), stops))
            num_kept = len(row.new)
            while num_kept and len(self._decode(row.new[:num_kept], skip=False)) > kept:
                num_kept -= 1
            return self._decode(row.new[:num_kept], skip=True)
        return cut

    def _decode(self, tokens: Sequence[int], *, skip: bool) -> str:
        return str(self._tokenizer.decode(tokens, skip_special_tokens=skip))

    def _run_batch(self, rows: list[Row]) -> None:
        import torch
        from transformers import DynamicCache

        device = self._model.device
        width = max(len(r.prompt) for r in rows)
        ids = torch.tensor([[0] * (width - len(r.prompt)) + r.prompt for r in rows], device=device)
        mask = torch.tensor([[0] * (width - len(r.prompt)) + [1] * len(r.prompt) for r in rows], device=device)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        cache = DynamicCache(config=self._model.config)
        windows = [_stop_window(r.sampling.stop) for r in rows]
        with torch.inference_mode():
            while rows:
                inputs = {"input_ids": ids, "attention_mask": mask, "past_key_values": cache, "use_cache": True}
                if self._takes_positions:
                    inputs["position_ids"] = positions
                if self._takes_keep:
                    inputs["logits_to_keep"] = 1
                logits_BV = self._model(**inputs).logits[:, -1].float()
                self._advance(rows, windows, logits_BV)
                live = [b for b, r in enumerate(rows) if r.finish is None]
                if not live:
                    return
                if len(live) <= len(rows) * 3 // 4:  # finished rows leave, by a rule that depends on the rows alone
                    at = torch.tensor(live, device=device)
                    cache.batch_select_indices(at)
                    mask, positions = mask[at], positions[at]
                    rows, windows = [rows[b] for b in live], [windows[b] for b in live]
                ids = torch.tensor([[r.new[-1] if r.new else 0] for r in rows], device=device)
                mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
                positions = positions[:, -1:] + 1

    def _advance(self, rows: Sequence[Row], windows: Sequence[int], logits_BV: Any) -> None:
        """Give each unfinished row its next token, and finish it where it ends."""
        import torch

        greedy = logits_BV.argmax(-1).tolist()
        # -inf forbids a token; NaN, +inf or nothing but -inf is no distribution
        is_finite = logits_BV.amax(-1).isfinite().tolist()
        for b, row in enumerate(rows):
            if row.finish is not None:
                continue
            if not is_finite[b]:
                row.finish = FinishReason.ERROR
                continue
            token = greedy[b]
            if row.sampling.temperature > 0 or row.sampling.repetition_penalty != 1.0:
                seen = torch.tensor(row.prompt + row.new, device=logits_BV.device)
                token = next_token(logits_BV[b], row.sampling, seen=seen, draw=row.draw)
            row.num_new += 1
            if token in self._eos:
                row.finish = FinishReason.STOP
                continue
            row.new.append(token)
            if windows[b]:
                tail = self._decode(row.new[-windows[b] :], skip=False)
                if any(s and s in tail for s in row.sampling.stop):
                    row.finish = FinishReason.STOP
                    continue
            if row.num_new >= row.sampling.max_tokens:
                row.finish = FinishReason.LENGTH


def _stop_window(stops: Sequence[str]) -> int:
    """Tokens at the end of an answer that can hold a stop string that was just completed: a token has at least one byte."""
    return max((len(s.encode()) for s in stops if s), default=-2) + 2


def _cut(text: str, stops: Sequence[str]) -> str:
    for stop in stops:
        text = text.split(stop)[0]
    return text
