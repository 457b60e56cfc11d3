"""Exact match and F1 of answers in Chinese, where words have no spaces between them: a character is a unit, a Latin word or number too.

`exact_match_cmrc` and `f1_cmrc` are those of the evaluation script of CMRC 2018 (github.com/ymcui/cmrc2018, baseline/cmrc2018_evaluate.py v6), which is
used for DRCD too: lower case, without its list of punctuation; F1 of the longest run of units that answer and target share. What stands between
Chinese characters the script cuts by nltk's word_tokenize. Here a word ends at white space and at the signs that are units there; contractions
(`don't`, two units there) stay whole.

`token_f1_zh` is the F1 of MLQA (Lewis et al. 2019, github.com/facebookresearch/MLQA, mlqa_evaluation_v1.py, zh): shared units wherever they stand, as
in SQuAD, without any punctuation.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable
from difflib import SequenceMatcher
from functools import partial

from raybench.core.protocols import Scored
from raybench.metrics.mean import Mean
from raybench.metrics.text import targets

_HAN = "\u4e00-\u9fa5"
_IGNORED = str.maketrans("", "", "-:_*^/\\~`+=，。：？！“”；’《》……·、「」（）－～『』")
_SIGNS = r"""\s;@#$%&?!()\[\]{}<>".,"""
_CMRC_UNITS = re.compile(rf"(?:[^{_HAN}{_SIGNS}]|,(?=\d)|\.(?![{_HAN}]|\s*$))+|\S")
_MLQA_UNITS = re.compile(rf"[{_HAN}]|[^\s{_HAN}]+")


def cmrc_normalise(text: str) -> str:
    """Lower case, without the punctuation that the script of CMRC 2018 ignores."""
    return text.lower().strip().translate(_IGNORED)


def cmrc_f1(answer: str, target: str) -> float:
    """Harmonic mean of the shares of answer and target that their longest common run of units makes up, 0 to 1."""
    found, wanted = (_CMRC_UNITS.findall(cmrc_normalise(text)) for text in (answer, target))
    shared = SequenceMatcher(None, found, wanted, autojunk=False).find_longest_match().size
    return 2 * shared / (len(found) + len(wanted)) if shared else 0.0


def mlqa_f1(answer: str, target: str) -> float:
    """Harmonic mean of precision and recall of units, 0 to 1."""
    found, wanted = (Counter(_MLQA_UNITS.findall(_without_punctuation(text.lower()))) for text in (answer, target))
    shared = (found & wanted).total()
    return 2 * shared / (found.total() + wanted.total()) if shared else 0.0


def _without_punctuation(text: str) -> str:
    return "".join(c for c in text if not unicodedata.category(c).startswith("P") and c not in string.punctuation)


def _best(scored: Scored, score_of: Callable[[str, str], float]) -> float:
    """The mean over repeats of the score with the best target."""
    right, extracted = targets(scored), scored.extracted
    return sum([0.0 if answer is None else max(score_of(answer, t) for t in right) for answer in extracted]) / len(extracted)


def _is_equal(answer: str, target: str) -> float:
    return float(cmrc_normalise(answer) == cmrc_normalise(target))


EXACT_MATCH_CMRC = Mean(
    name="exact_match_cmrc", score_of=partial(_best, score_of=_is_equal), stats=("right",), signature="normalise:cmrc-2018"
)
F1_CMRC = Mean(name="f1_cmrc", score_of=partial(_best, score_of=cmrc_f1), stats=("f1",), signature="normalise:cmrc-2018|units:longest-run")
TOKEN_F1_ZH = Mean(name="token_f1_zh", score_of=partial(_best, score_of=mlqa_f1), stats=("f1",), signature="normalise:mlqa-zh")
