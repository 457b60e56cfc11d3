"""Samples that are right together, against lm-eval 0.4.13 (api/metrics.py, acc_all), whatever the cut."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raybench.core.errors import DataError
from raybench.core.protocols import Scored
from raybench.metrics.grouped import GENDER_PARITY, MULTIRC_EM, Grouped, Groups
from raybench.metrics.interval import estimate
from raybench.metrics.statistics import Statistics
from tests.metrics.heads import head, one_hot

Judged = tuple[int, int, int, int]
"""Paragraph, question, label, answer."""


def sample_of(row: Judged, **fields: Any) -> Scored:
    paragraph, question, label, answer = row
    found = head(*one_hot(answer, 2), label=label)
    named = replace(found.sample, fields={"idx": {"paragraph": paragraph, "question": question}, **fields}, cluster=str(paragraph))
    return replace(found, sample=named)


def value_of(metric: Grouped, samples: list[Scored], dropped: dict[int, bool] | None = None) -> tuple[float | None, int]:
    groups, statistics = Groups(metric), Statistics(metric, has_clusters=True)
    for position, found in enumerate(samples):
        if dropped and position in dropped:
            groups.drop(found.sample, is_error=dropped[position])
        else:
            groups.add(found.sample, metric.score(found))
    statistics.add(*groups.units())
    return estimate(statistics, num_errors=groups.num_errors, draws=0, seed=0).value, groups.num_errors


def expected_of(rows: list[Judged]) -> float:
    if importlib.util.find_spec("lm_eval") is None:
        pytest.skip("lm-eval is not installed")
    from lm_eval.api.metrics import acc_all

    return float(acc_all([(answer == 1, {"idx": {"paragraph": p, "question": q}, "label": label}) for p, q, label, answer in rows]))


CASES = {
    "all right": [(0, 0, 1, 1), (0, 0, 0, 0), (1, 0, 1, 1)],
    "all wrong": [(0, 0, 1, 0), (0, 1, 0, 1)],
    "one answer spoils its question": [(0, 0, 1, 1), (0, 0, 0, 1), (0, 1, 1, 1), (1, 0, 0, 0)],
    "the same number in another paragraph": [(0, 0, 1, 1), (1, 0, 1, 0)],
    "apart": [(0, 0, 1, 1), (0, 1, 1, 1), (0, 0, 1, 0)],
}


@pytest.mark.parametrize("name", CASES)
def test_a_question_is_right_when_all_its_answers_are(name: str) -> None:
    assert value_of(MULTIRC_EM, [sample_of(row) for row in CASES[name]])[0] == expected_of(CASES[name])


@given(st.lists(st.tuples(*[st.integers(0, 2)] * 2, *[st.integers(0, 1)] * 2), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_the_order_of_samples_does_not_matter(rows: list[Judged], random: Any) -> None:
    shuffled = random.sample(rows, len(rows))

    assert value_of(MULTIRC_EM, [sample_of(r) for r in shuffled]) == value_of(MULTIRC_EM, [sample_of(r) for r in rows])


def test_no_samples_have_no_value() -> None:
    assert value_of(MULTIRC_EM, []) == (None, 0)


def test_a_question_with_an_unanswered_sample_is_an_error_and_not_wrong() -> None:
    samples = [sample_of(row) for row in [(0, 0, 1, 1), (0, 0, 0, 0), (0, 1, 1, 1), (0, 2, 0, 1)]]

    assert value_of(MULTIRC_EM, samples, {1: True}) == (0.5, 1)
    # without a right answer in the data it is neither
    assert value_of(MULTIRC_EM, samples, {1: False}) == (0.5, 0)


def test_rows_without_numbers_of_paragraph_and_question_are_named() -> None:
    bare = head(0.0, 1.0, label=1)

    with pytest.raises(DataError, match=r"sample 's': multirc_em needs the numbers of paragraph and question in `idx`, found None"):
        Groups(MULTIRC_EM).add(bare.sample, (1.0,))


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        pytest.param((1, 0, 1, 1, 1), 0.5, id="one of two pairs alike"),
        pytest.param((1, 0, 1, 0, 0), 1.0, id="alike"),
        pytest.param((1, 0, 0, 1, 1), 0.0, id="unlike"),
        pytest.param((), None, id="empty"),
    ],
)
def test_parity_is_the_share_of_pairs_that_are_answered_alike(answers: tuple[int, ...], expected: float | None) -> None:
    # counted by hand from the definition (Wang et al. 2019, section 3.3)
    premises = [
        "The guide called because he was late.",
        "The cook waved when her bus came.",
        "The guide called because she was late.",
        "The cook waved when his bus came.",
        "The nurse said it was hers.",  # without its partner
    ]
    samples = [
        sample_of((0, 0, 0, answer), premise=premise, hypothesis="The guide was late.")
        for premise, answer in zip(premises, answers, strict=False)
    ]

    assert value_of(GENDER_PARITY, samples)[0] == value_of(GENDER_PARITY, samples[::-1])[0] == expected
