"""ARC asks exactly what lm-eval asks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from raybench.core.errors import DataError
from raybench.core.types import Kind
from raybench.tasks.arc import TASKS, to_sample
from raybench.tasks.prompts import render
from raybench.tasks.task import Fewshot

CHALLENGE = next(t for t in TASKS if t.name == "arc_challenge")


@pytest.mark.parametrize(("name", "shots"), [("arc_challenge_0shot", 0), ("arc_challenge_5shot", 5)])
def test_contexts_and_continuations_equal_those_of_the_harness(name, shots, data, reference, asked):
    expected = reference(name)
    # the reference draws its examples from the test split, since it has no other
    task = replace(CHALLENGE, fewshot=Fewshot(sampler="first_n"))

    found = asked(render(task, Kind.LOGLIKELIHOOD, shots=shots, limit=len(expected), data=data))

    assert [[[context, c] for c in continuations] for context, continuations in found] == [s["arguments"] for s in expected]


def test_the_right_options_are_those_of_the_harness(data, reference):
    expected = reference("arc_challenge_0shot")
    shard = next(render(CHALLENGE, Kind.LOGLIKELIHOOD, limit=len(expected), data=data).shards())
    assert shard.samples["label"].to_pylist() == [int(s["target"]) for s in expected]


def test_numbered_options_are_understood():
    # a few questions of ARC name their options 1 to 4
    row = {"question": "q", "choices": {"text": ["a", "b", "c", "d"], "label": ["1", "2", "3", "4"]}, "answerKey": "3"}
    assert to_sample(row, "test-0").label == 2


def test_examples_need_a_train_split(data):
    with pytest.raises(DataError, match="no file for split 'train'"):
        render(CHALLENGE, Kind.LOGLIKELIHOOD, shots=5, data=data)
