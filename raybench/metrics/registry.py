"""The table of metrics: a name to a metric, to one line about it, and to what it can be computed from."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass

from raybench.core.errors import ConfigError
from raybench.core.mistakes import suggest
from raybench.core.protocols import AnyMetric, Metric, TableMetric
from raybench.core.types import Kind
from raybench.metrics import (
    auroc,
    calibration,
    chinese,
    choice,
    confusion,
    contrast,
    correlation,
    grouped,
    likelihood,
    record,
    squad2,
    tagging,
    text,
)
from raybench.metrics.entities import MEASURES, seqeval
from raybench.metrics.passk import pass_at

_PASS_AT = re.compile(r"pass@([1-9][0-9]{0,3})")
_OF_TYPE = re.compile(rf"seqeval_({'|'.join(MEASURES)})@(.{{1,80}})")
_OWN = re.compile(r"[\w.]+:\w+")
_BOTH = ("name", "stats", "is_mean", "higher_is_better", "signature", "wrong", "score")
_MEMBERS, _TABLE_MEMBERS = (*_BOTH, "value"), (*_BOTH, "over", "slopes")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    metric: AnyMetric
    about: str
    kinds: frozenset[Kind]
    requests: tuple[str, ...] = ("",)


def _entry(metric: AnyMetric, about: str, *kinds: Kind, requests: tuple[str, ...] = ("",)) -> tuple[str, _Entry]:
    return metric.name, _Entry(metric=metric, about=about, kinds=frozenset(kinds), requests=requests)


_CLASSES = (Kind.CLASSIFY, Kind.LOGLIKELIHOOD, Kind.FILL)
_READ = (Kind.GENERATE, Kind.SPAN)

_BUILT_IN: dict[str, _Entry] = dict(
    [
        _entry(choice.ACC, "share of samples whose most likely option is the right one", *_CLASSES),
        _entry(choice.ACC_NORM, "the same with log-probabilities per character of the option", Kind.LOGLIKELIHOOD),
        _entry(choice.ACC_BYTES, "the same with log-probabilities per UTF-8 byte of the option", Kind.LOGLIKELIHOOD),
        _entry(
            choice.ACC_MUTUAL_INFO,
            "the same with log-probabilities minus those without the question",
            Kind.LOGLIKELIHOOD,
            requests=("", choice.UNCONDITIONAL),
        ),
        _entry(choice.MC2, "probability of the right options among all of them (TruthfulQA mc2)", Kind.LOGLIKELIHOOD),
        *[
            _entry(metric, f"{about} ({average})", *_CLASSES)
            for family, about in (
                (confusion.PRECISION, "share of the answers with a class that are right"),
                (confusion.RECALL, "share of the samples of a class that are answered so"),
                (confusion.F1, "harmonic mean of precision and recall"),
            )
            for metric, average in zip(family, confusion.AVERAGES, strict=True)
        ],
        _entry(confusion.MATTHEWS, "Matthews correlation of right and answered classes, -1 to 1", *_CLASSES),
        _entry(calibration.ECE, "distance between confidence and accuracy, over 15 bins of confidence", *_CLASSES),
        _entry(calibration.BRIER, "squared error of the probabilities of the classes", *_CLASSES),
        _entry(auroc.AUROC, "chance that a sample of class 1 of two gets more of it than one of class 0", *_CLASSES),
        _entry(auroc.AUROC_OVR, "the same of each class against all others, mean over classes", *_CLASSES),
        _entry(correlation.PEARSON, "correlation of answered with right numbers", Kind.CLASSIFY, Kind.LOGLIKELIHOOD),
        _entry(correlation.SPEARMAN, "correlation of their ranks", Kind.CLASSIFY, Kind.LOGLIKELIHOOD),
        _entry(grouped.MULTIRC_EM, "share of questions whose answers are all judged rightly (MultiRC)", *_CLASSES),
        _entry(grouped.GENDER_PARITY, "share of pairs that differ in a pronoun's gender and are answered alike (AX-g)", *_CLASSES),
        _entry(record.RECORD_F1, "token F1 of the chosen option with the best target, as in SQuAD 1.1 (ReCoRD)", *_CLASSES),
        _entry(record.RECORD_EM, "share of chosen options that equal a target, as in SQuAD 1.1 (ReCoRD)", *_CLASSES),
        _entry(likelihood.GREEDY_ACC, "share of samples whose one continuation is what greedy decoding gives", Kind.LOGLIKELIHOOD),
        _entry(likelihood.PERPLEXITY, "exp of minus the mean log-probability of a continuation (LAMBADA)", Kind.LOGLIKELIHOOD),
        _entry(likelihood.TOKEN_PERPLEXITY, "perplexity per token; not comparable between tokenizers", Kind.ROLLING, Kind.LOGLIKELIHOOD),
        _entry(likelihood.PSEUDO_PERPLEXITY, "exp of minus the mean log-probability of a token, each masked in turn", Kind.FILL),
        _entry(likelihood.MLM_LOSS, "minus the mean log-probability of tokens masked at once (engine.mask_share), in nats", Kind.FILL),
        _entry(likelihood.DENOISING_LOSS, "minus the mean log-probability of a token of the one continuation, in nats", Kind.LOGLIKELIHOOD),
        _entry(contrast.INFO_NCE, "minus the log-probability of the right choice by the likeness of vectors, temperature 0.05", Kind.EMBED),
        _entry(tagging.TAG_ACC, "share of words whose tag is right; of replaced tokens with a discriminator", Kind.TAG),
        _entry(likelihood.WORD_PERPLEXITY, "perplexity per word of the original text", Kind.ROLLING),
        _entry(likelihood.BYTE_PERPLEXITY, "perplexity per UTF-8 byte of the original text", Kind.ROLLING),
        _entry(likelihood.BITS_PER_BYTE, "bits per UTF-8 byte of the original text", Kind.ROLLING),
        _entry(text.EXACT_MATCH, "share of answers that equal a target", Kind.GENERATE),
        _entry(text.EXACT_MATCH_GSM8K, "the same without case, commas, dollar signs and final full stop", Kind.GENERATE),
        _entry(text.EXACT_MATCH_SQUAD, "the same without case, punctuation and English articles", *_READ),
        _entry(text.TOKEN_F1, "token F1 with the best target, as in SQuAD 1.1; for languages with spaces", *_READ),
        _entry(squad2.EXACT, "exact_match_squad where a question may have no answer (SQuAD 2.0)", *_READ),
        _entry(squad2.F1, "token_f1 where a question may have no answer (SQuAD 2.0)", *_READ),
        _entry(squad2.HASANS_EXACT, "squad2_exact of the questions that have an answer", *_READ),
        _entry(squad2.HASANS_F1, "squad2_f1 of the questions that have an answer", *_READ),
        _entry(squad2.NOANS, "share of the questions without an answer that got none", *_READ),
        _entry(squad2.BEST_EXACT, "squad2_exact with the threshold for no answer that is best for it", Kind.SPAN),
        _entry(squad2.BEST_EXACT_THRESHOLD, "that threshold", Kind.SPAN),
        _entry(squad2.BEST_F1, "squad2_f1 with the threshold for no answer that is best for it", Kind.SPAN),
        _entry(squad2.BEST_F1_THRESHOLD, "that threshold", Kind.SPAN),
        _entry(chinese.EXACT_MATCH_CMRC, "share of answers that equal a target but for punctuation (CMRC 2018, DRCD)", *_READ),
        _entry(
            chinese.F1_CMRC, "F1 of the longest run of Chinese characters and words shared with the best target (CMRC 2018, DRCD)", *_READ
        ),
        _entry(chinese.TOKEN_F1_ZH, "F1 of Chinese characters and words with the best target, as in MLQA", *_READ),
        *[
            _entry(seqeval(measure), f"{measure} of entities that BIO tags mark; seqeval_{measure}@PER and its like: of one type", Kind.TAG)
            for measure in MEASURES
        ],
        *[
            _entry(pass_at(k), "chance that one of k answers is right, for any k up to the number of repeats", Kind.GENERATE)
            for k in (1, 10, 100)
        ],
    ]
)


def metric_names() -> tuple[str, ...]:
    """Names of the built-in metrics, in the order of the table; `pass@k` exists for every k, `seqeval_f1@TYPE` for every type."""
    return tuple(_BUILT_IN)


def get_metric(name: str) -> AnyMetric:
    """The metric of this name.

    Args:
        name: A built-in metric, `pass@<k>`, `seqeval_<measure>@<type>`, or `package.module:NAME` for an object of your own that has the members of
            core.protocols.Metric or TableMetric.

    Raises:
        ConfigError: when there is no such metric, or the object is none.
    """
    if name in _BUILT_IN:
        return _BUILT_IN[name].metric
    if match := _PASS_AT.fullmatch(name):
        return pass_at(int(match[1]))
    if match := _OF_TYPE.fullmatch(name):
        return seqeval(match[1], match[2])
    if _OWN.fullmatch(name):
        return _load(name)
    raise ConfigError(
        f"metric '{name}': there is no such metric.{suggest(name, _BUILT_IN)} `raybench list metrics` shows all; write package.module:NAME for your own."
    )


def about(name: str) -> str:
    """One line for `raybench list metrics`; for an object of one's own, the first line of its documentation."""
    entry = _find(name)
    if entry is not None:
        return entry.about
    return (get_metric(name).__doc__ or "").strip().partition("\n")[0]


def kinds(name: str) -> frozenset[Kind]:
    """The request kinds the metric makes sense for, so that a plan can refuse others before anything runs.

    An object of one's own may say so by an attribute `kinds`; without it, all kinds.
    """
    entry = _find(name)
    if entry is not None:
        return entry.kinds
    return frozenset(Kind(k) for k in getattr(get_metric(name), "kinds", Kind))


def requests(name: str) -> tuple[str, ...]:
    """Names of the requests whose answers the metric needs of each sample: `""`, and `uncond` for mutual information."""
    entry = _find(name)
    return entry.requests if entry is not None else tuple(getattr(get_metric(name), "requests", ("",)))


def repeats(name: str) -> int:
    """Answers to each sample that the metric needs: k of `pass@k`, otherwise 1."""
    match = _PASS_AT.fullmatch(name)
    return int(match[1]) if match else 1


def _find(name: str) -> _Entry | None:
    if _PASS_AT.fullmatch(name):
        name = "pass@1"
    elif _OF_TYPE.fullmatch(name):
        name = name.partition("@")[0]
    return _BUILT_IN.get(name)


def _load(name: str) -> AnyMetric:
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # the module is somebody else's: whatever it raises, the cause is what the configuration names
        raise ConfigError(
            f"metric '{name}': the module '{module_name}' cannot be imported: {type(error).__name__}: {error}. "
            "Expected package.module:NAME with a module on Python's path."
        ) from error
    found = getattr(module, attribute, None)
    if found is None:
        raise ConfigError(f"metric '{name}': the module '{module_name}' has no '{attribute}'.{suggest(attribute, vars(module))}")
    members = _TABLE_MEMBERS if hasattr(found, "over") else _MEMBERS
    missing = [member for member in members if not hasattr(found, member)]
    if isinstance(found, type) or missing or not isinstance(found, Metric | TableMetric):
        what = "a class, not an object of it" if isinstance(found, type) else f"{type(found).__name__} without {', '.join(missing)}"
        raise ConfigError(f"metric '{name}': expected a metric as in raybench.core.protocols.Metric, found {what}.")
    return found
