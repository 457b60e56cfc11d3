"""`raybench recheck`: the noise floor, printed and kept for the report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

Call = Callable[..., Any]


def test_what_was_found_is_printed_and_stands_in_the_report_from_then_on(tiny_llama: Path, tmp_path: Path, call: Call) -> None:
    config = {
        "name": "noisy",
        "models": [{"checkpoint": str(tiny_llama), "name": "tiny", "chat_template": "none"}],
        "tasks": [{"name": "quickstart/choice", "limit": 12, "shots": 0}],
        "engine": {"kind": "pytorch", "dtype": "bfloat16", "device": "cpu", "threads": 1},
        "bootstrap": 0,
        "output": str(tmp_path / "run"),
    }
    (tmp_path / "noisy.yaml").write_text(yaml.safe_dump(config))
    assert call("run", tmp_path / "noisy.yaml").code == 0
    before = call("report", tmp_path / "run").out

    said = call("recheck", tmp_path / "run", "--sample", "6")

    assert said.code == 0
    assert "tiny, quickstart/choice: noise floor from 6 samples again (pytorch float32): " in said.out
    assert "of 6 decisions flipped" in said.out
    assert "noise floor" not in before
    report = call("report", tmp_path / "run", "--format", "markdown").out
    assert "noise floor from 6 samples again" in report
    assert "sampling error of the run ±" in report
    as_json = json.loads(call("report", tmp_path / "run", "--format", "json").out)
    assert len(as_json["recheck"]["rechecks"][0]["samples"]) == 6
    assert json.loads(call("recheck", tmp_path / "run", "--sample", "2", "--json").out)["rechecks"][0]["task"] == "quickstart/choice"


def test_a_folder_that_is_no_run_ends_with_2(tmp_path: Path, call: Call) -> None:
    assert call("recheck", tmp_path).code == 2
