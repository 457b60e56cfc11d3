"""Answers token by token, by the fastest way that is right for the model: prefixes shared, or batches with the model's own cache.

An own loop instead of `model.generate`: nothing of the checkpoint's generation_config but its end tokens can reach an answer, a row stops
by its own stop strings, and its draws are its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from raybench.engines.answer import AnswerReader
from raybench.engines.plain_generate import PlainGenerator
from raybench.engines.rows import Row, Stepper
from raybench.engines.shared_generate import SharedGenerator
from raybench.engines.shared_probe import obstacle


class Generator:
    """Generates with a causal language model of transformers."""

    def __init__(self, model: Any, reader: AnswerReader, *, eos: frozenset[int], batch_tokens: int) -> None:
        """Take a model on its device, in evaluation mode, and find out whether it can share prefixes.

        Args:
            model: The decoder.
            reader: Tells stop strings, and the end of a reasoning trace.
            eos: Tokens that end an answer: the tokenizer's, and those that the checkpoint's files declare (end of a chat turn).
            batch_tokens: Most tokens of a forward pass; keys and values are kept for four times as many where prefixes are shared.
        """
        self.batch_tokens = batch_tokens
        """Lowered by the engine for a shard when memory runs out."""
        found = obstacle(model)
        self.shares = found is None
        """Whether common prefixes are computed once."""
        self.notice = None if found is None else f"prompts are generated without shared prefixes: {found}."
        """What the user should hear; None: nothing."""
        self._stepper = Stepper(reader, eos)
        self._shared = SharedGenerator(model)
        self._plain = PlainGenerator(model)

    def run(self, rows: Sequence[Row]) -> None:
        """Complete the rows of a shard with all their turns; what happens depends on the rows alone."""
        way = self._shared if self.shares else self._plain
        way.run(rows, self._stepper, batch_tokens=self.batch_tokens)
