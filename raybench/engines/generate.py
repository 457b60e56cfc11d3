"""Answers token by token, by the fastest way that is right for the model: prefixes shared, or batches with the model's own cache.

An own loop instead of `model.generate`: nothing of the checkpoint's generation_config but its end tokens can reach an answer, a row stops
by its own stop strings, and its draws are its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from raybench.engines.answer import AnswerReader
from raybench.engines.plain_generate import PlainGenerator
from raybench.engines.rows import Row, Stepper
from raybench.engines.shared_generate import SharedGenerator
from raybench.engines.shared_probe import obstacle


class Generator:
    """Generates with a causal language model of transformers."""

    def __init__(self, model: Any, reader: AnswerReader, *, eos: frozenset[int], batch_tokens: int) -> None:
        """Take a model on its device, in evaluation mode.

        Args:
            model: The decoder.
            reader: Tells stop strings, and the end of a reasoning trace.
            eos: Tokens that end an answer: the tokenizer's, and those that the checkpoint's files declare (end of a chat turn).
            batch_tokens: Most tokens of a forward pass; keys and values are kept for four times as many where prefixes are shared.
        """
        self.batch_tokens = batch_tokens
        """Lowered by the engine for a shard when memory runs out."""
        self.notice: str | None = None
        """What the user should hear, once `shares` has found it out; None: nothing."""
        self._model = model
        self._stepper = Stepper(reader, eos)
        self._shared = SharedGenerator(model)
        self._plain = PlainGenerator(model)

    @cached_property
    def shares(self) -> bool:
        """Whether common prefixes are computed once; measured at the first use."""
        found = obstacle(self._model)
        if found is not None:
            self.notice = f"prompts are generated without shared prefixes: {found}."
        return found is None

    def run(self, rows: Sequence[Row]) -> None:
        """Complete the rows of a shard with all their turns; what happens depends on the rows alone."""
        way = self._shared if self.shares else self._plain
        way.run(rows, self._stepper, batch_tokens=self.batch_tokens)
