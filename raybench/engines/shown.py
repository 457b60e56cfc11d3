"""What an engine would put before its model: the exact text and tokens of requests, made with the tokenizer alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from raybench.core.protocols import EngineSpec
from raybench.core.types import Kind, Request
from raybench.engines.prompting import Prompter, PromptError
from raybench.engines.pytorch_load import folder_of, load_tokenizer, tokenizer_folder_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One request as the model gets it."""

    text: str
    """The prompt, after the chat template."""
    tokens: tuple[int, ...] | None
    """Its tokens; None for an engine without a tokenizer."""
    continuations: tuple[str, ...] = ()
    """Options with the delimiter that stands before them."""
    continuation_tokens: tuple[tuple[int, ...], ...] = ()
    """Their tokens; empty for an engine without a tokenizer."""
    error: str | None = None
    """Why the request cannot be asked."""


def show(spec: EngineSpec, requests: Sequence[Request]) -> list[Shown]:
    """Render requests as the engine of `spec` would.

    Raises:
        CheckpointError: when there is no tokenizer.
    """
    if spec.kind != "pytorch":
        return [_plain(r) for r in requests]
    folder = folder_of(spec.checkpoint)
    tokenizer = load_tokenizer(tokenizer_folder_of(spec.checkpoint, folder), spec.checkpoint)
    prompter = Prompter(tokenizer, spec.checkpoint)
    return [_encoded(prompter, r) for r in requests]


def _plain(request: Request) -> Shown:
    options = tuple(f"{request.delimiter}{c}" for c in request.continuations)
    return Shown(text=request.context, tokens=None, continuations=options)


def _encoded(prompter: Prompter, request: Request) -> Shown:
    try:
        if request.kind is Kind.ROLLING:
            return Shown(text=request.prompt, tokens=tuple(prompter.rolling(request)))
        if request.kind is Kind.GENERATE:
            return Shown(text=prompter.text(request), tokens=tuple(prompter.prompt(request)))
        tokens, continuations = prompter.pairs(request)
        delimiter = prompter.delimiter(request)
        return Shown(
            text=prompter.text(request),
            tokens=tuple(tokens),
            continuations=tuple(f"{delimiter}{c}" for c in request.continuations),
            continuation_tokens=tuple(tuple(c) for c in continuations),
        )
    except PromptError as error:
        return Shown(text=request.context, tokens=None, error=f"{error.code}: {error.message}")
