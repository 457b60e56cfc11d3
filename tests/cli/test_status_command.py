"""`raybench status`: how far a run is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from raybench.store.run_dir import RunDir

Call = Callable[..., Any]


def test_every_pair_and_the_sum_are_told(done: Path, call: Call) -> None:
    said = call("status", done)

    assert said.code == 0
    lines = [line.split() for line in said.out.splitlines()]
    assert lines[0] == ["12", "of", "12", "samples", "m", "quickstart/choice"]
    assert lines[1] == ["8", "of", "8", "samples", "m", "quickstart/arithmetic"]
    assert lines[2] == ["20", "of", "20", "samples", "100.0", "%", "complete"]


def test_json_holds_the_same(done: Path, call: Call) -> None:
    value = json.loads(call("status", done, "--json").out)

    assert (value["done"], value["total"], value["state"], value["engines"]) == (20, 20, "complete", 1)
    assert [p["done"] for p in value["pairs"]] == [12, 8]


def test_a_running_run_tells_of_its_last_commit(done: Path, call: Call) -> None:
    with RunDir(done).lock(started=0.0):
        said = call("status", done)

    assert "running" in said.out
    assert "0 retries, 1 engines started" in said.out


def test_a_run_that_gave_up_is_resumable(config: Path, call: Call) -> None:
    call("run", config, "--set", "engine.faults=[{kind: raise, sample_id: choice-001}]")

    said = call("status", config.parent / "runs" / "small")

    assert "16 of 20 samples  80.0 %  stopped; the same command resumes" in said.out


def test_a_failed_model_is_named(config: Path, call: Call) -> None:
    call("run", config, "--set", "models=[m, b]", "--set", "engine.broken=[b]")

    assert "failed: b: checkpoint 'b': broken" in call("status", "runs/small").out


def test_a_folder_of_runs_names_the_runs_that_it_holds(done: Path, call: Call) -> None:
    said = call("status", done.parent)

    assert said.code == 2
    assert "runs: this is no run directory: there is no manifest.json. It holds runs: small; name one of them." in said.err


def test_a_folder_that_is_no_run_ends_with_2(config: Path, call: Call) -> None:
    said = call("status", config.parent)

    assert said.code == 2
    assert "this is no run directory" in said.err


def test_a_run_is_over_where_only_models_that_failed_have_no_answers(config: Path, call: Call) -> None:
    changed = ["--set", "models=[m, b]", "--set", "engine.broken=[b]", "--set", "on_broken_checkpoint=skip"]
    assert call("run", config, *changed).code == 4

    said = call("status", config.parent / "runs" / "small").out

    assert "20 of 40 samples  50.0 %  complete, without the models that failed\n" in said
    assert "failed: b: " in said
