"""`raybench plan`: what a run would do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Call = Callable[..., Any]


def test_pairs_and_engines_are_told_and_nothing_is_done(config: Path, call: Call) -> None:
    said = call("plan", config)

    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[0].split() == ["model", "task", "form", "samples", "requests", "shards", "characters", "engine"]
    assert lines[1].split()[:6] == ["m", "quickstart/choice", "loglikelihood", "12", "12", "3"]
    assert "20 samples in 4 shards, 0 of them done, into runs/small" in said.out
    assert "engines: one, in this process; each takes CPU 2; checkpoints: 1" in said.out
    assert [p.name for p in config.parent.iterdir()] == ["small.yaml"]


def test_what_is_done_already_is_counted(config: Path, done: Path, call: Call) -> None:
    assert "4 of them done" in call("plan", config).out


def test_engines_on_a_cluster_are_told_by_their_demand(config: Path, call: Call) -> None:
    said = call("plan", config, "--pool", "ray", "--set", "resources.engines=3", "--set", "resources.memory_gb=1")

    assert "engines: 3; each takes CPU 2, memory 1e+09; checkpoints: 1" in said.out


def test_json_holds_the_pairs_and_the_fingerprint(config: Path, call: Call) -> None:
    value = json.loads(call("plan", config, "--json").out)

    assert [p["task"] for p in value["pairs"]] == ["quickstart/choice", "quickstart/arithmetic"]
    assert len(value["fingerprint"]) == 32


def test_the_numbers_of_json_are_those_of_the_table(config: Path, call: Call) -> None:
    value = json.loads(call("plan", config, "--json").out)

    assert [(p["model"], p["samples"], p["shards"]) for p in value["pairs"]] == [("m", 12, 3), ("m", 8, 1)]
    assert value["pairs"][0]["identity"]["checkpoint"] == "fake:m"


def test_a_broken_checkpoint_among_others_is_told(config: Path, call: Call, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    said = call("plan", config, "--set", f"models=[m, {tmp_path / 'empty'}]", "--set", "engine.kind=fake")

    assert said.code == 0
    assert "failed: empty: " in said.err
    assert "config.json is missing" in said.err


@pytest.mark.parametrize("setting", ["tasks.0.shots=500", "tasks.0.metrics=[exact_match]", "tasks.0.form=generate"])
def test_what_cannot_work_ends_with_2(setting: str, config: Path, call: Call) -> None:
    said = call("plan", config, "--set", setting)

    assert said.code == 2
    assert "quickstart/choice" in said.err
    assert said.out == ""
