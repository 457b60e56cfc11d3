"""What is scored and what comes back: a context with what may follow it, and what a model gives to each continuation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from raybench.engines.fit import PromptError


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A context and what may follow it."""

    context: Sequence[int]
    """At least one token."""
    continuations: Sequence[Sequence[int]]
    """Each of at least one token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What a model gives to one continuation."""

    logprobs: tuple[float, ...]
    """Of each token, in nats; not finite where the logits are not."""
    is_greedy: bool
    """Whether every token was the most probable one."""

    @property
    def logprob(self) -> float:
        """Sum over the tokens; NaN where one is not finite. Summed in float64, so that it does not depend on an order of adding."""
        return math.fsum(self.logprobs) if all(map(math.isfinite, self.logprobs)) else math.nan


ScoreItems = Callable[[Sequence[Item]], Sequence[list[Score] | PromptError]]
"""Scores of all continuations of each item, or why the engine refused it."""
