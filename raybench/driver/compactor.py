"""Compacts the shards of finished (model, task) pairs beside the loop."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from raybench.driver.paths import model_path, task_path
from raybench.driver.plan import Plan
from raybench.store.events import EventLog
from raybench.store.files import sha256_of
from raybench.store.run_dir import RunDir


class Compactor:
    """Reads and writes whole files in a thread, one pair at a time; waited for at the end of the `with` block.

    Scores are computed after it: beside it, both would wait for each other at Python's lock and take longer than one after the other.
    """

    def __init__(self, store: RunDir, plan: Plan, events: EventLog, *, wall: Callable[[], float] = time.time) -> None:
        self._store, self._plan, self._events, self._wall = store, plan, events, wall
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="raybench-compaction")
        self._pending: list[Future[tuple[str, str, str] | None]] = []

    def __enter__(self) -> Compactor:
        return self

    def submit(self, pair: int) -> None:
        """Compact a pair, given by its index, of which every shard is committed; nothing happens where that was done before."""
        self._pending.append(self._thread.submit(self._compact, pair))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Wait, and log what was made.

        Raises:
            DamagedShard, StorageError: when one could not be compacted; its shards stay as they are.
        """
        self._thread.shutdown(wait=True)
        if error is not None:
            return
        for future in self._pending:
            if (made := future.result()) is not None:
                task, model, sha256 = made
                self._events.append("compacted", time=self._wall(), task=task, model=model, sha256=sha256)

    def _compact(self, index: int) -> tuple[str, str, str] | None:
        """Task, model and digest of the new file; None where there is none."""
        pair = self._plan.pairs[index]
        task, model = task_path(pair.task), model_path(pair.model_name)
        if not self._store.compact(task, model, [self._plan.fingerprints[s] for s in pair.shards]):
            return None
        return task, model, sha256_of(self._store.shard_files(task, model).compacted)
