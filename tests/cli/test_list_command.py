"""`raybench list`: what there is by name, each with a line about it."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
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


def test_a_task_tells_its_forms_metrics_source_and_licence_and_a_group_its_size(call: Call) -> None:
    lines = {line.split()[0]: re.split(r"\s{2,}", line) for line in call("list", "tasks").out.splitlines()}

    assert lines["glue/qqp"][1:5] == ["classify, loglikelihood", "acc, f1", "nyu-mll/glue:qqp", "Quora terms of service"]
    assert lines["gsm8k"][1:4] == ["generate", "exact_match_gsm8k", "openai/gsm8k:main"]
    assert lines["mmlu"][1:3] == ["group of 4", "acc"]
    assert lines["glue"][1:3] == ["group of 9", "score"]


def test_names_can_be_narrowed_by_their_beginning(call: Call) -> None:
    shown = call("list", "tasks", "glue/mnli").out

    assert [line.split()[0] for line in shown.splitlines()] == ["glue/mnli", "glue/mnli_matched", "glue/mnli_mismatched"]
    refused = call("list", "tasks", "gleu")
    assert refused.code == 2
    assert "begins with 'gleu'" in refused.err
    assert "'glue'" in refused.err


def test_a_terminal_folds_the_members_of_groups() -> None:
    reader, writer = pty.openpty()
    program = [sys.executable, "-c", "from raybench.cli.main import main; main()", "list", "tasks"]
    with subprocess.Popen(program, stdout=writer) as process:
        os.close(writer)
        shown = b""
        with suppress(OSError):  # so a pseudo-terminal ends
            while part := os.read(reader, 4096):
                shown += part
    os.close(reader)

    assert process.returncode == 0
    assert b"57 subjects" in shown
    assert b"mmlu/anatomy" not in shown
    assert b"raybench list tasks glue/" in shown


def test_tasks_of_the_harness_are_listed_with_their_files_where_they_are_asked_for(call: Call) -> None:
    from lm_eval import tasks
    from lm_eval.tasks import TaskManager

    folder = Path(tasks.__file__).parent / "arc"
    its_own = TaskManager(include_path=str(folder), include_defaults=False).all_tasks
    shown = {line.split()[0]: re.split(r"\s{2,}", line.strip())[1:] for line in call("list", "tasks", "lm-eval/arc").out.splitlines()}

    assert {f"lm-eval/{name}" for name in its_own if name.startswith("arc")} <= set(shown)
    assert shown["lm-eval/arc_challenge"] == ["task", "arc/arc_challenge.yaml"]
    assert "lm-eval/" not in call("list", "tasks").out
    assert "Did you mean 'lm-eval/arc_challenge'?" in call("list", "tasks", "lm-eval/arc_chalenge").err
