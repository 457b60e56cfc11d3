"""Exact match and F1 in Chinese against the evaluation scripts of CMRC 2018 (v6) and MLQA, whose values stand here as constants."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raybench.core.errors import DataError
from raybench.core.outputs import Generation
from raybench.core.protocols import Scored
from raybench.core.types import FinishReason, Prediction, Sample
from raybench.metrics.chinese import EXACT_MATCH_CMRC, F1_CMRC, TOKEN_F1_ZH, cmrc_f1, mlqa_f1

TEXTS = st.text(alphabet="北京大学在ab1 ，。《》.-", max_size=12)


def scored(answers: list[str | None], *targets: str) -> Scored:
    rows = [
        Prediction(sample_id="s", repeat=i, finish_reason=FinishReason.STOP, output=Generation(text=a or "")) for i, a in enumerate(answers)
    ]
    return Scored(sample=Sample(id="s", fields={}, targets=targets), predictions=rows, extracted=answers)


CASES = [
    ("北京大学", ("北京大学",), 1.0, 1.0, 1.0),
    ("上海", ("北京",), 0.0, 0.0, 0.0),
    ("", ("北京",), 0.0, 0.0, 0.0),
    ("在北京大学读书。", ("北京大学", "大学"), 0.0, 0.7272727272727273, 0.7272727272727273),
    ("北京的大学", ("北京大学",), 0.0, 0.4444444444444445, 0.888888888888889),
    ("《红楼梦》", ("红楼梦",), 1.0, 1.0, 1.0),
    ("1786年2月2日", ("1786年2月",), 0.0, 0.8, 0.8),
    ("GPU有3,000个核心", ("3,000个",), 0.0, 0.5, 0.5),
    ("Apple公司的iPhone 15 Pro", ("iPhone 15",), 0.0, 0.4444444444444445, 0.4444444444444445),
    ("他说：“是的！”", ("是的",), 0.0, 0.6666666666666666, 0.6666666666666666),
    ("，。", ("。",), 1.0, 0.0, 0.0),
    ("don't 走", ("don't走",), 0.0, 1.0, 1.0),
    ("3.14%", ("3.14",), 0.0, 0.6666666666666666, 1.0),
    ("U.S. Steel公司", ("u.s.",), 0.0, 0.0, 0.4),
    ("大学北京", ("北京大学",), 0.0, 0.5, 1.0),
]
"""Answer, targets; EM and F1 of the script of CMRC 2018, F1 of that of MLQA."""


@pytest.mark.parametrize(("answer", "targets", "exact", "f1", "shared"), CASES)
def test_answers_count_as_in_the_scripts(answer: str, targets: tuple[str, ...], exact: float, f1: float, shared: float) -> None:
    sample = scored([answer], *targets)

    assert EXACT_MATCH_CMRC.score(sample) == (exact,)
    assert F1_CMRC.score(sample) == (pytest.approx(f1, abs=1e-12),)
    assert TOKEN_F1_ZH.score(sample) == (pytest.approx(shared, abs=1e-12),)


@given(TEXTS, TEXTS)
def test_f1_is_symmetric_and_1_for_the_same_text(one: str, other: str) -> None:
    for f1 in (cmrc_f1, mlqa_f1):
        assert f1(one, other) == f1(other, one)
        assert 0.0 <= f1(one, other) <= 1.0
        assert f1(one, one) in (0.0, 1.0)  # 0 where nothing is left


def test_repeats_are_averaged_and_no_answer_is_wrong() -> None:
    assert F1_CMRC.score(scored(["北京", None], "北京")) == (0.5,)
    with pytest.raises(DataError, match="no target"):
        EXACT_MATCH_CMRC.score(scored(["北京"]))
