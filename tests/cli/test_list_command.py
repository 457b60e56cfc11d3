"""`raybench list`: what there is by name, each with a line about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from raybench.engines.registry import TABLE
from raybench.metrics.registry import metric_names
from raybench.tasks.extract import extractor_names
from raybench.tasks.registry import task_names

Call = Callable[..., Any]


@pytest.mark.parametrize(
    ("what", "names"), [("tasks", task_names()), ("engines", tuple(TABLE)), ("metrics", metric_names()), ("extractors", extractor_names())]
)
def test_every_name_is_listed_once(what: str, names: tuple[str, ...], call: Call) -> None:
    said = call("list", what)

    assert said.code == 0
    assert tuple(line.split()[0] for line in said.out.splitlines()) == names


@pytest.mark.parametrize("what", ["tasks", "engines", "metrics", "extractors"])
def test_every_name_has_a_line_about_it(what: str, call: Call) -> None:
    silent = [line for line in call("list", what).out.splitlines() if len(line.split()) < 3]

    assert silent == []


def test_a_task_tells_its_forms_and_a_group_its_size(call: Call) -> None:
    lines = {line.split()[0]: line for line in call("list", "tasks").out.splitlines()}

    assert lines["gsm8k"].endswith("(generate)")
    assert "group of 4: 57 subjects" in lines["mmlu"]
