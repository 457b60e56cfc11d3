"""Listing and resuming a run of 20,000 committed shards."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from raybench.core.config import RunConfig
from raybench.driver.prepare import prepare
from raybench.driver.run import committed, run
from raybench.driver.status import read_status
from raybench.store.run_dir import RunDir
from raybench.store.shard_mark import ShardMark
from tests.bench.workload import config, write_rows

SHARDS = 20_000


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = write_rows(folder, SHARDS * 2)
        plan = config(folder, rows)
        small = RunConfig.model_validate(
            {**plan.model_dump(), "tasks": [{**plan.tasks[0].model_dump(), "shard_size": 2}], "max_attempts": 1}
        )  # fmt: skip
        report = run(small)
        store = RunDir(report.path)
        (task, model), *_ = store.pairs()
        dissolve(store, task, model)
        begin = time.perf_counter()
        status = read_status(report.path)
        listed = time.perf_counter() - begin
        begin = time.perf_counter()
        prepared = prepare(small, store, has_gpus=False)
        planned = time.perf_counter() - begin
        done = committed(store, prepared.plan)
        resumed = time.perf_counter() - begin
        print(
            f"{len(done):,} shard files: `status` {listed:.1f} s, plan and resume {resumed:.1f} s ({planned:.1f} s of it planning) (aim: 5)"
        )
        assert status.done == SHARDS * 2
        assert len(done) == SHARDS


def dissolve(store: RunDir, task: str, model: str) -> None:
    """Put the shards of a compacted file back into files of their own, as before the end of a run."""
    files = store.shard_files(task, model)
    marks: list[ShardMark] = [info.mark for info in files.scan().shards.values()]
    for mark, batch in zip(marks, files.iterate([m.fingerprint for m in marks]), strict=True):
        files.restore(batch, mark)
    files.compacted.unlink()
