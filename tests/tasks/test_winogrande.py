"""WinoGrande: one question an option, one continuation, through the whole of a rendering."""

from __future__ import annotations

from dataclasses import replace

import pytest

from raybench.core.errors import ConfigError, DataError
from raybench.core.task_config import DataConfig
from raybench.core.types import Kind, Prompt
from raybench.tasks.prompts import render
from raybench.tasks.winogrande import TASK

ROW = {"sentence": "The lamp did not fit into the box because the _ was too tall.", "option1": "lamp", "option2": "box", "answer": "1"}


def with_prompt(write_rows, **changes):
    """The task on one row, with another prompt; and its data."""
    form = TASK.forms[Kind.LOGLIKELIHOOD]
    task = replace(TASK, forms={Kind.LOGLIKELIHOOD: replace(form, to_prompt=lambda sample: Prompt(**changes))})
    return task, {"allenai/winogrande": DataConfig(path=str(write_rows([ROW], "validation.jsonl")))}


def test_each_option_is_a_request_of_its_own(write_rows):
    data = {"allenai/winogrande": DataConfig(path=str(write_rows([ROW, ROW], "validation.jsonl")))}
    shard = next(render(TASK, Kind.LOGLIKELIHOOD, data=data).shards())

    rows = shard.requests.to_pylist()

    assert [(r["sample_id"], r["request"]) for r in rows] == [(f"validation-{i}", f"option-{k}") for i in (0, 1) for k in (0, 1)]
    assert [r["prompt"].removeprefix("The lamp did not fit into the box because the ") for r in rows[:2]] == ["lamp", "box"]
    assert all(r["continuations"] == ["was too tall."] for r in rows)
    assert shard.cost == 2 * sum(len(r["prompt"]) for r in rows[:2]) + 4 * len("was too tall.")


@pytest.mark.parametrize("changes", [{"contexts": ("a",)}, {"contexts": ("a", "b"), "continuations": ("x", "y")}])
def test_options_that_are_questions_need_two_and_one_continuation(write_rows, changes):
    task, data = with_prompt(write_rows, **{"text": "", "continuations": ("x",), **changes})
    with pytest.raises(DataError, match="Expected at least 2 contexts, one continuation"):
        next(render(task, Kind.LOGLIKELIHOOD, data=data).shards())


def test_mutual_information_has_nothing_to_compare(write_rows):
    task, data = with_prompt(write_rows, text="", contexts=("a", "b"), continuations=("x",))
    form = replace(task.forms[Kind.LOGLIKELIHOOD], has_unconditional=True)
    with pytest.raises(ConfigError, match="not acc_mutual_info"):
        next(render(replace(task, forms={Kind.LOGLIKELIHOOD: form}), Kind.LOGLIKELIHOOD, data=data).shards())
