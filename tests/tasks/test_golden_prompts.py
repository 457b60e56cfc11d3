"""Prompts of the built-in tasks, fixed in tests/golden/prompts: what lm-eval 0.4.13 asks about the first row of tests/parity/rows.

The golden files were written from the harness's own task objects: one example (the next row) where the task takes any, then the question, and each
continuation behind `|`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from raybench.core.task_config import DataConfig
from raybench.core.types import Kind
from raybench.tasks.prompts import render
from raybench.tasks.registry import get_task
from raybench.tasks.task import Task

TESTS = Path(__file__).resolve().parents[1]
ROWS = {
    name: name.partition("_mc")[0]
    for name in (
        "boolq", "commonsense_qa", "hellaswag", "lambada_openai", "lambada_standard", "openbookqa", "piqa", "truthfulqa_mc1", "truthfulqa_mc2",
        "winogrande",
    )
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_the_first_prompt_is_the_harness_s(name, asked):
    task = get_task(name)
    assert isinstance(task, Task)
    splits = dict.fromkeys(("train", "validation", "test"), f"{ROWS[name]}.jsonl")
    data = {task.source.path: DataConfig(path=str(TESTS / "parity" / "rows"), splits=splits)}
    shots = 0 if name.startswith("truthfulqa") else 1

    found = asked(render(task, Kind.LOGLIKELIHOOD, shots=shots, sampler="first_n", limit=1, data=data))

    lines = [part for context, continuations in found for part in (context, *(f"|{c}" for c in continuations))]
    assert "\n".join(lines) == (TESTS / "golden" / "prompts" / f"{name}.txt").read_text(encoding="utf-8").removesuffix("\n")
