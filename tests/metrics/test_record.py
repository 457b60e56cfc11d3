"""ReCoRD's scores of a chosen entity, against transformers.data.metrics.squad_metrics, which the benchmark's evaluation equals."""

from __future__ import annotations

import pytest

from raybench.core.outputs import Classification
from raybench.core.protocols import Scored
from raybench.core.types import FinishReason, Prediction, Sample
from raybench.metrics.choice import ACC, head_scores
from raybench.metrics.record import RECORD_EM, RECORD_F1
from tests.metrics.heads import choice, one_hot

# entities, right ones, the chosen one
CASES = [
    (("Anna Weiss", "Clara Lund"), ("Anna Weiss", "Weiss"), 0),
    (("Anna Weiss", "Clara Lund"), ("Weiss",), 0),
    (("Anna Weiss", "Clara Lund"), ("Clara Lund",), 0),
    (("the Elm", "Tarn"), ("Elm.",), 0),
    (("U.S.", "US"), ("U.S",), 1),
    (("The", "Tarn"), ("Tarn",), 0),
]


@pytest.mark.parametrize(("entities", "targets", "chosen"), CASES)
def test_the_chosen_entity_is_scored_against_the_best_target(entities: tuple[str, ...], targets: tuple[str, ...], chosen: int) -> None:
    from transformers.data.metrics.squad_metrics import compute_exact, compute_f1

    scored = choice(*one_hot(chosen, len(entities)), targets=targets, choices=entities)

    assert RECORD_EM.score(scored) == (max(compute_exact(t, entities[chosen]) for t in targets),)
    assert RECORD_F1.score(scored)[0] == pytest.approx(max(compute_f1(t, entities[chosen]) for t in targets), abs=1e-12)


def read_one_by_one(logits: list[tuple[float, ...]], repeats: int = 1, **sample: object) -> Scored:
    """A head that read the options one after the other."""
    predictions = [
        Prediction(
            sample_id="s",
            request=f"option-{i}",
            repeat=r,
            finish_reason=FinishReason.SCORED,
            output=Classification(logits=found, label=None),
        )
        for i, found in enumerate(logits)
        for r in range(repeats)
    ]
    return Scored(sample=Sample(id="s", fields={}, **sample), predictions=predictions, extracted=[None] * len(predictions))  # type: ignore[arg-type]


def test_options_that_a_head_read_one_by_one_are_compared_with_each_other() -> None:
    one_value = read_one_by_one([(0.5,), (2.0,), (-1.0,)], choices=("a", "b", "c"), label=1)
    # of (no, yes) the option with the largest log-odds of yes, not the one with the largest yes
    two_labels = read_one_by_one([(4.0, 3.0), (-2.0, 1.0)], choices=("a", "b"), targets=("b",))

    assert (head_scores(one_value), ACC.score(one_value)) == ([(0.5, 2.0, -1.0)], (1.0,))
    assert (head_scores(two_labels), RECORD_EM.score(two_labels)) == ([(-1.0, 3.0)], (1.0,))


def test_repeats_are_answers_of_their_own() -> None:
    assert head_scores(read_one_by_one([(0.5,), (2.0,)], repeats=2)) == [(0.5, 2.0), (0.5, 2.0)]
