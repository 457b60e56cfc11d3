"""Two answers to the same requests of one sample: how far their numbers lie apart, and what each of them decides. Pure."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

from raybench.core.outputs import Classification, Embedding, Generation, Likelihoods, Output, Spans, Tags, TextLikelihood
from raybench.core.types import Prediction

_UNCONDITIONAL = "uncond"
"""Asks for an option without its question: a part of a score, no decision."""


def distances(first: Sequence[Prediction], second: Sequence[Prediction]) -> list[float]:
    """Absolute differences of all numbers of a sample's answers; see `Recheck.drift_max`.

    Args:
        first: One a request, none of them an error.
        second: To the same requests.
    """
    return [d for a, b in zip(first, second, strict=True) for d in _distances(a.output, b.output)]


def _distances(first: Output | None, second: Output | None) -> list[float]:
    match first, second:
        case Likelihoods() as a, Likelihoods() as b:
            return [abs(x - y) for x, y in zip(a.logprobs, b.logprobs, strict=True)]
        case TextLikelihood() as c, TextLikelihood() as d:
            return [abs(c.logprob - d.logprob) / c.num_tokens]
        case Generation() as e, Generation() as f:
            if e.text != f.text or e.token_logprobs is None or f.token_logprobs is None or len(e.token_logprobs) != len(f.token_logprobs):
                return []  # after the first other token nothing can be compared
            return [abs(x - y) for x, y in zip(e.token_logprobs, f.token_logprobs, strict=True)]
        case Classification() as g, Classification() as h:
            return [abs(x - y) for x, y in zip(g.logits, h.logits, strict=True)]
        case Embedding() as i, Embedding() as j:
            return [math.dist(i.vector, j.vector)]
        case _:
            return []


def decision(predictions: Sequence[Prediction], extracted: Sequence[str | None]) -> Hashable:
    """What the answers to a sample decide; None where the kind decides nothing.

    The most likely option, over all requests of the sample; with a single option whether it is greedy; the answers found in generated
    texts; the label, the tags, the span.

    Args:
        predictions: One a request, none of them an error.
        extracted: Of generations, what the filters found.
    """
    outputs = [p.output for p in predictions if p.request != _UNCONDITIONAL]
    match outputs[0]:
        case Likelihoods():
            options = [
                (x, is_greedy) for o in outputs if isinstance(o, Likelihoods) for x, is_greedy in zip(o.logprobs, o.is_greedy, strict=True)
            ]
            return max(range(len(options)), key=lambda n: options[n][0]) if len(options) > 1 else options[0][1]
        case Generation():
            return tuple(extracted)
        case Classification() as head:
            return head.label
        case Tags() as tags:
            return tags.labels
        case Spans() as spans:
            return spans.text
        case _:
            return None
