"""Tries of shards: which engines run them now, how often each was tried, and how it ended. The dispatcher's books; it alone decides."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np
from numpy.typing import NDArray

from raybench.driver.actions import Shards
from raybench.driver.backlog import Backlog
from raybench.driver.fleet import Fleet, LiveEngine

TAIL_FACTOR = 2.0
"""A running shard is overdue after this many times its expected duration."""


class Tries:
    """Of every shard of a plan."""

    def __init__(self, shards: Shards, backlog: Backlog, is_done: NDArray[np.bool_], *, max_attempts: int) -> None:
        self._shards, self._queues, self._is_done = shards, backlog.queues, is_done
        self._max_attempts = max_attempts
        self._counts = np.zeros(len(is_done), np.int32)
        self.copies: dict[int, list[int]] = {}
        """Shards that run, with the engines that run them."""
        self.given_up: dict[int, str] = {}
        """Shards that will not be tried again, with the last reason."""
        self.num_open = int(len(is_done) - is_done.sum())
        """Shards that are neither done nor given up nor dropped."""

    def begin(self, engine: LiveEngine, shard: int, now: float) -> int:
        """An engine begins a shard; which try this is, from 1."""
        self._counts[shard] += 1
        if not engine.running:
            engine.since = now
        engine.running[shard] = now
        engine.attempts[shard] = int(self._counts[shard])
        engine.num_requests += int(self._shards.num_requests[shard])
        self._queues[engine.spec].num_running += 1
        self.copies.setdefault(shard, []).append(engine.number)
        return engine.attempts[shard]

    def end(self, engine: LiveEngine, shard: int) -> None:
        """A try is over, however it ended."""
        del engine.running[shard], engine.attempts[shard]
        engine.num_requests -= int(self._shards.num_requests[shard])
        self._queues[engine.spec].num_running -= 1
        copies = self.copies[shard]
        copies.remove(engine.number)
        if not copies:
            del self.copies[shard]

    def succeed(self, engine: LiveEngine, shard: int, now: float) -> int | None:
        """A try gave an answer; which one it was where it is the first of its shard, None where the answer does not count."""
        queue, attempt = self._queues[engine.spec], engine.attempts[shard]
        queue.seconds += now - engine.running[shard]
        queue.finished += float(self._shards.cost[shard])
        self.end(engine, shard)
        if self.is_settled(shard):
            return None
        self._is_done[shard] = True
        self.num_open -= 1
        return attempt

    def is_settled(self, shard: int) -> bool:
        """Whether a shard is done or given up."""
        return bool(self._is_done[shard]) or shard in self.given_up

    def count(self, shard: int) -> int:
        """How often a shard was tried."""
        return int(self._counts[shard])

    def may_be_tried(self, shard: int) -> bool:
        """Whether a further try is allowed."""
        return self.count(shard) < self._max_attempts

    def give_up(self, shards: Collection[int], reason: str) -> None:
        """Shards that are not tried again."""
        self.given_up |= dict.fromkeys(shards, reason)
        self.num_open -= len(shards)

    def drop(self, shards: Iterable[int]) -> None:
        """Shards of a model that cannot be loaded."""
        self.num_open -= sum(not self._is_done[shard] for shard in shards)

    def overdue(self, fleet: Fleet, specs: Collection[int], now: float) -> list[int]:
        """Shards of some specifications that run once and take much longer than expected, the worst first."""
        found: list[tuple[float, int]] = []
        for shard, engines in self.copies.items():
            spec = int(self._shards.spec[shard])
            if spec not in specs or len(engines) > 1 or self._is_done[shard] or not self.may_be_tried(shard):
                continue
            expected = self._queues[spec].expected_s(float(self._shards.cost[shard]))
            if expected is None:
                continue
            over = now - fleet.engines[engines[0]].running[shard] - TAIL_FACTOR * expected
            if over > 0:
                found.append((over, shard))
        return [shard for _, shard in sorted(found, reverse=True)]
