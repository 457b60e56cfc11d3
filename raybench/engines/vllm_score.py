"""Log-probabilities of continuations from vLLM, each context computed once: its cached blocks serve all continuations.

For a context c and a continuation t1 .. tn, at temperature 0 and with one new token:

    request 1   c                 the log-probability of every continuation's t1 (`logprob_token_ids`), and the most probable token
    request 2   c t1 .. t(n-1)    where n > 1: t2 .. t(n-1) as prompt tokens (`prompt_logprobs`), tn as a named next token

so the output layer never runs over a context, and continuations of one token cost nothing of their own. vLLM returns uninitialised numbers for
prompt tokens that it took from its cache (0.32, v1/worker/gpu_model_runner.py, _get_prompt_logprobs_dict); by the scheme these are none that
count, unless a longer beginning is in the cache from elsewhere: such a request is asked once more without reading the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from raybench.engines.fit import PromptError
from raybench.engines.items import Item, Score
from raybench.engines.vllm_feed import Question, refused
from raybench.engines.vllm_options import CPU_BLOCK_TOKENS, MAX_LABELS

Ask = Callable[[Sequence[Question]], list[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tail:
    """A continuation of more than one token, or one that is asked with its context in one request."""

    item: int
    continuation: int
    first: int
    """Index in context + continuation of the first token that this request scores."""
    tokens: list[int]
    """Context + continuation."""


def score(items: Sequence[Item], ask: Ask) -> list[list[Score] | PromptError]:
    """Scores of all continuations of each item, or the reason by which vLLM refused one of its requests."""
    questions: list[Question] = []
    heads: dict[tuple[int, int], tuple[int, int]] = {}  # (item, its first token) -> (question, that token)
    tails: list[tuple[int, _Tail]] = []
    for i, item in enumerate(items):
        alone = len(item.continuations) == 1 and len(item.context) <= CPU_BLOCK_TOKENS  # nothing to share
        if not alone:
            firsts = sorted({c[0] for c in item.continuations})
            for start in range(0, len(firsts), MAX_LABELS):
                ids = firsts[start : start + MAX_LABELS]
                heads |= {(i, t): (len(questions), t) for t in ids}
                questions.append(Question(tokens=list(item.context), params=_params(named=ids)))
        for j, continuation in enumerate(item.continuations):
            if len(continuation) > 1 or alone:
                tail = _Tail(item=i, continuation=j, first=len(item.context) + (not alone), tokens=[*item.context, *continuation])
                tails.append((len(questions), tail))
                questions.append(_question(tail, reads_cache=not alone))
    answers = ask(questions)
    again = [(at, tail) for at, tail in tails if _reaches_into_cache(answers[at], tail)]
    for (at, _), answer in zip(again, ask([_question(tail, reads_cache=False) for _, tail in again]), strict=True):
        answers[at] = answer
    at_tail = {(tail.item, tail.continuation): (answers[at], tail) for at, tail in tails}
    return [_of_item(i, item, answers, heads, at_tail) for i, item in enumerate(items)]


def score_stepwise(items: Sequence[Item], ask: Ask) -> list[list[Score] | PromptError]:
    """The same, each token as a named next token of all before it: under an adapter vLLM's prompt log-probabilities end its worker (0.32)."""
    following: dict[tuple[int, ...], list[int]] = {}
    for item in items:
        for continuation in item.continuations:
            for k, token in enumerate(continuation):
                tokens = following.setdefault((*item.context, *continuation[:k]), [])
                if token not in tokens:
                    tokens.append(token)
    steps = [Item(context=list(context), continuations=[[t] for t in tokens]) for context, tokens in following.items()]
    found: dict[tuple[int, ...], Score | PromptError] = {}
    for step, scores in zip(steps, score(steps, ask), strict=True):
        for n, (token,) in enumerate(step.continuations):
            found[(*step.context, token)] = scores if isinstance(scores, PromptError) else scores[n]
    return [_joined(item, found) for item in items]


def _joined(item: Item, found: dict[tuple[int, ...], Score | PromptError]) -> list[Score] | PromptError:
    whole = []
    for continuation in item.continuations:
        steps: list[Score] = []
        for k in range(len(continuation)):
            one = found[(*item.context, *continuation[: k + 1])]
            if isinstance(one, PromptError):
                return one
            steps.append(one)
        whole.append(Score(logprobs=tuple(x for s in steps for x in s.logprobs), is_greedy=all(s.is_greedy for s in steps)))
    return whole


def _of_item(
    i: int, item: Item, answers: list[Any], heads: dict[tuple[int, int], tuple[int, int]], tails: dict[tuple[int, int], tuple[Any, _Tail]]
) -> list[Score] | PromptError:
    found = []
    for j, continuation in enumerate(item.continuations):
        logprobs: list[float] = []
        is_greedy = True
        if (i, continuation[0]) in heads:
            at, token = heads[i, continuation[0]]
            head: Any | ValueError = answers[at]
            if isinstance(head, ValueError):
                return refused(head)
            logprob, is_best = _next(head, token)
            logprobs.append(logprob)
            is_greedy = is_best
        if (i, j) in tails:
            answer, tail = tails[i, j]
            if isinstance(answer, ValueError):
                return refused(answer)
            for position in range(tail.first, len(tail.tokens) - 1):
                given = answer.prompt_logprobs[position][tail.tokens[position]]
                logprobs.append(given.logprob)
                is_greedy = is_greedy and given.rank == 1
            logprob, is_best = _next(answer, tail.tokens[-1])
            logprobs.append(logprob)
            is_greedy = is_greedy and is_best
        found.append(Score(logprobs=tuple(logprobs), is_greedy=is_greedy))
    return found


def _next(answer: Any, token: int) -> tuple[float, bool]:
    """Log-probability of `token` behind a prompt, and whether it is the most probable one."""
    output = answer.outputs[0]
    return output.logprobs[0][token].logprob, output.token_ids[0] == token


def _question(tail: _Tail, *, reads_cache: bool) -> Question:
    num_inside = len(tail.tokens) - 1 - tail.first
    return Question(tokens=tail.tokens[:-1], params=_params(named=tail.tokens[-1:], scores_prompt=num_inside > 0, reads_cache=reads_cache))


def _reaches_into_cache(answer: Any, tail: _Tail) -> bool:
    """Whether a token to be scored was predicted by a cached position: its number is none."""
    if isinstance(answer, ValueError) or answer.prompt_logprobs is None:
        return False
    return (answer.num_cached_tokens or 0) > tail.first - 1


def _params(*, named: list[int], scores_prompt: bool = False, reads_cache: bool = True) -> Any:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        temperature=0.0,
        max_tokens=1,
        ignore_eos=True,
        detokenize=False,
        logprob_token_ids=named,
        prompt_logprobs=0 if scores_prompt else None,
        flat_logprobs=True,
        skip_reading_prefix_cache=not reads_cache,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )
