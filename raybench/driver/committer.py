"""Shards on their way to the disk: checked and written in threads, since the disk is waited for, and told of when they are there."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa

from raybench.core.errors import InternalError
from raybench.core.pool import Done
from raybench.core.schema import keys_of
from raybench.core.types import Asking
from raybench.driver.paths import model_path, task_path
from raybench.driver.plan import Plan
from raybench.store.run_dir import RunDir
from raybench.store.shard_files import Committed
from raybench.store.shard_mark import ShardMark

MAX_COMMITS = 16
"""Shards on their way at most: bounds what a kill can lose and what memory holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Landed:
    """A shard that is on the disk."""

    result: Done
    attempt: int
    committed: Committed


class Committer:
    """Publishes shards in the order they come; as many at once as the run's home has use for."""

    def __init__(self, store: RunDir, plan: Plan) -> None:
        self._store, self._plan = store, plan
        self._threads = ThreadPoolExecutor(store.home.num_writers, thread_name_prefix="raybench-commit")
        self._under_way: deque[tuple[Done, int, Future[Committed]]] = deque()

    def submit(self, result: Done, requests: pa.RecordBatch, attempt: int) -> None:
        """Begin to publish an answer to `requests`."""
        self._under_way.append((result, attempt, self._threads.submit(self._publish, result, requests, attempt)))

    def landed(self, *, leave: int = MAX_COMMITS) -> Iterator[Landed]:
        """What is on the disk since the last look; waits until at most `leave` are under way.

        Raises:
            StorageError: when the disk refused one.
            InternalError: when rows were not those that were asked for.
        """
        while self._under_way and (len(self._under_way) > leave or self._under_way[0][2].done()):
            result, attempt, future = self._under_way.popleft()
            yield Landed(result=result, attempt=attempt, committed=future.result())

    def close(self) -> Iterator[Landed]:
        """End the threads; when an error ends the loop, what reached the disk by then is told all the same."""
        self._threads.shutdown(wait=True)
        while self._under_way:
            result, attempt, future = self._under_way.popleft()
            if future.exception() is None:
                yield Landed(result=result, attempt=attempt, committed=future.result())

    def _publish(self, result: Done, requests: pa.RecordBatch, attempt: int) -> Committed:
        shard = result.shard
        pair = self._plan.pairs[self._plan.shard_pair[shard]]
        check_keys(result.batch, requests, pair.asking, shard)
        mark = ShardMark.of(
            result.batch,
            fingerprint=self._plan.fingerprints[shard],
            start=int(self._plan.shard_start[shard]),
            stop=int(self._plan.shard_stop[shard]),
            attempt=attempt,
            batch_tokens=result.measured.batch_tokens,
            is_budget_halved=result.measured.is_budget_halved,
            numerics=dict(result.measured.numerics),
        )
        return self._store.commit(task_path(pair.task), model_path(pair.model_name), result.batch, mark, is_fresh=True)


def check_keys(batch: pa.RecordBatch, requests: pa.RecordBatch, asking: Asking, shard: int) -> None:
    """The rows that came back are exactly those that were asked for, in order.

    Raises:
        InternalError: otherwise; nothing of the shard is written.
    """
    expected = keys_of(requests, asking.num_repeats)
    found = tuple(batch.column(name) for name in ("sample_id", "request", "repeat"))
    if not all(a.equals(b) for a, b in zip(expected, found, strict=True)):
        raise InternalError(
            f"shard {shard}: {batch.num_rows} rows came back whose keys are not the {len(expected[0])} that were asked for."
        )
