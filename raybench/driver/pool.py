"""The laptop's pool: one engine in this process, no Ray, so that `breakpoint()` and a profiler work."""

from __future__ import annotations

import os
import platform
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for_futures
from dataclasses import replace
from pathlib import Path
from typing import Any

from raybench.core.checkpoint import Checkpoint
from raybench.core.errors import CheckpointError, ConfigError, EngineDead, EngineError
from raybench.core.pool import CheckpointFailed, Done, Event, Failed, Lost, Progress, Started, Work
from raybench.core.protocols import Engine, EngineSpec
from raybench.driver.dispatch import MAX_IN_FLIGHT
from raybench.driver.work import run_shard
from raybench.engines.registry import make_engine
from raybench.store.staging import stage


class LocalPool:
    """Runs what it was given, one thing at a time, whenever it is asked to wait; an engine that works on several shards gets a thread for each."""

    def __init__(self) -> None:
        self._engines: dict[int, Engine] = {}
        self._running: dict[Future[Event], int] = {}
        self._progress: dict[int, int] = {}
        self._threads: ThreadPoolExecutor | None = None
        self._todo: deque[tuple[int, int, EngineSpec] | tuple[int, Work]] = deque()

    def capacity(self) -> Mapping[str, float]:
        return {"engine": 1.0}

    def check(self, demand: Mapping[str, float]) -> None:
        """Anything goes, the process is where it is and takes what it takes; but it is on one machine."""
        if demand.get("bundles", 1) > 1:
            raise ConfigError("engine.across_nodes: several machines are a Ray cluster. Set pool: ray, or leave it out.")

    def start(self, engine: int, index: int, spec: EngineSpec, demand: Mapping[str, float]) -> None:
        self._todo.append((engine, index, spec))

    def load(self, engine: int, index: int, spec: EngineSpec) -> None:
        self._todo.append((engine, index, spec))

    def run(self, engine: int, work: Work) -> None:
        self._todo.append((engine, work))

    def wait(self, timeout_s: float) -> list[Event]:
        while self._todo:
            task = self._todo.popleft()
            if len(task) == 3:
                return [self._load(*task)]
            if self._engines[task[0]].concurrency == 1:
                return self._settled(self._run(*task))
            if self._threads is None:
                self._threads = ThreadPoolExecutor(MAX_IN_FLIGHT, thread_name_prefix="raybench-shard")
            self._running[self._threads.submit(self._run, *task)] = task[0]
        if not self._running:
            return []
        done, _ = wait_for_futures(self._running, timeout=timeout_s, return_when=FIRST_COMPLETED)
        if not done:
            return self._signs_of_life()
        # an engine that was stopped meanwhile has nothing more to say
        mine = [future for future in done if self._running.pop(future) in self._engines]
        return [event for future in mine for event in self._settled(future.result())]

    def _signs_of_life(self) -> list[Event]:
        """Which of the engines at work got further since the last look."""
        now = {number: self._engines[number].progress() for number in sorted(set(self._running.values()) & set(self._engines))}
        risen = [number for number, count in now.items() if count != self._progress.get(number)]
        self._progress |= now
        return [Progress(engine=number) for number in risen]

    def _settled(self, event: Event) -> list[Event]:
        """The event; an engine that died is closed, and whatever else it worked on went with it."""
        if isinstance(event, Lost):
            if event.engine not in self._engines:
                return []
            self.stop(event.engine)
        return [event]

    def _load(self, number: int, index: int, spec: EngineSpec) -> Event:
        begin = time.perf_counter()
        try:
            self._engines[number], loaded = bring_in(self._engines.pop(number, None), spec)
        except CheckpointError as error:
            return CheckpointFailed(engine=number, spec=index, message=error.message)
        except EngineError as error:
            return Lost(engine=number, message=error.message)
        engine = self._engines[number]
        return Started(
            engine=number,
            spec=index,
            concurrency=engine.concurrency,
            slots=slots_of(engine),
            reproducible=engine.reproducible,
            seconds=time.perf_counter() - begin,
            node=platform.node(),
            pid=os.getpid(),
            loaded=loaded,
        )

    def _run(self, number: int, work: Work) -> Event:
        try:
            batch, measured = run_shard(self._engines[number], work)
        except EngineDead as error:
            return Lost(engine=number, message=error.message)
        except EngineError as error:
            return Failed(engine=number, shard=work.shard, message=error.message)
        return Done(engine=number, shard=work.shard, batch=batch, measured=measured)

    def stop(self, engine: int) -> None:
        self._todo = deque(task for task in self._todo if task[0] != engine)
        live = self._engines.pop(engine, None)
        if live is not None:
            live.close()

    def observe(self, event: Mapping[str, Any]) -> None:
        """Nobody collects metrics here."""

    def close(self) -> None:
        for number in list(self._engines):
            self.stop(number)
        if self._threads is not None:
            self._threads.shutdown(wait=False)


def slots_of(engine: Engine) -> int:
    """Requests that an engine works on at once; 0 where it does not say, as one that works on shard after shard."""
    return int(getattr(engine, "slots", 0))


def here(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint with its place on this machine: the driver's may be another one, without a common file system.

    A hub id is left to the hub's own cache, which brings each file once a machine, under locks.

    Raises:
        CheckpointError: when it is not what the driver has seen.
        EngineError: when this machine has no room for it, or never had the folder.
    """
    if checkpoint.staged is not None:
        return replace(checkpoint, path=str(stage(checkpoint.uri, expected=checkpoint.staged)[0]))
    if checkpoint.path is None or Path(checkpoint.path).exists():
        return checkpoint
    if checkpoint.revision is not None:
        return replace(checkpoint, path=None)
    raise EngineError(
        f"node {platform.node()} has no {checkpoint.path}. Put the checkpoint on an object store (checkpoint: s3://bucket/folder) or on storage "
        "that all nodes share."
    )


def bring_in(engine: Engine | None, spec: EngineSpec) -> tuple[Engine, str]:
    """An engine that holds `spec.checkpoint`: the live one with swapped weights where that works, otherwise a new one.

    Returns:
        The engine, and `swap` or `fresh`, with the reason where a swap was tried and did not count.
    """
    spec = replace(spec, checkpoint=here(spec.checkpoint))
    reason = ""
    if engine is not None:
        try:
            if engine.load(spec.checkpoint):
                return engine, "swap"
        except BaseException:
            engine.close()
            raise
        reason = getattr(engine, "swap_refused", None) or ""
        engine.close()
    return make_engine(spec), f"fresh: {reason}" if reason else "fresh"
