"""Whole runs with vLLM: its process dies in the middle; equal rows on one engine and on two where that was asked for."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from raybench.core.config import RunConfig
from raybench.core.pool import Done, Event
from raybench.driver.pool import LocalPool
from raybench.driver.run import run
from tests.driver.runs import Together, content_rows, events_of, fake_config, read_rows

pytestmark = [pytest.mark.vllm, pytest.mark.slow]


def vllm_config(output: Path, checkpoint: Path, **engine: Any) -> RunConfig:
    """96 questions in 12 shards, options and answers."""
    options = {"kind": "vllm", "max_length": 512, "threads": 1, "kv_cache_memory_bytes": 1 << 28, **engine}
    base = fake_config(
        output,
        tasks=[
            {"name": "quickstart/choice", "limit": 48, "shard_size": 8, "shots": 0},
            {"name": "quickstart/arithmetic", "limit": 48, "shard_size": 8, "shots": 0, "sampling": {"temperature": 0.8, "max_tokens": 12}},
        ],
        models=[{"checkpoint": str(checkpoint), "name": "one", "chat_template": "none"}],
    )
    return base.model_copy(update={"engine": options})


class CoreKiller(LocalPool):
    """Sends SIGKILL to vLLM's engine process when the first answer has come: others are at work then."""

    def __init__(self) -> None:
        super().__init__()
        self.killed: int | None = None
        self.others = self._cores()  # of engines that other tests keep

    @staticmethod
    def _cores() -> set[int]:
        import psutil

        return {p.pid for p in psutil.Process().children() if "EngineCore" in " ".join(p.cmdline()) or "EngineCor" in p.name()}

    def wait(self, timeout_s: float) -> list[Event]:
        events = super().wait(timeout_s)
        if self.killed is None and any(isinstance(e, Done) for e in events):
            (self.killed,) = self._cores() - self.others
            os.kill(self.killed, signal.SIGKILL)
        return events


def test_a_killed_engine_process_costs_no_row_and_doubles_none(wide_llama: Path, tmp_path: Path) -> None:
    pool = CoreKiller()

    report = run(vllm_config(tmp_path / "run", wide_llama), pool=pool)

    assert pool.killed is not None
    assert (report.exit_code, report.outcome.num_engines_started) == (0, 2)
    keys = [(r["task"], r["sample_id"], r["request"], r["repeat"]) for r in read_rows(tmp_path / "run")]
    assert len(keys) == len(set(keys)) == 96
    (lost,) = events_of(tmp_path / "run", "engine_lost")
    assert "its process ended" in lost["message"]
    assert "The end of its log" in lost["message"]
    commits = [e["fingerprint"] for e in events_of(tmp_path / "run", "commit")]
    assert len(commits) == len(set(commits)) == 12


@pytest.mark.ray
@pytest.mark.xdist_group("ray")
def test_deterministic_runs_have_equal_rows_on_one_engine_and_on_two_of_which_one_is_killed(wide_llama: Path, tmp_path: Path) -> None:
    one = vllm_config(tmp_path / "one", wide_llama, deterministic=True)
    two = vllm_config(tmp_path / "two", wide_llama, deterministic=True)
    two = two.model_copy(update={"resources": two.resources.model_copy(update={"engines": 2})})

    alone = run(one)
    pool = Together(2, kill_one=True)
    shared = run(two, pool=pool)

    assert (alone.exit_code, shared.exit_code) == (0, 0)
    assert shared.outcome.num_engines_started >= 2
    assert content_rows(tmp_path / "one") == content_rows(tmp_path / "two")
    assert "|dtype:fp32|attn:CPU_ATTN|invariant:no|" in alone.results.results[0].signature
    assert "|repro:exact|" in alone.results.results[0].signature
