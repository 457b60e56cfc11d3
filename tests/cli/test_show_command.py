"""`raybench show`: prompts as a model would see them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Call = Callable[..., Any]


def test_a_choice_shows_the_question_the_options_and_the_right_one(config: Path, call: Call) -> None:
    said = call("show", config, "--task", "quickstart/choice")

    assert said.code == 0
    assert "── m  quickstart/choice  choice-001" in said.out
    assert "Question: Which word means the opposite of 'generous'?" in said.out
    (right,) = [line for line in said.out.splitlines() if line.lstrip().startswith("option") and "=" in line]
    assert "Stingy" in right


def test_json_is_one_object_a_sample_of_every_task(config: Path, call: Call) -> None:
    rows = [json.loads(line) for line in call("show", config, "-n", "2", "--json").out.splitlines()]

    assert [(row["task"], row["sample"]["id"]) for row in rows] == [
        ("quickstart/choice", "choice-001"),
        ("quickstart/choice", "choice-002"),
        ("quickstart/arithmetic", "arith-001"),
        ("quickstart/arithmetic", "arith-002"),
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "quickstart/chioce"], "small: no task 'quickstart/chioce'. Did you mean 'quickstart/choice'?"),
        (["--only", "n"], "small: no model 'n'. There is: m."),
    ],
)
def test_a_task_or_model_that_is_not_there_is_told_with_2(arguments: list[str], message: str, config: Path, call: Call) -> None:
    said = call("show", config, *arguments)

    assert said.code == 2
    assert message in said.err


@pytest.mark.parametrize("option", ["--limit", "--pool", "--address", "--output"])
def test_an_option_that_only_a_run_can_honour_is_refused(option: str, config: Path, call: Call) -> None:
    said = call("show", config, option, "1")

    assert said.code == 2
    assert f"No such option '{option}'" in said.err
    assert said.out == ""


def test_models_and_tasks_may_stand_in_place_of_a_file(config: Path, call: Call) -> None:
    said = call("show", "--model", "m", "--tasks", "quickstart/arithmetic", "--shots", "1", "--engine", "fake", "--set", "seed=1")

    assert said.code == 0
    assert "── m  quickstart/arithmetic  arith-001" in said.out
