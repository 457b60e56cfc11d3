"""The quickstart tasks work from the installed package alone; their prompts are fixed in tests/golden/prompts."""

from __future__ import annotations

from pathlib import Path

import pytest

from raybench.tasks.prompts import render
from raybench.tasks.quickstart import TASKS

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "prompts"


@pytest.mark.parametrize("task", TASKS, ids=lambda t: t.name)
def test_the_first_prompt_is_the_golden_one(task, asked):
    context, continuations = asked(render(task, next(iter(task.forms)), limit=1))[0]
    golden = (GOLDEN / f"{task.name.replace('/', '-')}.txt").read_text(encoding="utf-8")
    assert "\n".join([context, *(f"|{c}" for c in continuations)]) == golden.removesuffix("\n")


# sizes from raybench/tasks/data/README.md
@pytest.mark.parametrize(("index", "size"), [(0, 160), (1, 120), (2, 60)])
def test_every_row_of_the_data_can_be_asked(index, size):
    task = TASKS[index]
    assert sum(s.samples.num_rows for s in render(task, next(iter(task.forms))).shards()) == size


def test_the_solutions_end_in_the_number_that_the_extractor_finds():
    task = TASKS[1]
    form = next(iter(task.forms.values()))
    for shard in render(task, next(iter(task.forms)), shots=0).shards():
        for row in shard.samples.to_pylist():
            import json

            assert form.extract[""](json.loads(row["fields"])["solution"]) == row["targets"][0]
