"""`raybench report`: numbers of one or several runs in five formats."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raybench.report import FORMATS

Call = Callable[..., Any]


def test_the_table_is_the_one_the_run_printed(config: Path, call: Call) -> None:
    printed = call("run", config).out

    assert call("report", "runs/small").out == printed


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_names_task_and_metric(form: str, done: Path, call: Call) -> None:
    said = call("report", done, "--format", form)

    assert said.code == 0
    assert "quickstart/arithmetic" in said.out
    assert "exact" in said.out
    assert "\x1b" not in said.out  # stdout is no terminal


def test_a_machine_reads_csv_and_json(done: Path, call: Call) -> None:
    value = json.loads(call("report", done, "--format", "json").out)
    rows = list(csv.DictReader(io.StringIO(call("report", done, "--format", "csv").out)))

    assert len(value["results"]) == len(rows) == 3
    assert [float(r["value"]) for r in rows] == [r["value"] for r in value["results"]]


def test_several_runs_stand_side_by_side(config: Path, done: Path, call: Call) -> None:
    assert call("run", config, "--set", "models=[other]", "--output", "runs/second").code == 0

    said = call("report", done, "runs/second", "--format", "markdown")

    head = next(line for line in said.out.splitlines() if line.startswith("|"))
    assert "m" in head.split(" | ") or " m " in head
    assert "other" in head


def test_models_stand_in_the_order_of_the_configuration_also_those_that_failed(config: Path, call: Call, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    printed = call("run", config, "--set", f"models=[{{name: z, checkpoint: z}}, {tmp_path / 'empty'}, a]").out

    reported = call("report", "runs/small")

    head, *_ = (line for line in printed.splitlines() if "Metric" in line)
    assert head.index(" z") < head.index(" empty") < head.index(" a")
    assert (reported.code, reported.out) == (0, printed)


def test_a_limited_run_is_called_partial(done: Path, call: Call) -> None:
    assert "PARTIAL" in call("report", done).out


def test_a_run_without_results_ends_with_2(config: Path, done: Path, call: Call) -> None:
    (done / "results.json").unlink()

    said = call("report", done)

    assert said.code == 2
    assert "results.json" in said.err


def test_no_run_at_all_is_a_mistake(call: Call) -> None:
    assert call("report").code == 2
