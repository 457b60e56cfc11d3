"""Accuracies of a choice by likelihood, against lm-evaluation-harness 0.4.13 and by hand."""

from __future__ import annotations

import functools
import gzip
import importlib.util
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raybench.core.errors import ConfigError, DataError, InternalError
from raybench.core.outputs import Generation, Likelihoods
from raybench.core.protocols import Metric, Scored
from raybench.core.types import FinishReason, Prediction, Sample
from raybench.metrics.choice import ACC, ACC_BYTES, ACC_MUTUAL_INFO, ACC_NORM, MC2
from raybench.metrics.likelihood import GREEDY_ACC, TOKEN_PERPLEXITY


def row(logprobs: list[float], request: str = "", repeat: int = 0) -> Prediction:
    output = Likelihoods(logprobs=tuple(logprobs), is_greedy=(False,) * len(logprobs), num_tokens=(1,) * len(logprobs))
    return Prediction(sample_id="s", request=request, repeat=repeat, finish_reason=FinishReason.SCORED, output=output)


def scored(rows: list[Prediction], choices: tuple[str, ...], label: int | None) -> Scored:
    sample = Sample(id="s", fields={}, choices=choices, label=label)
    return Scored(sample=sample, predictions=rows, extracted=[None] * len(rows))


@pytest.mark.parametrize("name", ["arc_challenge_0shot", "arc_challenge_5shot", "arc_challenge_chat", "boolq_0shot", "rte_0shot"])
def test_each_sample_scores_as_in_lm_eval(shared: Path, name: str) -> None:
    reference = json.loads(gzip.decompress((shared / "reference" / f"{name}.json.gz").read_bytes()))

    for s in reference["samples"]:
        choices = tuple(continuation.removeprefix(" ") for _, continuation in s["arguments"])
        here = scored([row([r[0] for r in s["filtered_resps"]])], choices, int(s["target"]))
        assert ACC.score(here) == (s["acc"],), s["doc_id"]
        if "acc_norm" in s:
            assert ACC_NORM.score(here) == (s["acc_norm"],), s["doc_id"]


def test_ties_go_to_the_first_option() -> None:
    rows = [row([-2.0, -1.0, -1.0])]

    assert ACC.score(scored(rows, ("a", "b", "c"), 1)) == (1.0,)
    assert ACC.score(scored(rows, ("a", "b", "c"), 2)) == (0.0,)


@pytest.mark.parametrize("label", [None, -1, -100, 2])
def test_a_label_that_is_no_option_counts_as_wrong(label: int | None) -> None:
    here = scored([row([-1.0, -2.0])], ("a", "b"), label)

    assert ACC.score(here) == ACC_NORM.score(here) == ACC_BYTES.score(here) == (0.0,)


def test_characters_and_bytes_can_choose_differently() -> None:
    # per character: -6/2 = -3.0 and -8/3 = -2.67; per byte: -6/6 = -1.0 and -8/3 = -2.67
    here = scored([row([-6.0, -8.0])], ("北京", "abc"), 0)

    assert ACC_NORM.score(here) == (0.0,)
    assert ACC_BYTES.score(here) == (1.0,)


def test_an_empty_option_never_wins_after_normalisation() -> None:
    here = scored([row([-1.0, -8.0])], ("", "abc"), 1)

    assert ACC_NORM.score(here) == ACC_BYTES.score(here) == (1.0,)


def test_mutual_information_subtracts_the_score_without_the_question() -> None:
    # -5 - -2 = -3 and -6 - -7 = 1: the second option gains most from the question
    rows = [row([-5.0, -6.0]), row([-2.0, -7.0], request="uncond")]

    assert ACC_MUTUAL_INFO.score(scored(rows, ("a", "b"), 1)) == (1.0,)
    assert ACC.score(scored(rows, ("a", "b"), 1)) == (0.0,)


def test_an_impossible_option_gains_nothing() -> None:
    rows = [row([-math.inf, -6.0]), row([-math.inf, -1.0], request="uncond")]

    assert ACC_MUTUAL_INFO.score(scored(rows, ("a", "b"), 1)) == (1.0,)


def test_mutual_information_says_when_the_unconditional_rows_are_missing() -> None:
    with pytest.raises(ConfigError, match=r"sample 's': .* has_unconditional"):
        ACC_MUTUAL_INFO.score(scored([row([-5.0, -6.0])], ("a", "b"), 1))


def test_repeats_are_averaged_per_sample() -> None:
    rows = [row([-1.0, -2.0]), row([-2.0, -1.0], repeat=1), row([-1.0, -3.0], repeat=2)]
    uncond = [row([-1.0, -1.0], request="uncond", repeat=r) for r in range(3)]

    assert ACC.score(scored(rows, ("a", "b"), 0)) == (2 / 3,)
    assert ACC_MUTUAL_INFO.score(scored(rows + uncond, ("a", "b"), 0)) == (2 / 3,)


def test_options_that_were_not_all_scored_are_an_error() -> None:
    with pytest.raises(ConfigError, match="2 continuations were scored, but the sample has 3 choices"):
        ACC_NORM.score(scored([row([-1.0, -2.0])], ("a", "b", "c"), 0))


def test_a_generation_is_no_choice() -> None:
    text = Prediction(sample_id="s", finish_reason=FinishReason.STOP, output=Generation(text="A"))

    with pytest.raises(InternalError, match="found Generation"):
        ACC.score(scored([text], ("a", "b"), 0))


def mc2_of(logprobs: list[float], labels: list[int]) -> float:
    choices = tuple(f"answer {i}" for i in range(len(labels)))
    sample = Sample(id="s", fields={}, choices=choices, targets=tuple(c for c, label in zip(choices, labels, strict=True) if label))
    return MC2.score(Scored(sample=sample, predictions=[row(logprobs)], extracted=[None]))[0]


@given(st.lists(st.tuples(st.floats(-60, 0), st.integers(0, 1)), min_size=2, max_size=12).filter(lambda v: {1, 0} == {x for _, x in v}))
def test_the_mass_of_the_right_options_is_that_of_lm_eval(values: list[tuple[float, int]]) -> None:
    # lm-eval 0.4.13, tasks/truthfulqa/utils.py, process_results_mc2
    spec = importlib.util.find_spec("lm_eval")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("lm-eval is not installed")
    theirs = harness_mc2(str(Path(spec.submodule_search_locations[0]) / "tasks" / "truthfulqa"))
    logprobs, labels = [v for v, _ in values], [label for _, label in values]

    expected = theirs({"mc2_targets": {"labels": labels}}, [(v, False) for v in logprobs])["acc"]

    assert mc2_of(logprobs, labels) == pytest.approx(expected, rel=1e-12)


@functools.cache
def harness_mc2(folder: str) -> Callable[[dict[str, Any], list[tuple[float, bool]]], dict[str, float]]:
    """The harness's function, from its file."""
    loaded = importlib.util.spec_from_file_location("truthfulqa_utils", f"{folder}/utils.py")
    assert loaded is not None
    assert loaded.loader is not None
    module = importlib.util.module_from_spec(loaded)
    loaded.loader.exec_module(module)
    return module.process_results_mc2  # type: ignore[no-any-return]


def test_the_mass_survives_log_probabilities_whose_exponentials_are_zero() -> None:
    # the harness divides 0 by 0 here; -1000 against -1001 is e : 1
    assert mc2_of([-1000.0, -1001.0], [1, 0]) == pytest.approx(math.e / (math.e + 1))
    assert mc2_of([-math.inf, -math.inf], [1, 0]) == 0.0


@pytest.mark.parametrize("labels", [[1, 1], [0, 0]])
def test_a_mass_needs_right_and_wrong_options(labels: list[int]) -> None:
    with pytest.raises(DataError, match="needs right and wrong options"):
        mc2_of([-1.0, -2.0], labels)


def test_options_that_were_asked_one_by_one_are_compared() -> None:
    # in the order of the store: by request, then by repeat
    rows = [row([-3.0], "option-0"), row([-1.0], "option-0", 1), row([-2.0], "option-1"), row([-2.0], "option-1", 1)]

    assert ACC.score(scored(rows, ("a", "b"), 1)) == (0.5,)


@pytest.mark.parametrize("metric", [ACC_NORM, ACC_BYTES, ACC_MUTUAL_INFO, GREEDY_ACC, TOKEN_PERPLEXITY], ids=lambda m: m.name)
def test_what_compares_continuations_refuses_options_that_were_asked_one_by_one(metric: Metric) -> None:
    rows = [row([-3.0], "option-0"), row([-2.0], "option-1")]

    with pytest.raises(ConfigError, match="sample 's'"):
        metric.score(scored(rows, ("a", "b"), 1))
