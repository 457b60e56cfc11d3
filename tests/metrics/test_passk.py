"""pass@k against its definition, by enumeration of subsets."""

from __future__ import annotations

from itertools import combinations

import pytest

from raybench.core.errors import ConfigError
from raybench.core.outputs import Generation
from raybench.core.protocols import Scored
from raybench.core.types import FinishReason, Prediction, Sample
from raybench.metrics.passk import chance, pass_at


def scored(answers: list[str | None], target: str = "yes") -> Scored:
    rows = [
        Prediction(sample_id="s", repeat=i, finish_reason=FinishReason.STOP, output=Generation(text=a or "")) for i, a in enumerate(answers)
    ]
    return Scored(sample=Sample(id="s", fields={}, targets=(target,)), predictions=rows, extracted=answers)


@pytest.mark.parametrize("n", range(1, 8))
def test_it_is_the_share_of_subsets_with_a_right_answer(n: int) -> None:
    # Chen et al. 2021, section 2.1: the chance that k of the n answers, drawn without replacement, hold a right one
    for c in range(n + 1):
        for k in range(1, n + 1):
            subsets = list(combinations([True] * c + [False] * (n - c), k))
            assert chance(n, c, k) == pytest.approx(sum(any(s) for s in subsets) / len(subsets), abs=1e-15)


def test_it_equals_the_product_form_of_the_paper_for_many_answers() -> None:
    # Chen et al. 2021, figure 3: 1 - prod(1 - k / arange(n - c + 1, n + 1))
    import numpy as np

    for c in (0, 1, 7, 100, 199):
        product = 1.0 - np.prod(1.0 - 100 / np.arange(200 - c + 1, 201)) if 200 - c >= 100 else 1.0
        assert chance(200, c, 100) == pytest.approx(product, abs=1e-12)


def test_pass_at_1_is_the_share_of_right_answers() -> None:
    assert pass_at(1).score(scored(["yes", "no", "yes"])) == (2 / 3,)


def test_pass_at_k_is_not_the_best_of_the_first_k() -> None:
    assert pass_at(2).score(scored(["yes", "no", "no", None])) == (0.5,)


def test_too_few_repeats_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"pass@10 needs at least 10 answers to each sample, found 3\. Set `repeats: 10`"):
        pass_at(10).score(scored(["yes", "no", "yes"]))
