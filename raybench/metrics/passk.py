"""pass@k: the chance that at least one of k answers to a question is right, estimated from n answers to it."""

from __future__ import annotations

import math
from functools import partial

from raybench.core.errors import ConfigError
from raybench.core.protocols import Scored
from raybench.metrics.mean import Mean
from raybench.metrics.text import targets


def chance(n: int, c: int, k: int) -> float:
    """1 - C(n-c, k) / C(n, k): the share of all k-subsets of n answers that hold at least one of the c right ones.

    Unbiased, unlike the best of the first k (Chen et al. 2021, Evaluating Large Language Models Trained on Code, equation 1). The binomials are exact
    integers, divided last. Needs k <= n and c <= n.
    """
    subsets = math.comb(n, k)
    return (subsets - math.comb(n - c, k)) / subsets


def pass_at(k: int) -> Mean:
    """The metric `pass@k`; an answer is right when it equals a target, and the value is the mean over samples.

    Its score raises ConfigError for a sample with fewer than k repeats, where it is undefined.
    """
    return Mean(name=f"pass@{k}", score_of=partial(_chance, k=k), stats=("passed",), signature="estimator:unbiased")


def _chance(scored: Scored, k: int) -> float:
    right, n = targets(scored), len(scored.extracted)
    if n < k:
        raise ConfigError(
            f"sample '{scored.sample.id}': pass@{k} needs at least {k} answers to each sample, found {n}. "
            f"Set `repeats: {k}` or more for the task (with a temperature above 0), or ask for pass@{n}."
        )
    return chance(n, sum([answer in right for answer in scored.extracted]), k)
