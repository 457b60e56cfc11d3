"""Listing and resuming a run of 20,000 committed shards on an S3 server of this machine, which shares its core with the driver."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from raybench.core.config import RunConfig
from raybench.driver.prepare import prepare
from raybench.driver.run import committed, run
from raybench.driver.status import read_status
from raybench.store.run_dir import RunDir
from tests.bench.resume import SHARDS, dissolve
from tests.bench.workload import config, write_rows
from tests.object_store import s3_server

URI = "s3://bench/run"


def main() -> None:
    with tempfile.TemporaryDirectory() as name, s3_server() as environ:
        os.environ |= environ
        folder = Path(name)
        rows = write_rows(folder, SHARDS * 2)
        plan = config(folder, rows)
        small = RunConfig.model_validate(
            {**plan.model_dump(), "tasks": [{**plan.tasks[0].model_dump(), "shard_size": 2}], "max_attempts": 1}
        )  # fmt: skip
        local = RunDir(run(small).path)
        (task, model), *_ = local.pairs()
        dissolve(local, task, model)
        count = put_there(local.path)
        begin = time.perf_counter()
        status = read_status(URI)
        listed = time.perf_counter() - begin
        begin = time.perf_counter()
        store = RunDir.at(URI)
        with store.lock(started=0.0):
            done = committed(store, prepare(small, store, has_gpus=False).plan)
            resumed = time.perf_counter() - begin
        print(f"{len(done):,} shards in {count:,} objects: `status` {listed:.1f} s, plan and resume {resumed:.1f} s (aim: 30)")
        assert status.done == SHARDS * 2
        assert len(done) == SHARDS


def put_there(folder: Path) -> int:
    """Fill the server past its HTTP side, which would take minutes; returns the number of objects."""
    import fsspec
    from moto.s3.models import s3_backends

    fsspec.filesystem("s3").mkdir("bench")
    (backend,) = {id(b["aws"]): b["aws"] for b in s3_backends.values()}.values()
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "lock"]
    for path in files:
        backend.put_object("bench", f"run/{path.relative_to(folder).as_posix()}", path.read_bytes())
    return len(files)
