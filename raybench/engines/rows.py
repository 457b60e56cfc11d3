"""One answer in the making, and what a step of the model does to it: the next token, stop strings, ends, log-probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from raybench.core.types import FinishReason, Sampling
from raybench.engines.answer import AnswerReader, stop_window
from raybench.engines.fit import PromptError
from raybench.engines.sampling import next_tokens


@dataclass(slots=True, kw_only=True, eq=False)
class Row:
    """One answer in the making; with further turns one answer after the other."""

    prompt: list[int]
    """Of the present turn: everything before its answer."""
    sampling: Sampling
    draw: Random | None
    """Where its draws come from; None for greedy."""
    keep_tokens: bool = False
    follow: Callable[[Row], list[int] | None] | None = None
    """Called when a turn has ended: gives the prompt of the next one, None after the last."""
    new: list[int] = field(default_factory=list)
    """Tokens of the present turn so far, without the end token."""
    num_new: int = 0
    """Tokens that the model gave in all turns, with end tokens."""
    logprobs: list[float] = field(default_factory=list)
    """Of those tokens, where they are kept."""
    finish: FinishReason | None = None
    """ERROR: see `error`."""
    error: PromptError | None = None
    """Why the engine refused the row; None where the logits were not finite."""
    num_turn: int = 0
    """Tokens that the model gave in this turn, with the end token."""
    answer_start: int | None = None
    """Index in `new` where the answer begins behind the reasoning; None while that has not ended."""

    def turn(self) -> bool:
        """Begin the next turn of a row that has ended; False after the last."""
        if self.finish is FinishReason.ERROR or self.follow is None:
            return False
        prompt = self.follow(self)
        if prompt is None:
            self.follow = None
            return False
        self.prompt, self.new, self.num_turn, self.finish, self.answer_start = prompt, [], 0, None, None
        return True


class Stepper:
    """Gives rows their next tokens."""

    def __init__(self, reader: AnswerReader, eos: frozenset[int]) -> None:
        """Take what tells the end of an answer.

        Args:
            reader: Decodes tokens; knows what ends a reasoning trace.
            eos: Tokens that end an answer.
        """
        self._reader = reader
        self._eos = eos
        self._think_window = stop_window([reader.think_end]) if reader.think_end else 0

    def advance(self, rows: Sequence[Row], logits_RV: Any) -> None:
        """Give each unfinished row its next token, and finish it where it ends.

        Args:
            rows: One for each row of logits.
            logits_RV: float32.
        """
        live = [b for b, row in enumerate(rows) if row.finish is None]
        # -inf forbids a token; NaN, +inf or nothing but -inf is no distribution
        is_finite = logits_RV.amax(-1).isfinite().tolist()
        for b in live:
            if not is_finite[b]:
                rows[b].finish = FinishReason.ERROR
        live = [b for b in live if is_finite[b]]
        tokens = self._choose(rows, live, logits_RV)
        kept = [b for b in live if rows[b].keep_tokens]
        if kept:
            import torch

            chosen = torch.tensor([tokens[b] for b in kept], device=logits_RV.device)
            found = logits_RV[kept].log_softmax(-1).gather(-1, chosen[:, None])[:, 0].tolist()
            for b, logprob in zip(kept, found, strict=True):
                rows[b].logprobs.append(logprob)
        for b in live:
            self._take(rows[b], tokens[b])

    def _choose(self, rows: Sequence[Row], live: Sequence[int], logits_RV: Any) -> dict[int, int]:
        greedy = logits_RV.argmax(-1).tolist()
        groups: dict[Sampling, list[int]] = {}
        for b in live:
            sampling = rows[b].sampling
            if sampling.temperature > 0 or sampling.repetition_penalty != 1.0:
                groups.setdefault(sampling, []).append(b)
        tokens = {b: int(greedy[b]) for b in live}
        for sampling, mine in groups.items():
            seen = [rows[b].prompt + rows[b].new for b in mine] if sampling.repetition_penalty != 1.0 else [()] * len(mine)
            found = next_tokens(logits_RV[mine], sampling, seen=seen, draws=[rows[b].draw for b in mine])
            tokens.update(zip(mine, found, strict=True))
        return tokens

    def _take(self, row: Row, token: int) -> None:
        row.num_new += 1
        row.num_turn += 1
        if token in self._eos:
            row.finish = FinishReason.STOP
            return
        row.new.append(token)
        if self._meets_stop(row):
            row.finish = FinishReason.STOP
        elif row.num_turn >= row.sampling.max_tokens:
            row.finish = FinishReason.LENGTH

    def _meets_stop(self, row: Row) -> bool:
        """Whether a stop string stands in the newest tokens; those of a reasoning trace are none (lm_eval models/vllm_causallms.py)."""
        if row.answer_start is None:
            if self._think_window:
                if str(self._reader.think_end) not in self._reader.decode(row.new[-self._think_window :], skip=False):
                    return False
                row.answer_start = len(row.new)
                return False
            row.answer_start = 0
        window = stop_window(row.sampling.stop)
        if not window:
            return False
        tail = self._reader.decode(row.new[max(row.answer_start, len(row.new) - window) :], skip=False)
        return any(s and s in tail for s in row.sampling.stop)
