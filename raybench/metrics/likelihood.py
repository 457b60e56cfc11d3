"""Perplexities: what a text or a single continuation costs the model.

The names are those of lm-evaluation-harness (0.4.13, lm_eval/api/metrics.py), so that numbers can be compared:

    perplexity        exp(-sum logprob / samples)      one continuation a sample (LAMBADA: the last word)
    token_perplexity  exp(-sum logprob / sum tokens)   depends on the tokenizer: not comparable between models
    pseudo_perplexity exp(-sum pseudo logprob / sum tokens)   of a masked model (Salazar et al. 2020, equation 3)
    mlm_loss, denoising_loss   -sum logprob / sum tokens, in nats: of tokens masked at once, of what an encoder-decoder restores
    word_perplexity   exp(-sum logprob / sum words)    words of the original text, before any detokenising
    byte_perplexity   exp(-sum logprob / sum bytes)    UTF-8 bytes of the original text
    bits_per_byte     -sum logprob / sum bytes / ln 2
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from raybench.core.errors import ConfigError, InternalError
from raybench.core.outputs import Likelihoods, TextLikelihood
from raybench.core.protocols import Scored, Wrong
from raybench.core.types import Prediction, Sample
from raybench.metrics.mean import Mean
from raybench.metrics.ratio import Ratio

_SPACES = re.compile(r"\s+")


@dataclass(slots=True, kw_only=True)
class Perplexity:
    """exp of minus the log-probability per unit; the units are summed before the division, never averaged per sample."""

    name: str
    stats: tuple[str, ...]
    """The log-probability in nats and, unless the unit is the sample, the number of units."""
    stats_of: Callable[[Scored], tuple[float, ...]]
    signature: str
    in_bits: bool = False
    """Whether the value is the exponent itself, in base 2."""
    is_mean: bool = False
    higher_is_better: bool = False
    wrong: Wrong = None

    def score(self, scored: Scored) -> tuple[float, ...]:
        return self.stats_of(scored)

    def value(self, sums: Any, n: Any) -> Any:
        sums = np.asarray(sums)
        units = sums[..., 1] if len(self.stats) == 2 else np.asarray(n, np.float64)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            nats = -sums[..., 0] / units
            return nats / math.log(2) if self.in_bits else np.exp(nats)


def likelihoods(prediction: Prediction) -> Likelihoods:
    """The likelihoods a prediction holds.

    Raises:
        InternalError: when it holds something else; the plan refuses metrics that do not fit the request kind.
    """
    output = prediction.output
    if not isinstance(output, Likelihoods):
        raise InternalError(f"sample '{prediction.sample_id}': the metric needs likelihoods, found {type(output).__name__}.")
    return output


def _single(output: Likelihoods, sample: Sample) -> Likelihoods:
    if len(output.logprobs) != 1:
        raise ConfigError(
            f"sample '{sample.id}': perplexity, token_perplexity, denoising_loss and greedy_acc need one continuation a sample, "
            f"found {len(output.logprobs)}. Use acc or acc_norm for a choice between several."
        )
    return output


def _questions(scored: Scored) -> list[Prediction]:
    """The rows of the question itself, one a repeat."""
    rows = [p for p in scored.predictions if not p.request]
    if not rows:
        raise ConfigError(
            f"sample '{scored.sample.id}': its options were asked one by one, and perplexity, token_perplexity and greedy_acc need one "
            "question. Use acc."
        )
    return rows


def _singles(scored: Scored) -> list[Likelihoods]:
    return [_single(likelihoods(p), scored.sample) for p in _questions(scored)]


def _continuation(scored: Scored) -> tuple[float, ...]:
    rows = _singles(scored)
    return (sum([row.logprobs[0] for row in rows]) / len(rows),)


def _is_greedy(scored: Scored) -> float:
    rows = _singles(scored)
    return sum([row.is_greedy[0] for row in rows]) / len(rows)


def _tokens(scored: Scored) -> tuple[float, float]:
    logprob = num_tokens = 0.0
    rows = _questions(scored)
    for row in rows:
        output = row.output
        if isinstance(output, TextLikelihood):
            logprob += output.logprob
            num_tokens += output.num_tokens
        else:
            likelihood = _single(likelihoods(row), scored.sample)
            logprob += likelihood.logprobs[0]
            num_tokens += likelihood.num_tokens[0]
    return logprob / len(rows), num_tokens / len(rows)


def _nats(scored: Scored) -> tuple[float, float]:
    logprob, num_tokens = _tokens(scored)
    return -logprob, num_tokens


def _text(scored: Scored) -> tuple[float, str]:
    """Mean log-probability over repeats, and the text whose words and bytes count."""
    if not scored.sample.targets:
        raise ConfigError(
            f"sample '{scored.sample.id}': word_perplexity, byte_perplexity and bits_per_byte count the words and bytes of the "
            "original text, and there is none: the task must give it as its target."
        )
    logprobs = []
    for prediction in scored.predictions:
        output = prediction.output
        if not isinstance(output, TextLikelihood):
            raise InternalError(
                f"sample '{prediction.sample_id}': the metric needs the likelihood of a text, found {type(output).__name__}."
            )
        logprobs.append(output.logprob)
    return sum(logprobs) / len(logprobs), scored.sample.targets[0]


def _words(scored: Scored) -> tuple[float, ...]:
    logprob, text = _text(scored)
    # pieces of a split, empty ones included, as lm-evaluation-harness counts (tasks/wikitext/preprocess_wikitext.py, process_results)
    return logprob, float(len(_SPACES.split(text)))


def _bytes(scored: Scored) -> tuple[float, ...]:
    logprob, text = _text(scored)
    return logprob, float(len(text.encode("utf-8")))


PERPLEXITY = Perplexity(name="perplexity", stats=("logprob",), stats_of=_continuation, signature="per:sample")
TOKEN_PERPLEXITY = Perplexity(name="token_perplexity", stats=("logprob", "tokens"), stats_of=_tokens, signature="per:token")
PSEUDO_PERPLEXITY = Perplexity(name="pseudo_perplexity", stats=("logprob", "tokens"), stats_of=_tokens, signature="per:token")
WORD_PERPLEXITY = Perplexity(name="word_perplexity", stats=("logprob", "words"), stats_of=_words, signature="per:word")
BYTE_PERPLEXITY = Perplexity(name="byte_perplexity", stats=("logprob", "bytes"), stats_of=_bytes, signature="per:byte")
BITS_PER_BYTE = Perplexity(name="bits_per_byte", stats=("logprob", "bytes"), stats_of=_bytes, in_bits=True, signature="per:byte")
MLM_LOSS = Ratio(name="mlm_loss", parts_of=_nats, stats=("nats", "tokens"), higher_is_better=False, signature="per:token")
DENOISING_LOSS = Ratio(name="denoising_loss", parts_of=_nats, stats=("nats", "tokens"), higher_is_better=False, signature="per:token")
GREEDY_ACC = Mean(name="greedy_acc", score_of=_is_greedy, stats=("greedy",))
