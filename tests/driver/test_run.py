"""A run in this process: its report, its directory, its exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from raybench.core.config import RunConfig
from raybench.core.config_file import parse
from raybench.core.errors import CheckpointError, RunError
from raybench.driver.run import output_of, run
from raybench.store.run_dir import RunDir
from raybench.store.verify import verify


def config(folder: Path, **changes: Any) -> RunConfig:
    base: dict[str, Any] = {"name": "r", "models": ["m"], "engine": {"kind": "fake"}, "pool": "local", "bootstrap": 0, "max_attempts": 2}
    tasks = [{"name": "quickstart/choice", "limit": 30, "shard_size": 10}]
    return parse({**base, "output": str(folder / "run"), "tasks": tasks, **changes})


def test_a_complete_run_reports_what_it_did(tmp_path: Path) -> None:
    report = run(config(tmp_path))

    assert (report.exit_code, report.problems, report.num_samples, report.num_resumed) == (0, (), 30, 0)
    assert report.path == tmp_path / "run"
    assert report.outcome.num_engines_started == 1
    assert verify(RunDir.open(report.path)) == []


def test_the_directory_holds_what_its_page_says(tmp_path: Path) -> None:
    path = run(config(tmp_path)).path

    assert {p.name for p in path.iterdir()} == {
        "manifest.json", "state.json", "lock", "events", "prompts", "predictions", "telemetry", "scores", "results.json", "efficiency.json",
    }  # fmt: skip
    manifest = RunDir.open(path).manifest()
    assert parse(manifest["config"]) == config(tmp_path)
    assert manifest["made_by"]["versions"]["raybench"]
    efficiency = json.loads((path / "efficiency.json").read_text())
    assert efficiency["pairs"]["m quickstart/choice"]["shards"] == 3


def test_several_checkpoints_pass_through_one_live_engine(tmp_path: Path) -> None:
    report = run(config(tmp_path, models=["a", "b", "c"]))

    started = [e for e in RunDir(report.path).events() if e["event"] == "engine_started"]
    assert [e["loaded"] for e in started] == ["fresh", "swap", "swap"]
    assert len({e["engine"] for e in started}) == 1


FAULTS: list[tuple[dict[str, Any], int, str]] = [
    ({"engine": {"kind": "fake", "faults": [{"kind": "raise", "times": 1}]}}, 0, ""),
    ({"engine": {"kind": "fake", "faults": [{"kind": "dead", "sample_id": "choice-001"}]}}, 3, "1 of 3 shards were given up"),
    ({"engine": {"kind": "fake", "faults": [{"kind": "raise"}]}}, 3, "3 of 3 shards were given up"),
    ({"engine": {"kind": "fake", "faults": [{"kind": "row", "sample_id": "choice-001"}]}}, 4, "1 error rows, 0 allowed (max_row_errors)"),
    ({"engine": {"kind": "fake", "faults": [{"kind": "row", "sample_id": "choice-001"}]}, "max_row_errors": 1}, 0, ""),
    ({"engine": {"kind": "fake", "faults": [{"kind": "row", "sample_id": "choice-001"}]}, "max_row_errors": 0.04}, 0, ""),
    ({"engine": {"kind": "fake", "faults": [{"kind": "row", "sample_id": "choice-001"}]}, "max_row_errors": 0.03}, 4, "0.9 allowed"),
    ({"engine": {"kind": "fake", "broken": ["b"]}, "models": ["m", "b"]}, 4, "b: checkpoint 'b': broken"),
]


@pytest.mark.parametrize(("changes", "code", "problem"), FAULTS, ids=[f"{c}-{p[:30]}" for _, c, p in FAULTS])
def test_the_exit_code_tells_how_it_ended(changes: dict[str, Any], code: int, problem: str, tmp_path: Path) -> None:
    report = run(config(tmp_path, **changes))

    assert report.exit_code == code
    assert problem in " ".join(report.problems)
    assert bool(report.problems) == bool(code)


def test_a_checkpoint_that_only_loading_shows_to_be_broken_ends_a_run_of_one_model(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="broken"):
        run(config(tmp_path, models=["b"], engine={"kind": "fake", "broken": ["b"]}))


def test_nothing_of_a_failed_model_is_in_the_results(tmp_path: Path) -> None:
    results = run(config(tmp_path, models=["m", "b"], engine={"kind": "fake", "broken": ["b"]})).results

    assert {r.model for r in results.results} == {"m"}
    assert list(results.failed_models) == ["b"]


def test_a_second_writer_is_refused_and_the_first_one_s_run_stays_where_it_is(tmp_path: Path) -> None:
    path = run(config(tmp_path)).path

    with RunDir(path).lock(started=0.0):
        for new in (False, True):
            with pytest.raises(RunError, match="in use by pid"):
                run(config(tmp_path), new=new)

    assert [p.name for p in tmp_path.iterdir()] == ["run"]
    assert run(config(tmp_path)).num_resumed == 30


def test_a_run_directory_is_set_aside_under_the_next_free_number(tmp_path: Path) -> None:
    for _ in range(3):
        (tmp_path / "run" / "events").mkdir(parents=True)
        RunDir(tmp_path / "run").move_aside()
    RunDir(tmp_path / "run").move_aside()

    assert sorted(p.name for p in tmp_path.iterdir()) == ["run.old-1", "run.old-2", "run.old-3"]


def test_a_run_lies_under_runs_unless_it_is_told_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert output_of(config(tmp_path, output="~/mine")) == str(tmp_path / "mine")
    assert output_of(config(tmp_path, output=None)) == "runs/r"
    assert output_of(config(tmp_path)) == str(tmp_path / "run")
    assert output_of(config(tmp_path, output="s3://bucket/run")) == "s3://bucket/run"


def test_prompts_are_rendered_once_for_all_models(tmp_path: Path) -> None:
    said: list[str] = []

    run(config(tmp_path, models=["a", "b", "c"]), tell=said.append)

    assert said == ["rendering the prompts of quickstart/choice", "scoring"]


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")

    with pytest.raises(RunError, match="a file is in the way"):
        run(config(tmp_path))
    assert (tmp_path / "run").read_text() == "mine"
