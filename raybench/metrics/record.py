"""ReCoRD: the chosen entity's text against all right ones, normalised as in SQuAD 1.1 (Zhang et al. 2018; official for SuperGLUE).

Several entities may be right, and an entity may stand in the passage in several spellings: the best match counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from raybench.core.protocols import Scored
from raybench.metrics.decision import scores_of
from raybench.metrics.mean import Mean
from raybench.metrics.text import EXACT_MATCH_SQUAD, TOKEN_F1


def _of_chosen(scored: Scored, score_of: Callable[[Scored], float]) -> float:
    scores = scores_of(scored)
    return score_of(replace(scored, extracted=[scored.sample.choices[scores.index(max(scores))]]))


RECORD_EM, RECORD_F1 = (
    Mean(name=name, score_of=partial(_of_chosen, score_of=metric.score_of), stats=metric.stats, signature=metric.signature)
    for name, metric in (("record_em", EXACT_MATCH_SQUAD), ("record_f1", TOKEN_F1))
)
