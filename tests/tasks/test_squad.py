"""SQuAD 1.1 and 2.0 on real rows; prompts against those of lm-eval 0.4.13 (tasks/squadv2/task.py)."""

from __future__ import annotations

import pytest

from raybench.core.types import Kind
from raybench.tasks.prompts import render
from raybench.tasks.registry import get_task
from raybench.tasks.squad import answer_or_none
from raybench.tasks.task import Task

NUM_ROWS = {"squad": 1190, "squad_v2": 6078}
"""Of the copies; see their README."""


def task(name: str) -> Task:
    found = get_task(name)
    assert isinstance(found, Task)
    return found


@pytest.mark.parametrize("name", NUM_ROWS)
def test_a_reader_gets_every_question_with_its_paragraph(name, data):
    shards = list(render(task(name), Kind.SPAN, data=data).shards())

    samples = [row for shard in shards for row in shard.samples.to_pylist()]
    requests = [row for shard in shards for row in shard.requests.to_pylist()]
    assert len(samples) == len(requests) == NUM_ROWS[name]
    assert all(any(t in r["pair"] for t in s["targets"]) for s, r in zip(samples, requests, strict=True) if s["targets"])
    assert sum(not s["targets"] for s in samples) == (3168 if name == "squad_v2" else 0)  # those without an answer
    assert 1 < len({s["cluster"] for s in samples}) < len(samples) / 4


@pytest.mark.parametrize("name", NUM_ROWS)
def test_prompts_and_answers_are_those_of_lm_eval(name, data):
    from lm_eval.tasks.squadv2.task import SQuAD2

    from raybench.tasks.ask import samples
    from raybench.tasks.source import resolve
    from raybench.tasks.squad import to_prompt

    found = [s for _, s in samples(task(name), resolve(task(name).source, data), "validation")]

    for sample in found:
        prompt = to_prompt(sample)
        assert prompt.text == SQuAD2.doc_to_text(None, sample.fields)
        assert f" {prompt.answer}" == SQuAD2.doc_to_target(None, sample.fields)


@pytest.mark.parametrize(
    ("text", "expected"), [(" Paris", "Paris"), (" unanswerable", ""), ("Unanswerable.", ""), ("", ""), ("unanswerable questions", "unanswerable questions")]
)  # fmt: skip
def test_the_word_for_no_answer_is_read_as_none(text, expected):
    assert answer_or_none(text) == expected
