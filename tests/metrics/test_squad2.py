"""SQuAD 2.0 against the official evaluation script, as transformers 5 carries it (data/metrics/squad_metrics.py)."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raybench.core.outputs import Generation, Spans
from raybench.core.protocols import Scored
from raybench.core.types import FinishReason, Prediction, Sample
from raybench.metrics.registry import get_metric
from raybench.metrics.statistics import Statistics
from tests.metrics.heads import collect, measure

TEXTS = st.text(alphabet="abt he,.-", max_size=8)
OFFICIAL = {
    "squad2_exact": "exact", "squad2_f1": "f1", "squad2_hasans_exact": "HasAns_exact", "squad2_hasans_f1": "HasAns_f1",
    "squad2_noans": "NoAns_exact",
}  # fmt: skip
"""Our names and the script's."""

Case = tuple[str, tuple[str, ...]]
"""An answer and the right ones."""


def written(answer: str, targets: tuple[str, ...]) -> Scored:
    row = Prediction(sample_id="s", finish_reason=FinishReason.STOP, output=Generation(text=answer))
    return Scored(sample=Sample(id="s", fields={}, targets=targets), predictions=[row], extracted=[answer])


def placed(texts: tuple[str, ...], scores: tuple[float, ...], null_score: float, targets: tuple[str, ...]) -> Scored:
    output = Spans(texts=texts, starts=(0,) * len(texts), stops=tuple(map(len, texts)), scores=scores, null_score=null_score)
    row = Prediction(sample_id="s", finish_reason=FinishReason.SCORED, output=output)
    return Scored(sample=Sample(id="s", fields={}, targets=targets), predictions=[row], extracted=[output.text])


def value_of(name: str, samples: list[Scored]) -> float:
    metric = get_metric(name)
    collected = Statistics(metric)
    collected.add([metric.score(s) for s in samples])
    return float(metric.value(np.array(collected.samples().sums()), collected.num_samples))


def official(cases: list[Case]) -> dict[str, float]:
    """What the script prints, 0 to 1."""
    from transformers.data.metrics.squad_metrics import squad_evaluate

    examples = [SimpleNamespace(qas_id=str(i), answers=[{"text": t} for t in targets]) for i, (_, targets) in enumerate(cases)]
    found: dict[str, Any] = squad_evaluate(examples, {str(i): answer for i, (answer, _) in enumerate(cases)})
    return {name: value / 100 for name, value in found.items()}


def test_the_published_cases_have_their_published_values() -> None:
    # Hugging Face evaluate 0.4, metrics/squad_v2/README.md: exact and f1 of 66.67
    cases: list[Case] = [("1976", ("1976",)), ("Beyonce", ("Beyoncé and Bruno Mars",)), ("climate change", ("climate change",))]

    assert official(cases)["exact"] == pytest.approx(2 / 3)
    for name in ("squad2_exact", "squad2_f1", "squad2_hasans_exact", "squad2_hasans_f1"):
        assert value_of(name, [written(*case) for case in cases]) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("answer", "targets"),
    [
        ("", ()),  # none, and none given
        ("somewhere", ()),  # an answer where there is none
        ("", ("Paris",)),  # none where there is one
        ("the Paris.", ("London", "paris")),  # equal to the second one
        ("Rome", ("Paris",)),  # disjoint
        ("in old Paris", ("Paris", "old Paris town")),  # F1 with the better one
        ("The", ()),  # nothing but an article
        ("it", ("the", "It")),  # a target that says nothing is none
        ("a", ("the",)),  # no target says anything
    ],
)
def test_an_answer_counts_as_in_the_script(answer: str, targets: tuple[str, ...]) -> None:
    expected = official([(answer, targets)])

    for name in ("squad2_exact", "squad2_f1"):
        assert value_of(name, [written(answer, targets)]) == pytest.approx(expected[OFFICIAL[name]])


@settings(deadline=None)
@given(st.lists(st.tuples(TEXTS, st.lists(TEXTS, max_size=3).map(tuple)), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_values_are_those_of_the_script_in_any_order(cases: list[Case], rng: random.Random) -> None:
    expected = official(cases)

    for name, theirs in OFFICIAL.items():
        value = value_of(name, [written(*case) for case in rng.sample(cases, len(cases))])
        if theirs in expected:
            assert value == pytest.approx(expected[theirs])
        else:
            assert np.isnan(value)  # no question of that kind


def test_a_reader_answers_unless_none_scores_higher() -> None:
    places = ("", "Paris"), (9.0, 3.0)  # a place without text is none

    answered, even, declined = (placed(*places, null_score, ("Paris",)) for null_score in (2.0, 3.0, 3.1))

    assert [value_of("squad2_exact", [s]) for s in (answered, even, declined)] == [1.0, 1.0, 0.0]
    assert value_of("squad2_noans", [placed(*places, 3.1, ())]) == 1.0
    assert value_of("squad2_noans", [placed((), (), -5.0, ())]) == 1.0


DIFFERENCES = st.floats(-9, 9, allow_subnormal=False)
READ = st.lists(st.tuples(st.sampled_from(["", "old Paris", "Rome"]), st.sampled_from([(), ("Paris",), ("Rome",)]), DIFFERENCES), min_size=1, max_size=9)  # fmt: skip


@settings(deadline=None)
@given(READ, st.randoms(use_true_random=False))
def test_the_best_threshold_is_that_of_the_script(cases: list[tuple[str, tuple[str, ...], float]], rng: random.Random) -> None:
    from transformers.data.metrics.squad_metrics import find_all_best_thresh, get_raw_scores

    # the script tries equal differences one by one
    cases = list({difference: (text, targets, difference) for text, targets, difference in cases}.values())
    preds = {str(i): text for i, (text, _, _) in enumerate(cases)}
    scores = get_raw_scores([SimpleNamespace(qas_id=str(i), answers=[{"text": t} for t in c[1]]) for i, c in enumerate(cases)], preds)
    expected: dict[str, float] = {}
    has_answer = {str(i): bool(c[1]) for i, c in enumerate(cases)}
    find_all_best_thresh(expected, preds, *scores, {str(i): c[2] for i, c in enumerate(cases)}, has_answer)

    samples = [placed((text,) if text else (), (0.0,) if text else (), difference, targets) for text, targets, difference in cases]
    for name in ("exact", "f1"):
        found = measure(get_metric(f"squad2_best_{name}"), rng.sample(samples, len(samples)))
        threshold = measure(get_metric(f"squad2_best_{name}_threshold"), samples)
        assert found.value == pytest.approx(expected[f"best_{name}"] / 100)
        none_is_best = expected[f"best_{name}"] == 100 * sum(not targets for _, targets, _ in cases) / len(cases)
        assert threshold.value == (None if none_is_best else expected[f"best_{name}_thresh"])


def test_many_draws_and_their_limit_agree_on_the_error_of_the_best_value() -> None:
    rng = random.Random(0)
    samples = [
        placed((rng.choice(["Paris", "Rome"]),), (0.0,), rng.gauss(1.0 if not targets else -1.0, 1.5), targets)
        for targets in (rng.choice([(), ("Paris",)]) for _ in range(2000))
    ]
    metric = get_metric("squad2_best_exact")
    collected = collect(metric, samples)
    table = collected.samples()

    drawn = measure(metric, samples, draws=400)
    slopes = metric.slopes(table.rows, table.counts)

    assert (table.counts * slopes).sum() == pytest.approx(0, abs=1e-12)
    assert drawn.stderr == pytest.approx(np.sqrt((table.counts * slopes**2).sum()), rel=0.15)  # 400 draws know it to 4 %
