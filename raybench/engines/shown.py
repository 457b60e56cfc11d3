"""What an engine would put before its model: the exact text and tokens of requests, made with the tokenizer alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raybench.core.protocols import EngineSpec
from raybench.core.types import MASK, Kind, Request
from raybench.engines.fit import PromptError
from raybench.engines.prompting import Prompter
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
    if spec.kind not in ("pytorch", "vllm"):
        return [_plain(r) for r in requests]
    # a plain module's tokenizer is always named
    folder = folder_of(spec.checkpoint) if spec.checkpoint.module is None else Path(spec.checkpoint.path or ".").parent
    tokenizer = load_tokenizer(tokenizer_folder_of(spec.checkpoint, folder), spec.checkpoint)
    if all(r.kind in _HEADS for r in requests):
        return [_read(tokenizer, r) for r in requests]
    prompter = Prompter(tokenizer, spec.checkpoint)
    return [_encoded(prompter, r) for r in requests]


_HEADS = frozenset({Kind.CLASSIFY, Kind.TAG, Kind.SPAN, Kind.FILL, Kind.EMBED})


def _read(tokenizer: Any, request: Request) -> Shown:
    """What a head reads, uncut: one text, two behind each other, or words."""
    if request.kind is Kind.TAG:
        words = list(request.words or ())
        return Shown(text=" ".join(words), tokens=tuple(tokenizer(words, is_split_into_words=True)["input_ids"]))
    text = request.context if request.continuations == () else request.context.replace(MASK, tokenizer.mask_token or MASK)
    shown = text if request.pair is None else f"{text}\n{request.pair}"
    return Shown(text=shown, tokens=tuple(tokenizer(text, request.pair)["input_ids"]), continuations=request.continuations)


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
