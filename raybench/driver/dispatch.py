"""Who works on what: a pure machine from events to actions. No clock, no processes, no network; the same input gives the same output.

A shard belongs to one engine specification (a checkpoint and how it is run); specifications of one shape (same engine options and
resources) can follow each other inside a live engine process.

    pending --Run--> running --Done--> done
       ^                |
       +--- Failed, Lost, stalled (attempts < max_attempts) ; otherwise given up

Order: an engine stays with the checkpoint it holds; inside a specification the longest shard goes first; an engine without work takes the
specification with most work left per engine. At the tail, an idle engine runs a second copy of a shard that takes twice its expected time:
whichever copy ends first counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from raybench.core.errors import InternalError
from raybench.core.pool import CheckpointFailed, Done, Event, Failed, Leaving, Lost, Progress, Started
from raybench.driver.actions import Action, Commit, Load, Note, Run, Shape, Shards, Start, Stop
from raybench.driver.backlog import Backlog
from raybench.driver.fleet import Fleet, LiveEngine
from raybench.driver.tries import Tries

MAX_IN_FLIGHT = 32
"""Shards that an engine may work on at once."""


class Dispatcher:
    """Decides; see the module's picture."""

    def __init__(
        self,
        shards: Shards,
        shapes: Sequence[Shape],
        capacity: Mapping[str, float],
        *,
        done: Sequence[int] = (),
        max_attempts: int = 3,
        stall_timeout_s: float = float("inf"),
        start_timeout_s: float = float("inf"),
    ) -> None:
        self._shards, self._shapes = shards, shapes
        self._max_attempts, self._stall, self._start_timeout = max_attempts, stall_timeout_s, start_timeout_s
        is_done = np.zeros(len(shards.cost), bool)
        is_done[list(done)] = True
        self._fleet = Fleet(shapes, capacity, max_attempts=max_attempts)
        self._backlog = Backlog(shards, is_done, num_shapes=len(shapes))
        self._tries = Tries(shards, self._backlog, is_done, max_attempts=max_attempts)
        self._queues = self._backlog.queues
        self._idle: dict[int, None] = {}  # engines with room, in the order in which they came free
        self._fresh: dict[int, None] = {}  # of these, the ones not yet offered anything
        self._failed_models: dict[int, str] = {}
        self._draining = False

    # ---- what can be asked

    @property
    def finished(self) -> bool:
        """Whether nothing is left to wait for: all done, given up or dropped; or, while draining, nothing runs."""
        if self._tries.num_open == 0:
            return True
        return self._draining and not self._tries.copies

    @property
    def is_complete(self) -> bool:
        """Whether every shard is done, given up or dropped; also where a stop was wanted meanwhile."""
        return self._tries.num_open == 0

    @property
    def num_engines(self) -> int:
        """Engine processes that are starting or alive."""
        return len(self._fleet.engines)

    @property
    def num_pending(self) -> int:
        """Shards that wait for an engine."""
        return len(self._backlog)

    @property
    def given_up(self) -> Mapping[int, str]:
        """Shards that were tried too often, with the last reason."""
        return self._tries.given_up

    @property
    def failed_models(self) -> Mapping[int, str]:
        """Models whose checkpoint cannot be loaded, with the reason."""
        return self._failed_models

    @property
    def in_flight(self) -> Mapping[int, list[int]]:
        """Shards that run now, with their engines."""
        return self._tries.copies

    # ---- what can happen

    def begin(self, now: float) -> list[Action]:
        """The first actions."""
        return self._assign([], now)

    def drain(self) -> None:
        """Hand out nothing more; what runs may end."""
        self._draining = True

    def on(self, event: Event, now: float) -> list[Action]:
        """What to do after `event`. Events of engines that were stopped or lost before are ignored.

        Args:
            event: What the pool reported.
            now: Seconds on any steadily rising clock.
        """
        engine = self._fleet.engines.get(event.engine)
        if engine is None:
            return []
        engine.since = now
        actions: list[Action] = []
        match event:
            case Progress():
                return []
            case Started():
                if engine.spec != event.spec:
                    raise InternalError(f"engine {engine.number} was to hold specification {engine.spec} but started with {event.spec}.")
                self._fleet.up(engine, concurrency=event.concurrency, slots=event.slots)
                self._free_up(engine)
            case CheckpointFailed():
                self._fail_model(self._shards.spec_model[event.spec], event.message, actions)
                self._remove(engine, actions, event.message)
                actions.append(Stop(engine.number))
            case Done():
                self._finish(engine, event.shard, now, actions)
            case Failed():
                if event.shard in engine.running:
                    self._release(engine, event.shard)
                    self._retry(event.shard, engine.number, event.message, actions)
            case Lost():
                starting = not engine.is_ready
                actions.append(Note("engine_lost", f"engine {engine.number}: {event.message}", engine=engine.number))
                self._remove(engine, actions, event.message)
                if starting:
                    self._count_start_failure(engine.shape, event.message, actions)
            case Leaving() if not engine.is_leaving:
                text = f"engine {engine.number}: its node is going away; it gets no further shard"
                actions.append(Note("engine_leaving", text, engine=engine.number))
                self._give_back(engine)
                engine.is_leaving = True
        if engine.is_leaving and not engine.running and engine.number in self._fleet.engines:
            self._remove(engine, actions, "")
            actions.append(Stop(engine.number))
        return self._assign(actions, now)

    def grow(self, capacity: Mapping[str, float], now: float) -> list[Action]:
        """Nodes came: engines start there. What went is not taken off: an engine that is to replace one there waits for a node that comes."""
        self._fleet.grow(capacity)
        return self._assign([], now)

    def tick(self, now: float) -> list[Action]:
        """Look for engines that hang and for shards that need a second copy."""
        actions: list[Action] = []
        for engine in list(self._fleet.engines.values()):
            if not engine.is_ready and now - engine.since > self._start_timeout:
                reason = f"not ready after {self._start_timeout:g} s"
            elif engine.is_ready and engine.running and now - engine.since > self._stall:
                reason = f"no progress for {self._stall:g} s on shard {next(iter(engine.running))}"
            else:
                continue
            actions += [Note("engine_stalled", f"engine {engine.number}: {reason}", engine=engine.number), Stop(engine.number)]
            self._remove(engine, actions, reason)
            if not engine.is_ready:
                self._count_start_failure(engine.shape, reason, actions)
        self._copy_stragglers(now, actions)
        return self._assign(actions, now)

    # ---- bookkeeping

    def _free_up(self, engine: LiveEngine) -> None:
        if engine.is_leaving:
            return
        self._idle[engine.number] = self._fresh[engine.number] = None

    def _finish(self, engine: LiveEngine, shard: int, now: float, actions: list[Action]) -> None:
        if shard not in engine.running:
            return
        attempt = self._tries.succeed(engine, shard, now)
        self._free_up(engine)
        if attempt is not None:
            actions.append(Commit(shard, attempt))

    def _release(self, engine: LiveEngine, shard: int) -> None:
        self._tries.end(engine, shard)
        self._free_up(engine)

    def _retry(self, shard: int, engine: int, reason: str, actions: list[Action]) -> None:
        """A try of `shard` ended without an answer."""
        if self._tries.is_settled(shard) or shard in self._tries.copies:
            return
        spec, tries = int(self._shards.spec[shard]), self._tries.count(shard)
        if self._shards.spec_model[spec] in self._failed_models:
            return
        if not self._tries.may_be_tried(shard) or self._shards.spec_shape[spec] in self._fleet.failed:
            self._tries.give_up([shard], reason)
            actions.append(Note("gave_up", f"shard {shard}: given up after {tries} tries: {reason}", shard=shard, engine=engine))
            return
        self._backlog.put_back(shard, engine)
        self._fresh |= self._idle  # there is something for them again
        actions.append(Note("retry", f"shard {shard}: retry {tries}/{self._max_attempts - 1}: {reason}", shard=shard, engine=engine))

    def _remove(self, engine: LiveEngine, actions: list[Action], reason: str) -> None:
        """Forget an engine; its shards are tried again elsewhere."""
        running = list(engine.running)
        for shard in running:
            self._release(engine, shard)
        del self._fleet.engines[engine.number]
        if not engine.is_leaving:
            self._give_back(engine)
        for shard in running:
            self._retry(shard, engine.number, reason, actions)

    def _give_back(self, engine: LiveEngine) -> None:
        """Count an engine no longer: its place may be taken by another."""
        self._idle.pop(engine.number, None)
        self._fresh.pop(engine.number, None)
        self._fresh |= self._idle  # one of them may be alone now, and take what it failed before
        self._queues[engine.spec].num_engines -= 1
        self._fleet.give_back(engine)

    def _fail_model(self, model: int, message: str, actions: list[Action]) -> None:
        """Drop everything that is pending for a model; what runs elsewhere may still end."""
        if model in self._failed_models:
            return
        self._failed_models[model] = message
        actions.append(Note("model_failed", message))
        self._tries.drop(self._backlog.clear(model=model))
        for shard, engines in list(self._tries.copies.items()):
            if self._shards.spec_model[int(self._shards.spec[shard])] == model:
                for number in list(engines):
                    self._release(self._fleet.engines[number], shard)
                self._tries.drop([shard])

    def _count_start_failure(self, shape: int, reason: str, actions: list[Action]) -> None:
        message = self._fleet.start_failed(shape, reason)
        if message is not None:
            actions.append(Note("shape_failed", message))
            self._tries.give_up(self._backlog.clear(shape=shape), message)

    # ---- decisions

    def _assign(self, actions: list[Action], now: float) -> list[Action]:
        if self._draining or self._tries.num_open == 0:
            return actions
        fresh, self._fresh = self._fresh, {}
        for number in fresh:
            engine = self._fleet.engines[number]
            while self._has_room(engine) and self._give(engine, now, actions):
                pass
            if not engine.is_ready or not self._has_room(engine):
                self._idle.pop(number, None)
        self._retire_idle(actions)
        self._start_engines(now, actions)
        return actions

    def _has_room(self, engine: LiveEngine) -> bool:
        """Whether the engine could work on one more shard: it has fewer than it must have, or slots for more and no more than its share.

        Twice as many requests as slots: shards end one row after the other, and no slot is to wait for the next shard.
        """
        if len(engine.running) < engine.concurrency:
            return True
        if engine.num_requests >= 2 * engine.slots or len(engine.running) >= MAX_IN_FLIGHT:
            return False
        queue = self._queues[engine.spec]
        return len(engine.running) * queue.num_engines < len(queue) + queue.num_running

    def _give(self, engine: LiveEngine, now: float, actions: list[Action]) -> bool:
        """Give the engine a shard of its checkpoint, or another checkpoint; False where there is neither."""
        if not engine.is_ready:
            return False
        is_alone = self._fleet.counts[engine.shape] == 1
        shard = self._backlog.pop(engine, is_alone=is_alone)
        if shard is not None:
            self._run(engine, shard, now, actions)
            return True
        if not engine.running:
            in_order = self._shapes[engine.shape].max_engines == 1
            spec = self._backlog.choose(engine.shape, in_order=in_order, engine=engine, is_alone=is_alone)
            if spec is not None and spec != engine.spec:
                self._queues[engine.spec].num_engines -= 1
                self._queues[spec].num_engines += 1
                self._fleet.load(engine, spec, now)
                actions.append(Load(engine.number, spec))
        return False

    def _run(self, engine: LiveEngine, shard: int, now: float, actions: list[Action]) -> None:
        actions.append(Run(engine.number, shard, self._tries.begin(engine, shard, now)))

    def _copy_stragglers(self, now: float, actions: list[Action]) -> None:
        """Give idle engines second copies of the shards that are most overdue; only where nothing else is pending."""
        idle: dict[int, list[LiveEngine]] = {}
        for number in self._idle:
            engine = self._fleet.engines[number]
            if engine.is_ready and not engine.running and not len(self._queues[engine.spec]):
                idle.setdefault(engine.spec, []).append(engine)
        if self._draining or not idle:
            return
        for shard in self._tries.overdue(self._fleet, idle, now):
            waiting = idle[int(self._shards.spec[shard])]
            if waiting:
                engine = waiting.pop(0)
                self._idle.pop(engine.number)
                actions.append(
                    Note("tail_copy", f"shard {shard}: a second copy runs on engine {engine.number}", shard=shard, engine=engine.number)
                )
                self._run(engine, shard, now, actions)

    def _retire_idle(self, actions: list[Action]) -> None:
        """Stop idle engines whose shape has nothing left, where another shape waits for their resources."""
        if len(self._shapes) == 1 or not self._idle or not any(self._wants(shape) for shape in range(len(self._shapes))):
            return
        for number in list(self._idle):
            engine = self._fleet.engines[number]
            if engine.is_ready and not engine.running and not self._backlog.count(engine.shape):
                self._remove(engine, actions, "")
                actions.append(Stop(number))

    def _wants(self, shape: int) -> bool:
        return self._fleet.wants(shape, self._backlog.count(shape))

    def _start_engines(self, now: float, actions: list[Action]) -> None:
        """Start engines while resources last, for the shape with most work left per engine first."""
        while True:
            best, best_key = None, 0.0
            for shape in range(len(self._shapes)):
                if self._fleet.fits(shape) and self._wants(shape):
                    key = self._backlog.work(shape) / (self._fleet.counts[shape] + 1)
                    if key > best_key:
                        best, best_key = shape, key
            if best is None:
                return
            spec = self._backlog.choose(best, in_order=self._shapes[best].max_engines == 1)
            if spec is None:
                return
            self._queues[spec].num_engines += 1
            actions.append(Start(self._fleet.start(best, spec, now).number, spec))
