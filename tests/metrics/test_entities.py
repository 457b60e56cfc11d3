"""Entities and their F1 against the seqeval package 1.2.2."""

from __future__ import annotations

import random
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raybench.core.errors import ConfigError, DataError
from raybench.core.outputs import Tags
from raybench.core.protocols import Scored
from raybench.core.types import FinishReason, Prediction, Sample
from raybench.metrics.entities import MEASURES, entities, seqeval
from raybench.metrics.interval import value_if_errors_wrong, wrong_row
from raybench.metrics.registry import about, get_metric, kinds
from raybench.metrics.statistics import Statistics

TAGS = st.sampled_from(["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "E-PER", "S-LOC", "B-A-B", "I-A-B"])
SENTENCES = st.lists(st.lists(st.tuples(TAGS, TAGS), min_size=1, max_size=8), min_size=1, max_size=6)

Sentences = list[list[str]]


def scored(true: list[str], *answers: list[str]) -> Scored:
    rows = [
        Prediction(sample_id="s", repeat=i, finish_reason=FinishReason.SCORED, output=Tags(labels=tuple(a))) for i, a in enumerate(answers)
    ]
    return Scored(sample=Sample(id="s", fields={}, targets=tuple(true)), predictions=rows, extracted=[None] * len(rows))


def value_of(name: str, true: Sentences, answered: Sentences) -> float:
    metric = get_metric(name)
    collected = Statistics(metric)
    collected.add([metric.score(scored(t, a)) for t, a in zip(true, answered, strict=True)])
    return float(metric.value(np.array(collected.samples().sums()), collected.num_samples))


def from_seqeval(measure: str, true: Sentences, answered: Sentences) -> float:
    import seqeval.metrics

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of divisions by zero, which count 0
        return float(getattr(seqeval.metrics, f"{measure}_score")(true, answered))


@pytest.mark.parametrize(
    ("true", "answered", "expected"),
    [
        (["B-PER", "I-PER", "O", "B-LOC"], ["B-PER", "I-PER", "O", "B-LOC"], 1.0),  # identical
        (["B-PER", "I-PER", "O"], ["O", "O", "B-LOC"], 0.0),  # disjoint
        (["O", "O", "O"], ["O", "O", "O"], 0.0),  # nothing to find, nothing found
        (["B-PER", "I-PER", "O"], ["O", "O", "O"], 0.0),  # nothing found
        (["O", "O", "O"], ["B-PER", "I-PER", "O"], 0.0),  # nothing to find
        (["B-PER", "I-PER", "I-PER"], ["B-PER", "I-PER", "O"], 0.0),  # one word short is wrong
        (["B-PER", "I-PER", "O"], ["I-PER", "I-PER", "O"], 1.0),  # IOB1
        (["B-PER", "B-PER", "O"], ["B-PER", "I-PER", "O"], 0.0),  # two persons are not one
        (["B-PER", "I-LOC", "O"], ["B-PER", "B-LOC", "O"], 1.0),  # another type begins an entity
        (["B-PER", "E-PER", "S-PER"], ["B-PER", "I-PER", "B-PER"], 1.0),  # IOBES
        (["B-PER", "O", "B-LOC"], ["B-PER", "O", "B-PER"], 0.5),
    ],
)
def test_entities_count_as_in_seqeval(true: list[str], answered: list[str], expected: float) -> None:
    assert from_seqeval("f1", [true], [answered]) == expected
    assert value_of("seqeval_f1", [true], [answered]) == expected


@settings(deadline=None)
@given(SENTENCES)
def test_the_entities_of_any_tags_are_those_of_seqeval(sentences: list[list[tuple[str, str]]]) -> None:
    from seqeval.metrics.sequence_labeling import get_entities

    for pairs in sentences:
        tags = [tag for tag, _ in pairs]
        assert entities(tags) == [(kind, start, stop + 1) for kind, start, stop in get_entities(tags)]


@settings(deadline=None)
@given(SENTENCES, st.randoms(use_true_random=False))
def test_values_are_those_of_seqeval_in_any_order(sentences: list[list[tuple[str, str]]], rng: random.Random) -> None:
    from seqeval.metrics import classification_report

    shuffled = rng.sample(sentences, len(sentences))
    true, answered = ([[pair[k] for pair in pairs] for pairs in shuffled] for k in range(2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = classification_report(true, answered, output_dict=True) if any("-" in t for s in (*true, *answered) for t in s) else {}

    for measure in MEASURES:
        assert value_of(f"seqeval_{measure}", *([[p[k] for p in s] for s in sentences] for k in range(2))) == pytest.approx(
            from_seqeval(measure, true, answered), abs=1e-15
        )
        for kind in ("PER", "LOC", "A-B"):
            expected = report.get(kind, {}).get("f1-score" if measure == "f1" else measure, 0.0)
            assert value_of(f"seqeval_{measure}@{kind}", true, answered) == pytest.approx(expected, abs=1e-15)


def test_an_unanswered_sentence_is_one_in_which_nothing_was_found() -> None:
    true, answered = [["B-PER", "I-PER", "B-LOC"], ["O", "B-PER", "O"]], [["B-PER", "I-PER", "O"], ["O", "O", "O"]]

    for name in ("seqeval_f1", "seqeval_recall", "seqeval_recall@LOC"):
        metric = get_metric(name)
        statistics = Statistics(metric)
        statistics.add([metric.score(scored(true[0], answered[0]))])
        unanswered = wrong_row(metric, Sample(id="s", fields={}, targets=tuple(true[1])))
        assert value_if_errors_wrong(statistics, {unanswered: 1}) == value_of(name, true, answered)
    assert wrong_row(get_metric("seqeval_precision"), Sample(id="s", fields={}, targets=tuple(true[1]))) is None


def test_repeats_count_together() -> None:
    right, wrong = ["B-PER", "O"], ["O", "O"]

    assert seqeval("f1").score(scored(right, right, wrong)) == (2.0, 3.0)  # one of two found; 1 answered, 2 true


def test_a_type_has_a_metric_of_its_own() -> None:
    assert get_metric("seqeval_recall@A-B").name == "seqeval_recall@A-B"
    assert kinds("seqeval_f1@PER") == kinds("seqeval_f1") == {"tag"}
    assert "@PER" in about("seqeval_f1@LOC")
    with pytest.raises(ConfigError, match="Did you mean 'seqeval_f1'"):
        get_metric("seqeval_f1@")


@pytest.mark.parametrize(
    ("true", "answered", "kind", "message"),
    [
        (["PER"], ["O"], DataError, r"sample 's': word 0: 'PER' is no BIO tag. Expected O, B-TYPE"),
        (["O", "O"], ["O"], DataError, r"2 true tags for 1 words"),
        (["B-PER"], ["LABEL_1"], ConfigError, r"the answer of word 0: 'LABEL_1' is no BIO tag. Map the checkpoint's label names"),
    ],
)
def test_what_is_no_bio_tag_is_refused(true: list[str], answered: list[str], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        seqeval("f1").score(scored(true, answered))
