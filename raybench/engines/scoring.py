"""Likelihood requests as items to be scored, and their scores as rows: one way for all engines, whatever scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

from raybench.core.outputs import Likelihoods, TextLikelihood
from raybench.core.types import Prediction, Request
from raybench.engines.fit import FittedPairs, PromptError
from raybench.engines.items import Item, Score, ScoreItems
from raybench.engines.predictions import failed, nonfinite, scored
from raybench.engines.prompting import Prompter
from raybench.engines.rolling import windows

T = TypeVar("T")


def answer_choices(requests: Sequence[Request], fit: Callable[[Request], FittedPairs], score: ScoreItems) -> list[Prediction]:
    """Answer `loglikelihood` requests.

    Args:
        requests: Of one shard.
        fit: Gives tokens, or raises a PromptError.
        score: Called once.
    """
    fitted = [_tried(fit, request) for request in requests]
    items: list[Item] = []
    places: list[list[tuple[int, int]]] = []  # of each continuation: its item, and its number in that item
    for pairs in fitted:
        places.append([])
        if isinstance(pairs, PromptError):
            continue
        numbers: dict[int, int] = {}
        groups: dict[int, list[list[int]]] = {}
        for context, continuation in zip(pairs.contexts, pairs.continuations, strict=True):
            # one item, unless the context is cut: cut contexts differ in length
            if len(context) not in numbers:
                numbers[len(context)] = len(items)
                groups[len(context)] = []
                items.append(Item(context=context, continuations=groups[len(context)]))
            places[-1].append((numbers[len(context)], len(groups[len(context)])))
            groups[len(context)].append(continuation)
    scores = score(items)
    return [
        failed(request, pairs) if isinstance(pairs, PromptError) else _choice(request, pairs, _picked(scores, mine))
        for request, pairs, mine in zip(requests, fitted, places, strict=True)
    ]


def _choice(request: Request, pairs: FittedPairs, scores: list[Score] | PromptError) -> Prediction:
    if isinstance(scores, PromptError):
        return failed(request, scores)
    logprobs = tuple(s.logprob for s in scores)
    if not all(map(math.isfinite, logprobs)):
        return nonfinite(request)
    output = Likelihoods(
        logprobs=logprobs,
        is_greedy=tuple(s.is_greedy for s in scores),
        num_tokens=tuple(map(len, pairs.continuations)),
        token_logprobs=tuple(s.logprobs for s in scores) if request.keep_tokens else None,
    )
    return scored(request, output, num_prompt_tokens=max(map(len, pairs.contexts)), num_truncated=pairs.num_truncated)


def answer_texts(requests: Sequence[Request], prompter: Prompter, max_length: int, score: ScoreItems) -> list[Prediction]:
    """Answer `rolling` requests, window by window.

    Args:
        requests: Of one shard.
        prompter: Encodes texts.
        max_length: Context in tokens.
        score: Called once; every window has a context of its own.
    """
    texts = [_tried(prompter.rolling, request) for request in requests]
    items: list[Item] = []
    places: list[list[tuple[int, int]]] = []
    for tokens in texts:
        start = len(items)
        if not isinstance(tokens, PromptError):
            pairs = windows(tokens, prefix=prompter.prefix_id, max_length=max_length)
            items += [Item(context=context, continuations=[tail]) for context, tail in pairs]
        places.append([(n, 0) for n in range(start, len(items))])
    scores = score(items)
    return [
        failed(request, tokens) if isinstance(tokens, PromptError) else _text(request, len(tokens), _picked(scores, mine))
        for request, tokens, mine in zip(requests, texts, places, strict=True)
    ]


def _text(request: Request, num_tokens: int, scores: list[Score] | PromptError) -> Prediction:
    if isinstance(scores, PromptError):
        return failed(request, scores)
    whole = Score(logprobs=tuple(x for s in scores for x in s.logprobs), is_greedy=all(s.is_greedy for s in scores))
    if not math.isfinite(whole.logprob):
        return nonfinite(request)
    kept = whole.logprobs if request.keep_tokens else None
    output = TextLikelihood(logprob=whole.logprob, num_tokens=num_tokens, token_logprobs=kept)
    return scored(request, output, num_prompt_tokens=num_tokens)


def _tried(function: Callable[[Request], T], request: Request) -> T | PromptError:
    try:
        return function(request)
    except PromptError as error:
        return error


def _picked(scores: Sequence[list[Score] | PromptError], places: Sequence[tuple[int, int]]) -> list[Score] | PromptError:
    """The scores at (item, number) places, or the first refusal among them."""
    picked: list[Score] = []
    for item, number in places:
        of_item = scores[item]
        if isinstance(of_item, PromptError):
            return of_item
        picked.append(of_item[number])
    return picked
