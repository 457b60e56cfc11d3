"""All that a left-to-right model can be asked, given how it completes rows and how it scores items: one way for all engines of decoders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from raybench.core.types import Kind, Prediction, Request
from raybench.engines.answer import AnswerReader
from raybench.engines.conversation import Conversations
from raybench.engines.fit import FittedPairs, Overlong, fit_pairs
from raybench.engines.items import ScoreItems
from raybench.engines.predictions import Answer, answer_by_kind
from raybench.engines.prompting import Prompter
from raybench.engines.rows import Row
from raybench.engines.scoring import answer_choices, answer_texts

DECODER_KINDS = frozenset({Kind.GENERATE, Kind.LOGLIKELIHOOD, Kind.ROLLING})
"""What a decoder is asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoder:
    """A model, and what stands between it and requests."""

    prompter: Prompter
    reader: AnswerReader
    max_length: int
    """Context in tokens."""
    overlong: Overlong
    """What happens to a prompt that does not fit."""
    complete: Callable[[Sequence[Row]], None]
    """Completes rows, with all their turns."""
    score: ScoreItems
    score_windows: ScoreItems | None = None
    """Scores items that share no contexts; None: `score` does."""
    kinds: frozenset[Kind] = DECODER_KINDS
    """What it may be asked."""
    who: str = "a decoder"
    """For the message to a request of another kind."""

    def answer(self, requests: Sequence[Request]) -> list[Prediction]:
        """Predictions of a shard, in order."""
        conversations = Conversations(
            self.complete, self.reader, self.prompter, max_length=self.max_length, overlong=self.overlong
        )  # fmt: skip
        by_window = self.score_windows or self.score
        answers: dict[Kind, Answer] = {
            Kind.GENERATE: conversations.answer,
            Kind.LOGLIKELIHOOD: lambda mine: answer_choices(mine, self._fit, self.score),
            Kind.ROLLING: lambda mine: answer_texts(mine, self.prompter, self.max_length, by_window),
        }
        return answer_by_kind(requests, {kind: answer for kind, answer in answers.items() if kind in self.kinds}, who=self.who)

    def _fit(self, request: Request) -> FittedPairs:
        return fit_pairs(request, self.overlong, encode=self.prompter.pairs, max_length=self.max_length)
