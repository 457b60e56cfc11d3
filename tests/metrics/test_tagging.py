"""Accuracy of tags against scikit-learn over all words together."""

from __future__ import annotations

import pytest

from raybench.core.errors import ConfigError, DataError
from raybench.core.outputs import Generation, Tags
from raybench.metrics.tagging import TAG_ACC
from tests.metrics.heads import measure, scored, value_of


@pytest.mark.parametrize(
    ("true", "answered"),
    [
        pytest.param(["A B", "C"], ["A A", "C"], id="mixed"),
        pytest.param(["A B C", "C"], ["A B C", "C"], id="identical"),
        pytest.param(["A A", "B"], ["B B", "A"], id="disjoint"),
        pytest.param(["A A A A A", "B"], ["A A A A A", "A"], id="words count, not sentences"),
    ],
)
def test_all_words_count_the_same(true: list[str], answered: list[str]) -> None:
    from sklearn.metrics import accuracy_score

    samples = [scored(Tags(labels=tuple(a.split())), targets=tuple(t.split())) for t, a in zip(true, answered, strict=True)]

    expected = accuracy_score(" ".join(true).split(), " ".join(answered).split())
    assert value_of(TAG_ACC, samples) == value_of(TAG_ACC, samples[::-1]) == pytest.approx(expected, abs=1e-15)
    assert measure(TAG_ACC, samples, draws=20).stderr is not None
    assert value_of(TAG_ACC, []) is None


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(DataError, match="1 true tags for 2 words"):
        TAG_ACC.score(scored(Tags(labels=("A", "B")), targets=("A",)))
    with pytest.raises(ConfigError, match="Ask the task as `tag`"):
        TAG_ACC.score(scored(Generation(text="A"), targets=("A",)))
