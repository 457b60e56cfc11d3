"""Accuracies of a choice between options by their likelihood, or between labels by a head.

Definitions are those of lm-evaluation-harness (0.4.13, lm_eval/api/task.py). The answer is the first option with the highest score. The scores of an option with summed log-probability L are

    acc              L; the logit of a head
    acc_norm         L / characters of its text, without the delimiter
    acc_bytes        L / UTF-8 bytes of its text, without the delimiter
    acc_mutual_info  L - (log-probability without the question)

`mc2` is the probability of the right options among all of them: sum of exp(L) over the options that are targets / sum over all.

Characters and bytes give different answers where scripts take several bytes a character (Chinese): say which one is reported.
A sample without a label, or with one that is no index of its options, counts as wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

from raybench.core.errors import ConfigError, DataError, InternalError
from raybench.core.outputs import Classification, Likelihoods
from raybench.core.protocols import Scored
from raybench.core.types import OPTION, Sample
from raybench.metrics.likelihood import likelihoods
from raybench.metrics.mean import Mean

UNCONDITIONAL = "uncond"
"""Name of the request that scores the options without the question."""


def asked(scored: Scored) -> list[Likelihoods]:
    """The likelihoods of the options, one entry a repeat; options that were asked one by one (`option-0`, ...) are put together."""
    predictions = scored.predictions
    if not predictions[0].request.startswith(OPTION):
        return [likelihoods(p) for p in predictions if not p.request]
    by_repeat: dict[int, list[Likelihoods]] = {}
    for p in predictions:
        if p.request.startswith(OPTION):
            by_repeat.setdefault(p.repeat, []).append(likelihoods(p))
    return [
        Likelihoods(
            logprobs=tuple(o.logprobs[0] for o in options),
            is_greedy=tuple(o.is_greedy[0] for o in options),
            num_tokens=tuple(o.num_tokens[0] for o in options),
        )
        for options in by_repeat.values()
    ]


def head_scores(scored: Scored) -> list[tuple[float, ...]]:
    """A head's scores of the labels, one entry a repeat; of options that were read one by one (`option-0`, ...), of the options.

    The score of an option is the value of a head with one, and the log-odds of the second label of a head with two.
    """
    heads = [(p.repeat, p.output.logits) for p in scored.predictions if isinstance(p.output, Classification)]
    if not scored.predictions[0].request.startswith(OPTION):
        return [logits for _, logits in heads]
    by_repeat: dict[int, list[float]] = {}
    for repeat, logits in heads:
        by_repeat.setdefault(repeat, []).append(logits[1] - logits[0] if len(logits) == 2 else logits[0])
    return list(map(tuple, by_repeat.values()))


def _summed(output: Likelihoods, sample: Sample) -> Sequence[float]:
    return output.logprobs


def _per_character(output: Likelihoods, sample: Sample) -> Sequence[float]:
    _check_options(output, sample)
    return [logprob / len(c) if c else -math.inf for logprob, c in zip(output.logprobs, sample.choices, strict=True)]


def _per_byte(output: Likelihoods, sample: Sample) -> Sequence[float]:
    _check_options(output, sample)
    return [logprob / len(c.encode("utf-8")) if c else -math.inf for logprob, c in zip(output.logprobs, sample.choices, strict=True)]


def _check_options(output: Likelihoods, sample: Sample) -> None:
    if len(output.logprobs) != len(sample.choices):
        raise ConfigError(
            f"sample '{sample.id}': {len(output.logprobs)} continuations were scored, but the sample has {len(sample.choices)} choices; "
            "acc_norm, acc_bytes and mc2 look at the text of each choice. Give the sample the choices it is asked with."
        )


def _is_right(scores: Sequence[float], sample: Sample) -> bool:
    if not scores:
        raise InternalError(f"sample '{sample.id}': a choice between no options was scored.")
    if len(scores) == 1 and not sample.choices:
        raise ConfigError(f"sample '{sample.id}': the answer is one number, a regression. Use pearson or spearman, not acc.")
    return scores.index(max(scores)) == sample.label


def _share_right(scored: Scored, scores_of: Callable[[Likelihoods, Sample], Sequence[float]]) -> float:
    sample, predictions = scored.sample, scored.predictions
    if isinstance(predictions[0].output, Classification):
        answers = [_is_right(scores, sample) for scores in head_scores(scored)]
        return sum(answers) / len(answers)
    if len(predictions) == 1:  # nearly always: one request, asked once
        return float(_is_right(scores_of(likelihoods(predictions[0]), sample), sample))
    if scores_of is not _summed and predictions[0].request.startswith(OPTION):
        raise ConfigError(
            f"sample '{sample.id}': its options differ in the question and share what follows it, so acc_norm and acc_bytes have no option "
            "to divide by. Use acc."
        )
    answers = [_is_right(scores_of(output, sample), sample) for output in asked(scored)]
    return sum(answers) / len(answers)


def _mass_right(scored: Scored) -> float:
    sample = scored.sample
    right = [choice in sample.targets for choice in sample.choices]
    if not any(right) or all(right):
        raise DataError(
            f"sample '{sample.id}': mc2 needs right and wrong options, found {sum(right)} right of {len(right)}. The targets must name the right options by their text."
        )
    masses = []
    for output in asked(scored):
        _check_options(output, sample)
        largest = max(output.logprobs)
        if largest == -math.inf:
            masses.append(0.0)  # no option is possible: none of them right
            continue
        weights = [math.exp(logprob - largest) for logprob in output.logprobs]
        masses.append(math.fsum(w for w, is_right in zip(weights, right, strict=True) if is_right) / math.fsum(weights))
    return sum(masses) / len(masses)


def _share_right_by_information(scored: Scored) -> float:
    sample = scored.sample
    given = {p.repeat: likelihoods(p).logprobs for p in scored.predictions if not p.request}
    alone = {p.repeat: likelihoods(p).logprobs for p in scored.predictions if p.request == UNCONDITIONAL}
    if not given or given.keys() != alone.keys():
        raise ConfigError(
            f"sample '{sample.id}': acc_mutual_info needs each option scored with and without the question, found {len(given)} and "
            f"{len(alone)} rows. Use a form whose has_unconditional is true, or another metric."
        )
    answers = []
    for repeat, logprobs in given.items():
        # an option that is impossible with the question stays so: -inf minus -inf has no value
        gains = [with_it - without if with_it > -math.inf else with_it for with_it, without in zip(logprobs, alone[repeat], strict=True)]
        answers.append(_is_right(gains, sample))
    return sum(answers) / len(answers)


ACC = Mean(name="acc", score_of=partial(_share_right, scores_of=_summed), stats=("right",))
ACC_NORM = Mean(name="acc_norm", score_of=partial(_share_right, scores_of=_per_character), stats=("right",), signature="norm:characters")
ACC_BYTES = Mean(name="acc_bytes", score_of=partial(_share_right, scores_of=_per_byte), stats=("right",), signature="norm:bytes")
ACC_MUTUAL_INFO = Mean(name="acc_mutual_info", score_of=_share_right_by_information, stats=("right",), signature="norm:unconditional")
MC2 = Mean(name="mc2", score_of=_mass_right, stats=("mass",))
