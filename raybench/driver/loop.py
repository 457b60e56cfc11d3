"""Carries out a plan: asks the dispatcher, tells the pool, commits what comes back. The only writer of predictions."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from raybench.core.errors import CheckpointError
from raybench.core.pool import Done, Measured, Pool, Started
from raybench.driver.actions import Action, Commit, Load, Note, Run, Shape, Shards, Start, Stop
from raybench.driver.committer import Committer, Landed
from raybench.driver.compactor import Compactor
from raybench.driver.dispatch import Dispatcher
from raybench.driver.plan import Plan
from raybench.driver.work import make_work
from raybench.store.events import EventLog
from raybench.store.prompt_set import PromptSet
from raybench.store.run_dir import RunDir
from raybench.store.telemetry import TelemetryWriter

WAIT_S = 0.5
"""Longest wait for an event: how soon a stop is noticed."""
TICK_S = 1.0
"""Between two looks for engines that hang."""
LOOK_S = 5.0
"""Between two looks at what the pool offers: nodes may have come."""


class Watcher(Protocol):
    """What the loop tells about its progress."""

    def update(self, *, done_samples: int, engines: int, active: list[tuple[str, int, int]]) -> None:
        """Counts so far; `active` holds (label, done, total) of the pairs at work."""

    def note(self, text: str) -> None:
        """Something the user should hear about."""


@dataclass(slots=True, kw_only=True)
class Outcome:
    """How it ended."""

    given_up: Mapping[int, str] = field(default_factory=dict)
    """Shards that were tried too often, with the last reason."""
    failed_models: Mapping[str, str] = field(default_factory=dict)
    """Models whose checkpoint could not be loaded, with the reason."""
    is_stopped: bool = False
    """Whether it ended because it was asked to."""
    num_engines_started: int = 0
    num_retries: int = 0
    seconds: float = 0.0
    exit_code: int = 0
    """130 or 3 when a signal stopped it."""


class Loop:
    """One execution of a plan."""

    def __init__(
        self,
        plan: Plan,
        prompts: Mapping[str, PromptSet],
        store: RunDir,
        pool: Pool,
        *,
        shapes: list[Shape],
        done: set[int],
        max_attempts: int,
        stall_timeout_s: float,
        start_timeout_s: float,
        skips_broken: bool,
        events: EventLog,
        telemetry: TelemetryWriter,
        compactor: Compactor,
        watcher: Watcher,
        is_stop_wanted: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._plan, self._prompts, self._store, self._pool = plan, prompts, store, pool
        self._events, self._telemetry, self._compactor, self._watcher = events, telemetry, compactor, watcher
        self._is_stop_wanted, self._clock, self._wall = is_stop_wanted, clock, wall
        self._skips_broken = skips_broken
        self._shapes = shapes
        self._dispatcher = Dispatcher(
            Shards(
                cost=plan.shard_cost,
                num_requests=plan.shard_requests,
                spec=plan.shard_spec,
                spec_shape=plan.spec_shape,
                spec_model=plan.spec_model,
            ),
            shapes,
            pool.capacity(),
            done=sorted(done),
            max_attempts=max_attempts,
            stall_timeout_s=stall_timeout_s,
            start_timeout_s=start_timeout_s,
        )
        self._done_rows = [0] * len(plan.pairs)  # samples
        self._left = [len(p.shards) for p in plan.pairs]  # shards
        for shard in done:
            self._count(shard)
        self._done_samples = sum(self._done_rows)
        self._results: dict[int, Done] = {}
        self._asked: dict[int, pa.RecordBatch] = {}  # requests of the shards that run
        self._committer = Committer(store, plan)
        self._shots: OrderedDict[str, pa.RecordBatch] = OrderedDict()
        self._outcome = Outcome()
        self._told: set[str] = set()

    def run(self) -> Outcome:
        """Until everything is done, given up, or a stop is wanted and what runs has ended.

        Raises:
            CheckpointError: when one cannot be loaded and broken ones are not skipped; what is committed stays.
        """
        begin = last_tick = last_look = self._clock()
        try:
            for pair in self._plan.pairs:
                if self._left[pair.index] == 0:  # finished before; perhaps killed before it was compacted
                    self._compactor.submit(pair.index)
            self._perform(self._dispatcher.begin(begin))
            while not self._dispatcher.finished:
                if self._is_stop_wanted() and not self._outcome.is_stopped:
                    self._outcome.is_stopped = True
                    count = len(self._dispatcher.in_flight)
                    self._watcher.note(f"stopping: waiting for {count} shard{'' if count == 1 else 's'} at work")
                    self._dispatcher.drain()
                    continue
                if self._clock() - last_look >= LOOK_S:
                    last_look = self._clock()
                    self._perform(self._dispatcher.grow(self._pool.capacity(), last_look))
                for event in self._pool.wait(WAIT_S):
                    if isinstance(event, Done):
                        self._results[event.shard] = event
                    elif isinstance(event, Started):
                        self._outcome.num_engines_started += 1
                        self._log(
                            "engine_started",
                            engine=event.engine,
                            model=self._plan.models[self._plan.spec_model[event.spec]].name,
                            node=event.node,
                            pid=event.pid,
                            seconds=event.seconds,
                            loaded=event.loaded,
                        )
                    self._perform(self._dispatcher.on(event, self._clock()))
                    self._results.clear()
                if self._clock() - last_tick >= TICK_S:
                    last_tick = self._clock()
                    self._perform(self._dispatcher.tick(last_tick))
                    self._pool.observe(
                        {
                            "event": "tick",
                            "pending": self._dispatcher.num_pending,
                            "in_flight": len(self._dispatcher.in_flight),
                            "engines": self._dispatcher.num_engines,
                        }
                    )
                self._take_note(self._committer.landed())
                self._show()
            self._take_note(self._committer.landed(leave=0))
            self._show()  # the last commits as well
        finally:
            self._take_note(self._committer.close())
        self._outcome.is_stopped = self._outcome.is_stopped and not self._dispatcher.is_complete
        self._outcome.given_up = dict(self._dispatcher.given_up)
        self._outcome.failed_models = {self._plan.models[m].name: text for m, text in self._dispatcher.failed_models.items()}
        self._outcome.seconds = self._clock() - begin
        return self._outcome

    def _perform(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Start(engine, spec):
                    self._pool.start(engine, spec, self._plan.specs[spec], self._shapes[self._plan.spec_shape[spec]].demand)
                case Load(engine, spec):
                    self._pool.load(engine, spec, self._plan.specs[spec])
                case Run(engine, shard, attempt):
                    self._log("run", shard=shard, engine=engine, attempt=attempt)
                    self._pool.run(engine, self._work(shard))
                case Stop(engine):
                    self._pool.stop(engine)
                case Commit(shard, attempt):
                    self._committer.submit(self._results[shard], self._asked.pop(shard), attempt)
                case Note():
                    self._note(action)

    def _work(self, shard: int) -> Any:
        pair = self._plan.pairs[self._plan.shard_pair[shard]]
        prompts = self._prompts[pair.prompts]
        if pair.prompts not in self._shots:
            self._shots[pair.prompts] = prompts.shots()
            if len(self._shots) > 8:
                self._shots.popitem(last=False)
        if shard not in self._asked:
            self._asked[shard] = prompts.requests(int(self._plan.shard_index[shard]))
        return make_work(shard, pair.asking, self._asked[shard], self._shots[pair.prompts])

    def _take_note(self, landed: Iterable[Landed]) -> None:
        for one in landed:
            self._log_commit(one)
            shard, measured = one.result.shard, one.result.measured
            self._tell_notices(shard, measured)
            self._done_samples += self._count(shard)
            pair = int(self._plan.shard_pair[shard])
            if self._left[pair] == 0:
                self._compactor.submit(pair)

    def _log_commit(self, one: Landed) -> None:
        shard, measured = one.result.shard, one.result.measured
        pair = self._plan.pairs[self._plan.shard_pair[shard]]
        fingerprint = self._plan.fingerprints[shard]
        self._log(
            "commit", shard=shard, task=pair.task, model=pair.model_name, fingerprint=fingerprint,
            sha256=one.committed.sha256, num_bytes=one.committed.num_bytes, attempt=one.attempt, seconds=measured.seconds,
            engine=one.result.engine, node=measured.node, samples=int(self._plan.shard_stop[shard] - self._plan.shard_start[shard]),
            prompt_tokens=measured.num_prompt_tokens, output_tokens=measured.num_output_tokens,
        )  # fmt: skip
        self._telemetry.append(
            {
                "model": pair.model_name,
                "task": pair.task,
                "fingerprint": fingerprint,
                "attempt": one.attempt,
                "started": measured.started,
                "seconds": measured.seconds,
                "node": measured.node,
                "pid": measured.pid,
                "num_prompt_tokens": measured.num_prompt_tokens,
                "num_output_tokens": measured.num_output_tokens,
            }
        )

    def _tell_notices(self, shard: int, measured: Measured) -> None:
        """What an engine has to say about a shard: shown once a model, a lowered budget once a task; the log has every lowered budget."""
        pair = self._plan.pairs[self._plan.shard_pair[shard]]
        notices = [("engine_notice", f"{pair.model_name}: {text}") for text in measured.notices]
        if measured.is_budget_halved:
            text = (
                f"{pair.model_name} {pair.task}: memory ran out; computed with engine.batch_tokens {measured.batch_tokens}. Such shards stand "
                "outside the promise of equal numbers; set that value to have all of them computed alike."
            )
            notices.append(("budget_halved", text))
        for kind, message in notices:
            if kind == "budget_halved" or message not in self._told:
                self._log(kind, message=message, shard=shard)
            if message not in self._told:
                self._told.add(message)
                self._watcher.note(message)

    def _count(self, shard: int) -> int:
        pair = int(self._plan.shard_pair[shard])
        size = int(self._plan.shard_stop[shard] - self._plan.shard_start[shard])
        self._done_rows[pair] += size
        self._left[pair] -= 1
        return size

    def _note(self, note: Note) -> None:
        self._outcome.num_retries += note.kind == "retry"
        self._watcher.note(note.message)
        self._log(note.kind, message=note.message, shard=note.shard, engine=note.engine)
        if note.kind == "model_failed" and not self._skips_broken:
            raise CheckpointError(note.message)

    def _log(self, event: str, **fields: Any) -> None:
        time = self._wall()
        self._events.append(event, time=time, **fields)
        self._pool.observe({"event": event, "time": time, **fields})

    def _show(self) -> None:
        at_work = {int(self._plan.shard_pair[s]) for s in self._dispatcher.in_flight}
        active = [
            (f"{p.model_name} {p.task}", self._done_rows[p.index], p.num_samples) for p in (self._plan.pairs[i] for i in sorted(at_work))
        ]
        self._watcher.update(done_samples=self._done_samples, engines=self._dispatcher.num_engines, active=active)
