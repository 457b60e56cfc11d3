"""Prompts made to fit into a context: what happens to one that is too long, by the policy of the run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Literal, TypeVar

from raybench.core.types import ErrorCode, Request

T = TypeVar("T")

Overlong = Literal["error", "truncate_left", "truncate_right", "fewer_shots"]


class PromptError(Exception):
    """A request that cannot be put to the model: becomes an error row."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted(Generic[T]):
    """An encoded request that fits, or is to be cut on the left by the caller."""

    encoded: T
    num_dropped: int
    """Tokens that went with dropped examples."""


def fit(
    request: Request, overlong: Overlong, *, encode: Callable[[Request], T], excess: Callable[[T], int], length: Callable[[T], int]
) -> Fitted[T]:
    """Encode a request so that it fits, by the policy of the run.

    Args:
        request: What is asked.
        overlong: error; truncate_left: the caller cuts; fewer_shots: examples are dropped from the front until it fits.
        encode: Makes tokens of a request.
        excess: Tokens by which an encoded request is too long; 0 or less: it fits.
        length: Prompt tokens of an encoded request.

    Raises:
        PromptError: OVERLONG.
    """
    encoded = encode(request)
    full = length(encoded)
    over = excess(encoded)
    if over <= 0 or overlong == "truncate_left":
        return Fitted(encoded=encoded, num_dropped=0)
    if overlong == "fewer_shots":
        for dropped in range(1, len(request.shots) + 1):
            shorter = encode(replace(request, shots=request.shots[dropped:]))
            if excess(shorter) <= 0:
                return Fitted(encoded=shorter, num_dropped=full - length(shorter))
    advice = (
        "Raise engine.max_length if the model allows it, or set engine.overlong to truncate_left or fewer_shots."
        if overlong == "error"
        else "It does not fit without examples either."
    )
    raise PromptError(ErrorCode.OVERLONG, f"a prompt of {full} tokens is {over} too long. {advice}")


def fit_prompt(request: Request, overlong: Overlong, *, room: int, encode: Callable[[Request], list[int]]) -> tuple[list[int], int]:
    """At most `room` tokens of a prompt, and how many tokens were cut or went with dropped examples.

    Raises:
        PromptError: OVERLONG.
    """
    fitted = fit(request, overlong, encode=encode, excess=lambda tokens: len(tokens) - room, length=len)
    kept = cut_left(fitted.encoded, room)
    return kept, fitted.num_dropped + len(fitted.encoded) - len(kept)


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedPairs:
    """A context and its continuations, all of which fit behind as much of it as they leave room for."""

    continuations: list[list[int]]
    contexts: list[list[int]]
    """Of each continuation."""
    num_truncated: int
    """Tokens that were cut from the longest cut context, or went with dropped examples."""


def fit_pairs(
    request: Request,
    overlong: Overlong,
    *,
    encode: Callable[[Request], tuple[list[int], list[list[int]]]],
    max_length: int,
    is_apart: bool = False,
) -> FittedPairs:
    """Contexts and continuations of a likelihood request (lm_eval models/huggingface.py, _loglikelihood_tokens).

    Args:
        request: What is asked.
        overlong: See `fit`.
        encode: Gives tokens of the context and of each continuation.
        max_length: Tokens that the model reads at once. The last token of a continuation is only predicted, never read.
        is_apart: Whether continuations have a context of their own: an encoder reads the one, a decoder the other.

    Raises:
        PromptError: OVERLONG.
    """

    def room(continuation: Sequence[int]) -> int:
        return max_length if is_apart else max_length + 1 - len(continuation)

    fitted = fit(
        request, overlong, encode=encode, excess=lambda pair: len(pair[0]) - min(map(room, pair[1])), length=lambda pair: len(pair[0])
    )  # fmt: skip
    context, continuations = fitted.encoded
    longest = max(map(len, continuations))
    if longest > max_length:
        raise PromptError(ErrorCode.OVERLONG, f"a continuation of {longest} tokens does not fit into a context of {max_length}.")
    contexts = [cut_left(context, room(c)) for c in continuations]
    num_truncated = fitted.num_dropped + len(context) - min(map(len, contexts))
    return FittedPairs(continuations=continuations, contexts=contexts, num_truncated=num_truncated)


def cut_left(tokens: Sequence[int], num_kept: int) -> list[int]:
    """The last `num_kept` tokens, at least one."""
    return list(tokens[-max(num_kept, 1) :])
