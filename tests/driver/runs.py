"""Runs as tests see them: started in this process or another, and read from outside, without raybench's own readers."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from raybench.cli.main import main
from raybench.core.config import RayConfig, RunConfig
from raybench.core.config_file import parse
from raybench.core.pool import Done, Event, Started
from raybench.driver.pool import LocalPool
from raybench.driver.ray_pool import RayPool

ROOT = Path(__file__).resolve().parents[2]
KEY = ("model", "task", "sample_id", "request", "repeat")


def read_rows(run: Path) -> list[dict[str, Any]]:
    """All answers of a run, from single shard files and compacted ones alike, with `model` and `task`, sorted by key."""
    rows: list[dict[str, Any]] = []
    for path in (run / "predictions").glob("*/**/[!.]*.parquet"):  # a dot begins a file that was never published
        task, model = path.relative_to(run / "predictions").with_suffix("").parts[:2]
        rows += [{"model": model, "task": task, **row} for row in pq.ParquetFile(path).read().to_pylist()]
    return sorted(rows, key=lambda row: tuple(row[name] for name in KEY))


def content_rows(run: Path) -> str:
    """sha256 of all answers of a run as canonical JSON, a row a line: equal exactly when the rows are equal, floats to the last bit."""
    lines = (json.dumps(row, sort_keys=True, separators=(",", ":"), allow_nan=False) for row in read_rows(run))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def results_of(run: Path) -> bytes:
    """results.json as it is."""
    return (run / "results.json").read_bytes()


def events_of(run: Path, kind: str | None = None, *, segment: int | None = None) -> list[dict[str, Any]]:
    """The event log in order, all kinds or one; `segment` counts the processes that wrote to the run, from 0, also from the end."""
    files = sorted((run / "events").glob("*.jsonl"))
    files = files if segment is None else [files[segment]]
    # the last line may be half written: by a process that was killed, or that is writing it now
    lines = [line for file in files for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return [event for event in map(json.loads, lines) if kind in (None, event["event"])]


def fake_config(output: Path, **changes: Any) -> RunConfig:
    """48 questions in 6 shards, answered by the fake engine in this process, and what a test wants otherwise."""
    weights = output.with_name("weights")  # the engines of tests are no fake: they ask for a checkpoint that is there
    weights.write_text("of no consequence")
    base: dict[str, Any] = {
        "name": "faked",
        "models": [{"checkpoint": str(weights), "name": "one"}],
        "tasks": [{"name": "quickstart/choice", "limit": 48, "shard_size": 8}],
        "engine": {"kind": "fake"},
        "pool": "local",
        "resources": {"cpus_per_engine": 0.1},
        "bootstrap": 50,
    }
    engine = {**base["engine"], **changes.pop("engine", {})}
    resources = {**base["resources"], **changes.pop("resources", {})}
    return parse({**base, **changes, "engine": engine, "resources": resources, "output": str(output)})


def write_config(folder: Path, config: RunConfig) -> Path:
    """The configuration as the file that a user would have."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_unset=True), sort_keys=False))
    return path


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    """`raybench ...` in a process of its own, which finds the modules of these tests."""
    return subprocess.Popen(
        [sys.executable, "-c", "from raybench.cli.main import main; main()", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Its exit code, and what it wrote to stderr."""
    _, stderr = process.communicate(timeout=200)
    return process.returncode, stderr


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    """`raybench ...` in this process; its exit code."""
    monkeypatch.setattr(sys, "argv", ["raybench", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit:
        main()
    assert isinstance(exit.value.code, int)
    return exit.value.code


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Look again and again until the condition holds, the process has ended, or two minutes are over."""
    deadline = time.monotonic() + 120
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail("what was waited for did not happen in two minutes")
        with suppress(subprocess.TimeoutExpired):
            code = process.wait(timeout=0.005)
            pytest.fail(f"it ended too early, with exit code {code}: {process.communicate()[1]}")


class PowerCutError(Exception):
    """The driver dies here."""


class PowerCut(LocalPool):
    """Ends the run, without a chance to finish what it is at, when so many answers are committed."""

    def __init__(self, num_answers: int) -> None:
        super().__init__()
        self._num_left = num_answers

    def wait(self, timeout_s: float) -> list[Event]:
        if not self._num_left:
            raise PowerCutError
        events = super().wait(timeout_s)
        self._num_left -= sum(isinstance(event, Done) for event in events)
        return events


class Together(RayPool):
    """Actors that begin to work when all of them are there, so that a fast one cannot do everything alone."""

    def __init__(self, num_engines: int, *, kill_one: bool = False) -> None:
        """With `kill_one` the first engine gets a SIGKILL when the first answer is committed: all engines are at work then."""
        super().__init__(RayConfig())
        self._num_missing = num_engines
        self._kill_one, self._has_answer = kill_one, False
        self._first_pid = 0
        self._held: list[Event] = []

    def wait(self, timeout_s: float) -> list[Event]:
        if self._has_answer and self._kill_one and self._first_pid:  # 0 would mean our own process group
            self._kill_one = False
            os.kill(self._first_pid, signal.SIGKILL)
        events = super().wait(timeout_s)
        self._has_answer |= any(isinstance(event, Done) for event in events)
        if not self._num_missing:
            return events
        self._num_missing -= sum(isinstance(event, Started) for event in events)
        self._held += events
        if self._num_missing:
            return []
        held, self._held = self._held, []
        self._first_pid = next(event.pid for event in held if isinstance(event, Started))
        return held
