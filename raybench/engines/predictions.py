"""Rows of answers: kind by kind, with what all of them say, and the error rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from raybench.core.outputs import Output
from raybench.core.types import ErrorCode, FinishReason, Kind, Prediction, Request
from raybench.engines.fit import PromptError

Answer = Callable[[list[Request]], list[Prediction]]
"""One prediction a request, in order."""


def answer_by_kind(requests: Sequence[Request], answers: Mapping[Kind, Answer], *, who: str) -> list[Prediction]:
    """Predictions of a shard, in order; error rows for kinds that nobody answers.

    Args:
        requests: Of one shard, which mostly has one kind.
        answers: What answers a kind.
        who: What cannot answer the others, for the message.
    """
    found: dict[int, Prediction] = {}
    for kind in dict.fromkeys(r.kind for r in requests):
        at = [i for i, r in enumerate(requests) if r.kind is kind]
        mine = [requests[i] for i in at]
        if kind in answers:
            found |= zip(at, answers[kind](mine), strict=True)
        else:
            refusal = PromptError(ErrorCode.REFUSED, f"{who} cannot answer '{kind}' requests.")
            found |= {i: failed(r, refusal) for i, r in zip(at, mine, strict=True)}
    return [found[i] for i in range(len(requests))]


def scored(request: Request, output: Output, *, num_prompt_tokens: int, num_truncated: int = 0) -> Prediction:
    """The row of an answer that was not generated."""
    return Prediction(
        sample_id=request.sample_id,
        request=request.request,
        repeat=request.repeat,
        finish_reason=FinishReason.SCORED,
        num_prompt_tokens=num_prompt_tokens,
        num_truncated_tokens=num_truncated,
        output=output,
    )


def failed(request: Request, error: PromptError) -> Prediction:
    """The row of a request that could not be asked."""
    return Prediction.failed(request, error.code, error.message)


def nonfinite(request: Request) -> Prediction:
    """The row of a model that gave no numbers."""
    message = "the logits are NaN or infinite: the weights are damaged, or the number format is too narrow for them (engine.dtype)."
    return Prediction.failed(request, ErrorCode.NONFINITE, message)
