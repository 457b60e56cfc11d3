"""`raybench run`: numbers on stdout, everything else on stderr."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from raybench.core.config_file import parse
from raybench.store.run_dir import RunDir

Call = Callable[..., Any]


def test_the_table_is_on_stdout_and_the_rest_on_stderr(config: Path, call: Call) -> None:
    said = call("run", config)

    assert said.code == 0
    assert "quickstart/choice" in said.out
    assert "exact_match" in said.out
    assert "20 samples in " in said.err
    assert said.err.rstrip().endswith("runs/small")
    assert "samples in" not in said.out


def test_json_is_the_whole_of_stdout(config: Path, call: Call) -> None:
    said = call("run", config, "--json")

    value = json.loads(said.out)
    assert {r["task"] for r in value["results"]} == {"quickstart/choice", "quickstart/arithmetic"}


def test_a_json_log_is_the_whole_of_stderr_and_names_shards(config: Path, call: Call) -> None:
    said = call("run", config, "--json-log")

    events = [json.loads(line) for line in said.err.splitlines() if not line.startswith("#")]
    assert [e["event"] for e in events][:1] + [e["event"] for e in events][-1:] == ["begin", "report"]
    assert {e["shard"] for e in events if e["event"] == "commit"} == {e["shard"] for e in events if e["event"] == "run"} != set()
    assert {"engine", "node", "attempt", "time"} <= next(e for e in events if e["event"] == "commit").keys()
    assert (events[-1]["exit_code"], events[-1]["samples"]) == (0, 20)


def test_the_same_command_again_resumes(config: Path, done: Path, call: Call) -> None:
    said = call("run", config)

    assert said.code == 0
    assert "20 samples, 20 of them from before" in said.err


def test_new_moves_the_old_run_aside(config: Path, done: Path, call: Call) -> None:
    said = call("run", config, "--new")

    assert "from before" not in said.err
    assert (done.parent / "small.old-1" / "results.json").read_bytes() == (done / "results.json").read_bytes()


def test_another_plan_is_refused_with_what_differs(config: Path, done: Path, call: Call) -> None:
    before = (done / "results.json").read_bytes()

    said = call("run", config, "--limit", "2")

    assert said.code == 2
    assert "limit: 12 -> 2\n" in said.err
    assert "--new" in said.err
    assert (done / "results.json").read_bytes() == before


def test_reuse_takes_equal_shards_over(config: Path, done: Path, call: Call) -> None:
    said = call("run", config, "--output", "more", "--reuse", done, "--set", "tasks.0.limit=16")

    assert said.code == 0
    assert "24 samples, 20 of them from before" in said.err


def test_options_make_a_configuration_and_print_it(config: Path, call: Call) -> None:
    said = call(
        "run", "--model", "org/name", "--tasks", "quickstart/choice, quickstart/prose", "--engine", "fake", "--limit", "3", "--shots", "0"
    )

    assert said.code == 0
    text = said.err.partition("# this run as a file:\n")[2].partition("\n\n")[0]
    written = parse(yaml.safe_load(text))
    assert [m.checkpoint for m in written.models] == ["org/name"]
    assert [(t.name, t.shots) for t in written.tasks] == [("quickstart/choice", 0), ("quickstart/prose", 0)]
    assert written.limit == 3
    (path,) = Path("runs").iterdir()
    assert RunDir.open(path).manifest()["config"]["engine"] == {"kind": "fake"}


@pytest.mark.parametrize("output", ["2026", "a: b", "on", "x #y", "[z]", "ü🜁"], ids=range(6))
def test_any_folder_name_can_be_given_as_output(output: str, config: Path, call: Call) -> None:
    assert call("run", config, "--output", output).code == 0
    assert (config.parent / output / "results.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give a configuration file, or --model and --tasks"),
        (["--model", "m"], "give a configuration file, or --model and --tasks"),
        (["small.yaml", "--model", "m"], "--model: only without a configuration file; use --set"),
        (["small.yaml", "--set", "sed=1"], "sed: unknown key. Did you mean 'seed'?"),
        (["small.yaml", "--limit", "0"], "limit: Input should be greater than or equal to 1"),
        (["none.yaml"], "none.yaml: cannot be read: No such file"),
        (["small.yaml", "--reuse", "nowhere"], "nowhere: this is no run directory: there is no such folder. Expected the folder"),
        (
            ["small.yaml", "--address", "10.0.0.1:6379"],
            "--address: pool is local, which joins no cluster. Add --pool ray, or leave --address out.",
        ),
        (["--model", "m", "--tasks", ",", "--engine", "fake"], "tasks: empty, expected at least one."),
        (["--model", "m", "--tasks", "gsm9k", "--engine", "fake"], "'gsm9k' is no task. Did you mean 'gsm8k'?"),
    ],
)
def test_what_is_wrong_with_the_command_is_told_with_2(arguments: list[str], message: str, config: Path, call: Call) -> None:
    said = call("run", *arguments)

    assert said.code == 2
    assert message in said.err
    assert "Traceback" not in said.err
    assert said.out == ""


def test_a_run_that_gave_up_says_what_is_left_and_ends_with_3(config: Path, call: Call) -> None:
    said = call("run", config, "--set", "engine.faults=[{kind: raise, sample_id: choice-001}]")

    assert said.code == 3
    assert "raybench: 1 of 4 shards were given up" in said.err
    assert "the same command tries them again" in said.err
    assert call("run", config).code == 0


def test_error_rows_are_shown_and_end_with_4(config: Path, call: Call) -> None:
    said = call("run", config, "--set", "engine.faults=[{kind: row, sample_id: choice-001}]")

    assert said.code == 4
    assert "1 error rows, 0 allowed (max_row_errors)" in said.err
    assert "1 of 12 samples have no answer (refused 1)" in said.out


def test_verbose_tells_what_takes_time(config: Path, call: Call) -> None:
    assert "rendering the prompts of quickstart/choice" in call("run", config, "-v").err
    assert "rendering" not in call("run", config, "--new").err


def test_samples_that_nobody_answered_are_not_told_as_done(config: Path, call: Call) -> None:
    broken = ["--set", "models=[m, b]", "--set", "engine.broken=[b]", "--set", "on_broken_checkpoint=skip"]

    said = call("run", config, *broken)

    assert said.code == 4
    assert "without the models that failed, in " in said.err
    assert "40 samples in" not in said.err
