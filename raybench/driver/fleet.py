"""Which engine processes there are, what they occupy, and whether more may start. The dispatcher's books; it alone decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from raybench.core.errors import ConfigError
from raybench.driver.actions import Shape


@dataclass(slots=True)
class LiveEngine:
    """An engine process that starts, loads or lives."""

    number: int
    shape: int
    spec: int
    """Whose checkpoint it holds or loads."""
    is_ready: bool = False
    concurrency: int = 1
    slots: int = 0
    num_requests: int = 0
    """Of the shards that run."""
    since: float = 0.0
    """Of the last sign of life."""
    running: dict[int, float] = field(default_factory=dict)
    """Shard to when it began."""
    attempts: dict[int, int] = field(default_factory=dict)
    """Shard to which try this is."""
    is_leaving: bool = False
    """It ends what it runs; its place is free for another already."""


class Fleet:
    """Engines by number, and the counts of each shape."""

    def __init__(self, shapes: Sequence[Shape], capacity: Mapping[str, float], *, max_attempts: int) -> None:
        """Begin without engines.

        Raises:
            ConfigError: when an engine of a shape asks for more than there is.
        """
        for shape in shapes:
            short = [
                f"{name}: {amount:g} of {capacity.get(name, 0.0):g}"
                for name, amount in shape.demand.items()
                if amount > capacity.get(name, 0.0) + 1e-9
            ]
            if short:
                raise ConfigError(
                    f"an engine can never be placed: it asks for {', '.join(short)}. Lower `resources`, or join a larger cluster."
                )
        self._shapes, self._max_attempts = shapes, max_attempts
        self._free, self._capacity = dict(capacity), dict(capacity)
        self.engines: dict[int, LiveEngine] = {}
        self._next = 0
        self.counts = [0] * len(shapes)
        """Engines of each shape, without those that leave."""
        self._coming = [0] * len(shapes)  # of these, the ones that start or load
        self._limits = [shape.max_engines for shape in shapes]
        self._start_failures = [0] * len(shapes)
        self.failed: dict[int, str] = {}
        """Shapes of which no engine, or too few, could be started, with the reason."""

    def start(self, shape: int, spec: int, now: float) -> LiveEngine:
        """A new engine, which takes its resources at once."""
        engine = LiveEngine(self._next, shape, spec, since=now)
        self._next += 1
        self.engines[engine.number] = engine
        self.counts[shape] += 1
        self._coming[shape] += 1
        for name, amount in self._shapes[shape].demand.items():
            self._free[name] = self._free.get(name, 0.0) - amount
        return engine

    def load(self, engine: LiveEngine, spec: int, now: float) -> None:
        """A live engine takes another checkpoint."""
        engine.spec, engine.is_ready, engine.since = spec, False, now
        self._coming[engine.shape] += 1

    def up(self, engine: LiveEngine, *, concurrency: int, slots: int) -> None:
        """An engine holds its checkpoint."""
        if not engine.is_ready:
            self._coming[engine.shape] -= 1
        engine.is_ready, engine.concurrency, engine.slots = True, concurrency, slots
        self._start_failures[engine.shape] = 0

    def give_back(self, engine: LiveEngine) -> None:
        """Count an engine no longer: its place may be taken by another."""
        self.counts[engine.shape] -= 1
        self._coming[engine.shape] -= not engine.is_ready
        for name, amount in self._shapes[engine.shape].demand.items():
            self._free[name] = self._free.get(name, 0.0) + amount

    def grow(self, capacity: Mapping[str, float]) -> None:
        """Nodes came; what went is not taken off."""
        for name, amount in capacity.items():
            more = amount - self._capacity.get(name, 0.0)
            if more > 0:
                self._capacity[name] = amount
                self._free[name] = self._free.get(name, 0.0) + more

    def start_failed(self, shape: int, reason: str) -> str | None:
        """An engine did not start; the message where the shape is given up for it."""
        self._start_failures[shape] += 1
        if self._start_failures[shape] < self._max_attempts:
            return None
        count, least = self.counts[shape], self._shapes[shape].min_engines
        if count >= least:  # others live: go on with as many as there are
            self._limits[shape] = count
            return None
        what = "no engine" if least == 1 else f"only {count} of {least} engines (min_engines)"
        self.failed[shape] = f"{what} could be started in {self._start_failures[shape]} tries: {reason}"
        return self.failed[shape]

    def wants(self, shape: int, num_pending: int) -> bool:
        """Whether a shape has more pending shards than engines on their way, and may have more engines."""
        limit = self._limits[shape]
        if shape in self.failed or (limit is not None and self.counts[shape] >= limit):
            return False
        return num_pending > self._coming[shape]

    def fits(self, shape: int) -> bool:
        """Whether the resources of one more engine are free."""
        return all(self._free.get(name, 0.0) >= amount - 1e-9 for name, amount in self._shapes[shape].demand.items())
