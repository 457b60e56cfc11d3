"""GSM8K asks exactly what lm-eval asks, and reads the same answers."""

from __future__ import annotations

from dataclasses import replace

from raybench.core.types import Kind
from raybench.tasks.gsm8k import TASK
from raybench.tasks.prompts import render
from raybench.tasks.task import Fewshot

FORM = TASK.forms[Kind.GENERATE]
FILTERS = {"strict-match": "strict", "flexible-extract": "flexible"}


def test_contexts_and_stops_equal_those_of_the_harness(data, reference, asked):
    expected = [s for s in reference("gsm8k_2shot") if s["filter"] == "strict-match"]
    task = replace(TASK, fewshot=Fewshot(sampler="first_n"))

    found = asked(render(task, Kind.GENERATE, shots=2, limit=len(expected), data=data))

    assert [context for context, _ in found] == [s["arguments"][0][0] for s in expected]
    assert all(s["arguments"][0][1]["until"] == list(FORM.sampling.stop) for s in expected)


def test_filters_extract_what_those_of_the_harness_extract(reference):
    for sample in reference("gsm8k_2shot"):
        found = FORM.extract[FILTERS[sample["filter"]]](sample["resps"][0][0])
        assert (found or "[invalid]") == sample["filtered_resps"][0]


def test_targets_are_those_of_the_harness(data, reference):
    expected = [s["target"] for s in reference("gsm8k_2shot") if s["filter"] == "strict-match"]
    shard = next(render(TASK, Kind.GENERATE, shots=0, limit=len(expected), data=data).shards())
    assert shard.samples["targets"].to_pylist() == [[t] for t in expected]
