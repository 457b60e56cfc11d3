"""What is still to be done, by engine specification: the longest shard first, and those that failed before once more."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from raybench.driver.actions import Shards
from raybench.driver.fleet import LiveEngine


@dataclass(slots=True)
class Queue:
    """Pending shards of one specification, and how its shards fared."""

    ordered: list[int]
    """Ascending cost: the longest is popped first."""
    again: list[tuple[int, int]] = field(default_factory=list)
    """(shard, engine that failed it)."""
    work: float = 0.0
    """Cost of all of them."""
    num_engines: int = 0
    """That hold or load this specification."""
    num_running: int = 0
    """Tries, copies included."""
    seconds: float = 0.0
    """Of finished shards."""
    finished: float = 0.0
    """Their cost."""

    def __len__(self) -> int:
        return len(self.ordered) + len(self.again)

    def expected_s(self, cost: float) -> float | None:
        """Seconds that a shard takes, by those that have finished; None before the first."""
        return self.seconds / self.finished * cost if self.finished else None


class Backlog:
    """The queues of all specifications."""

    def __init__(self, shards: Shards, is_done: NDArray[np.bool_], *, num_shapes: int) -> None:
        self._shards = shards
        order = np.lexsort((-np.arange(len(shards.cost)), shards.cost))  # equal costs in plan order
        order = order[~is_done[order]]
        specs = shards.spec[order]
        mine = [order[specs == spec] for spec in range(len(shards.spec_shape))]
        self.queues = [Queue(own.tolist(), work=float(shards.cost[own].sum())) for own in mine]
        self._specs_of = [[s for s, shape in enumerate(shards.spec_shape) if shape == x] for x in range(num_shapes)]

    def __len__(self) -> int:
        return sum(map(len, self.queues))

    def count(self, shape: int) -> int:
        """Pending shards of a shape."""
        return sum(len(self.queues[spec]) for spec in self._specs_of[shape])

    def work(self, shape: int) -> float:
        """Cost of the pending shards of a shape; more than 0 where there are any."""
        return sum(max(self.queues[spec].work, 1e-9) for spec in self._specs_of[shape] if len(self.queues[spec]))

    def pop(self, engine: LiveEngine, *, is_alone: bool) -> int | None:
        """The next shard for an engine of the specification that it holds; None where there is none for it."""
        queue = self.queues[engine.spec]
        index = self._takes_again(queue, engine, is_alone=is_alone)
        if index is not None:
            shard, _ = queue.again.pop(index)
        elif queue.ordered:
            shard = queue.ordered.pop()
        else:
            return None
        queue.work -= float(self._shards.cost[shard])
        return shard

    def put_back(self, shard: int, engine: int) -> None:
        """A shard is to be tried again, elsewhere if possible than on the engine that failed it."""
        queue = self.queues[int(self._shards.spec[shard])]
        queue.again.append((shard, engine))
        queue.work += float(self._shards.cost[shard])

    def clear(self, *, shape: int | None = None, model: int | None = None) -> list[int]:
        """Drop what is pending for a shape or a model; returns it."""
        dropped: list[int] = []
        for queue, own_shape, own_model in zip(self.queues, self._shards.spec_shape, self._shards.spec_model, strict=True):
            if own_shape == shape or own_model == model:
                dropped += [*queue.ordered, *(shard for shard, _ in queue.again)]
                queue.ordered, queue.again, queue.work = [], [], 0.0
        return dropped

    def choose(self, shape: int, *, in_order: bool, engine: LiveEngine | None = None, is_alone: bool = False) -> int | None:
        """The specification of a shape with most work left per engine; None where nothing is pending.

        Args:
            shape: Of the engine that will hold it.
            in_order: The first of the plan instead: where only one engine serves them all.
            engine: A live one: only those count of which it may take something.
            is_alone: Whether that is the only one of its shape.
        """
        best, best_key = None, 0.0
        for spec in self._specs_of[shape]:
            queue = self.queues[spec]
            if not len(queue) or (engine is not None and not queue.ordered and self._takes_again(queue, engine, is_alone=is_alone) is None):
                continue
            if in_order:
                return spec
            key = max(queue.work, 1e-9) / (queue.num_engines + 1)
            if key > best_key:
                best, best_key = spec, key
        return best

    @staticmethod
    def _takes_again(queue: Queue, engine: LiveEngine, *, is_alone: bool) -> int | None:
        """Position of a shard to be tried again that did not fail on this engine, unless it is the only one of its shape."""
        return next((i for i, (_, failed_on) in enumerate(queue.again) if is_alone or failed_on != engine.number), None)
