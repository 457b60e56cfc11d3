"""How far a run is, read from its directory while nobody or somebody writes to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raybench.core.config import RunConfig
from raybench.core.config_file import parse
from raybench.core.errors import RunError
from raybench.driver.run import run
from raybench.driver.status import read_status
from raybench.store.run_dir import RunDir


def config(folder: Path, **changes: Any) -> RunConfig:
    base: dict[str, Any] = {"name": "s", "models": ["m"], "engine": {"kind": "fake"}, "pool": "local", "bootstrap": 0, "max_attempts": 2}
    tasks = [{"name": "quickstart/choice", "limit": 30, "shard_size": 10}, {"name": "quickstart/prose", "limit": 5}]
    return parse({**base, "output": str(folder / "run"), "tasks": tasks, **changes})


def test_a_complete_run_is_complete(tmp_path: Path) -> None:
    status = read_status(run(config(tmp_path)).path)

    assert [(p.model, p.task, p.done, p.total) for p in status.pairs] == [
        ("m", "quickstart/choice", 30, 30),
        ("m", "quickstart/prose", 5, 5),
    ]
    assert (status.done, status.total, status.state, status.retries, status.engines) == (35, 35, "complete", 0, 1)
    assert status.last_commit is not None
    assert status.failed_models == {}
    assert status.to_json()["done"] == 35


def test_a_run_with_a_shard_that_fails_stopped_before_its_end(tmp_path: Path) -> None:
    faults = [{"sample_id": "choice-011", "kind": "raise"}]

    status = read_status(run(config(tmp_path, engine={"kind": "fake", "faults": faults})).path)

    assert (status.done, status.total) == (25, 35)
    assert status.state == "stopped; the same command resumes"
    assert status.retries == 1


def test_a_run_that_is_written_to_is_running(tmp_path: Path) -> None:
    path = run(config(tmp_path)).path

    with RunDir(path).lock(started=0.0):
        assert read_status(path).state == "running"
    assert read_status(path).state == "complete"


def test_looking_from_inside_a_run_shows_how_far_it_is(tmp_path: Path) -> None:
    seen: list[tuple[int, str]] = []

    class Look:
        def __enter__(self) -> Look:
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def update(self, **counts: Any) -> None:
            status = read_status(tmp_path / "run")
            seen.append((status.done, status.state))

        def note(self, text: str) -> None:
            pass

    run(config(tmp_path), watch=lambda total, done: Look())

    assert {state for _, state in seen} == {"running"}
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == 35


def test_a_failed_model_is_named_with_its_reason(tmp_path: Path) -> None:
    broken = {"kind": "fake", "broken": ["b"]}

    status = read_status(run(config(tmp_path, models=["m", "b"], engine=broken)).path)

    assert list(status.failed_models) == ["b"]
    assert "broken" in status.failed_models["b"]


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="this is no run directory"):
        read_status(tmp_path)
