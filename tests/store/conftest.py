"""Fixtures of the store: a run directory, and batches that look like those of engines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from raybench.core.outputs import Generation, Likelihoods
from raybench.core.schema import to_batch
from raybench.core.types import ErrorCode, FinishReason, Kind, Prediction
from raybench.store.run_dir import RunDir
from raybench.store.shard_mark import ShardMark

MakeBatch = Callable[..., pa.RecordBatch]


def make_batch(start: int, stop: int, *, kind: Kind = Kind.GENERATE, salt: str = "") -> pa.RecordBatch:
    """Rows of the samples [start, stop); the seventh of every ten is an error row."""
    return to_batch([_row(i, kind, salt) for i in range(start, stop)], kind)


def _row(index: int, kind: Kind, salt: str) -> Prediction:
    if index % 10 == 7:
        return Prediction(
            sample_id=f"test-{index}", finish_reason=FinishReason.ERROR, error_code=ErrorCode.OVERLONG, error_message="too long"
        )
    if kind is Kind.GENERATE:
        output: Generation | Likelihoods = Generation(text=f"{salt}The answer is {index}.")
        reason = FinishReason.STOP
    else:
        output = Likelihoods(logprobs=(-0.5 * index, -1.25), is_greedy=(True, False), num_tokens=(1, 3))
        reason = FinishReason.SCORED
    return Prediction(sample_id=f"test-{index}", finish_reason=reason, num_prompt_tokens=80 + index, output=output)


def commit_shards(run: RunDir, task: str, model: str, *, num_shards: int, size: int = 8, kind: Kind = Kind.GENERATE) -> list[str]:
    """Commit the shards of a (task, model); their fingerprints in plan order."""
    names = [f"{k:032x}" for k in range(num_shards)]
    for k, name in enumerate(names):
        batch = make_batch(k * size, (k + 1) * size, kind=kind)
        run.commit(task, model, batch, ShardMark.of(batch, fingerprint=name, start=k * size, stop=(k + 1) * size))
    return names


@pytest.fixture(name="make_batch")
def _make_batch() -> MakeBatch:
    return make_batch


@pytest.fixture(name="commit_shards")
def _commit_shards() -> Callable[..., list[str]]:
    return commit_shards


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunDir]:
    """A run directory with a manifest, locked."""
    run = RunDir(tmp_path / "run")
    run.create()
    run.write_manifest({"name": "test"})
    with run.lock(started=0.0):
        yield run
