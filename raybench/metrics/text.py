"""Metrics of a generated text against reference texts: exact match in its variants, and the token F1 of SQuAD 1.1."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable
from functools import partial

from raybench.core.errors import DataError
from raybench.core.fingerprint import digest
from raybench.core.protocols import Scored
from raybench.metrics.mean import Mean

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_NO_DIGITS = str.maketrans("", "", string.digits)
_ARTICLES = re.compile(r"\b(a|an|the)\b")

GSM8K_IGNORED = (",", r"\$", r"(?s)\A.*#### ", r"\.$")
"""What GSM8K answers are compared without: thousands separators, dollar signs, the solution before the answer, a final full stop.

As in lm-evaluation-harness (0.4.13, tasks/gsm8k/gsm8k.yaml), but for the anchor: without it a text that has no `####` is searched from each of its
characters, in quadratic time. With it the same text remains: a greedy match from the start leaves no further `#### `.
"""


class Normaliser:
    """Makes texts comparable: patterns are removed first, then case, ASCII punctuation and ASCII digits, in this order.

    Order and meaning of `exact_match` in Hugging Face evaluate (metrics/exact_match/exact_match.py), which lm-evaluation-harness uses too.
    """

    def __init__(
        self,
        *,
        regexes_to_ignore: tuple[str, ...] = (),
        ignore_case: bool = False,
        ignore_punctuation: bool = False,
        ignore_numbers: bool = False,
    ) -> None:
        self.patterns = tuple(re.compile(r) for r in regexes_to_ignore)
        self.ignore_case = ignore_case
        self.ignore_punctuation = ignore_punctuation
        self.ignore_numbers = ignore_numbers

    def __call__(self, text: str) -> str:
        for pattern in self.patterns:
            text = pattern.sub("", text)
        if self.ignore_case:
            text = text.lower()
        if self.ignore_punctuation:
            text = text.translate(_NO_PUNCTUATION)
        if self.ignore_numbers:
            text = text.translate(_NO_DIGITS)
        return text

    @property
    def signature(self) -> str:
        """`ignore:` and what is ignored; patterns by a digest of them. Empty when texts are compared as they are."""
        ignored = [name for name in ("case", "punctuation", "numbers") if getattr(self, f"ignore_{name}")]
        if self.patterns:
            ignored.insert(0, f"regex-{digest([p.pattern for p in self.patterns])[:8]}")
        return f"ignore:{'+'.join(ignored)}" if ignored else ""


def squad_normalise(text: str) -> str:
    """Lower case, without ASCII punctuation and English articles, single spaces: `normalize_answer` of the SQuAD 1.1 evaluation script."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def squad_f1(answer: str, target: str) -> float:
    """Harmonic mean of token precision and recall, 0 to 1: `f1_score` of the SQuAD 1.1 evaluation script.

    Tokens are separated by spaces: not meant for scripts without them (Chinese, Japanese, Thai).
    """
    answer_tokens, target_tokens = squad_normalise(answer).split(), squad_normalise(target).split()
    num_same = (Counter(answer_tokens) & Counter(target_tokens)).total()
    if num_same == 0:
        return 0.0
    precision, recall = num_same / len(answer_tokens), num_same / len(target_tokens)
    return 2 * precision * recall / (precision + recall)


def exact_match(
    name: str,
    *,
    regexes_to_ignore: tuple[str, ...] = (),
    ignore_case: bool = False,
    ignore_punctuation: bool = False,
    ignore_numbers: bool = False,
) -> Mean:
    """The share of answers that equal one of the targets, after both went through the same `Normaliser`.

    A generation from which no answer could be extracted counts as wrong.

    Args:
        name: In tables and signatures.
        regexes_to_ignore: Patterns whose matches are removed, one pattern after the other.
        ignore_case: Compare in lower case.
        ignore_punctuation: Compare without ASCII punctuation.
        ignore_numbers: Compare without ASCII digits.
    """
    normalise = Normaliser(
        regexes_to_ignore=regexes_to_ignore, ignore_case=ignore_case, ignore_punctuation=ignore_punctuation, ignore_numbers=ignore_numbers
    )
    score_of = partial(_share_equal_to, normalise=normalise) if normalise.signature else share_equal
    return Mean(name=name, score_of=score_of, stats=("right",), signature=normalise.signature)


def targets(scored: Scored) -> tuple[str, ...]:
    """The right answers of a sample.

    Raises:
        DataError: when it has none, since every answer would then be wrong without anybody noticing.
    """
    found = scored.sample.targets
    if not found:
        raise DataError(
            f"sample '{scored.sample.id}': it has no target to compare the answer with. Check the task's target, or leave the sample out."
        )
    return found


def share_equal(scored: Scored) -> float:
    """The share of a sample's repeats whose answer is one of the targets, character by character."""
    right, extracted = targets(scored), scored.extracted
    return sum([answer in right for answer in extracted]) / len(extracted)


def _share_equal_to(scored: Scored, normalise: Callable[[str], str]) -> float:
    right, extracted = {normalise(t) for t in targets(scored)}, scored.extracted
    return sum([answer is not None and normalise(answer) in right for answer in extracted]) / len(extracted)


def _mean_f1(scored: Scored) -> float:
    right, extracted = targets(scored), scored.extracted
    return sum([0.0 if answer is None else max(squad_f1(answer, t) for t in right) for answer in extracted]) / len(extracted)


EXACT_MATCH = exact_match("exact_match")
EXACT_MATCH_GSM8K = exact_match("exact_match_gsm8k", regexes_to_ignore=GSM8K_IGNORED, ignore_case=True)
EXACT_MATCH_SQUAD = Mean(
    name="exact_match_squad",
    score_of=partial(_share_equal_to, normalise=squad_normalise),
    stats=("right",),
    signature="normalise:squad-1.1",
)
TOKEN_F1 = Mean(name="token_f1", score_of=_mean_f1, stats=("f1",), signature="normalise:squad-1.1")
