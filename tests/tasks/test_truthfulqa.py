"""TruthfulQA: which answers are the true ones."""

from __future__ import annotations

import pytest

from raybench.core.errors import DataError
from raybench.core.task_config import DataConfig
from raybench.core.types import Kind
from raybench.tasks.prompts import render
from raybench.tasks.registry import get_task
from raybench.tasks.truthfulqa import mc1_sample, mc2_sample

ROW = {
    "question": "Why is the sky blue?",
    "mc1_targets": {"choices": ["Air scatters blue light", "It mirrors the sea"], "labels": [1, 0]},
    "mc2_targets": {"choices": ["It mirrors the sea", "Air scatters blue light", "Short waves scatter more"], "labels": [0, 1, 1]},
}


def test_mc1_has_one_true_answer_and_mc2_several():
    assert mc1_sample(ROW, "validation-0").label == 0
    assert mc2_sample(ROW, "validation-0").targets == ("Air scatters blue light", "Short waves scatter more")


def test_there_are_no_examples_but_the_six_before_every_question(write_rows):
    data = {"truthfulqa/truthful_qa": DataConfig(path=str(write_rows([ROW, {**ROW, "question": "Why?"}], "validation.jsonl")))}
    with pytest.raises(DataError, match="has no answer to show"):
        next(render(get_task("truthfulqa_mc2"), Kind.LOGLIKELIHOOD, shots=1, data=data).shards())
