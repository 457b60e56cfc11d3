"""The laptop's pool: one engine in this process, no Ray, so that `breakpoint()` and a profiler work."""

from __future__ import annotations

import os
import platform
import time
from collections import deque
from collections.abc import Mapping

from raybench.core.errors import CheckpointError, EngineDead, EngineError
from raybench.core.protocols import CheckpointFailed, Done, Engine, EngineSpec, Event, Failed, Lost, Started, Work
from raybench.driver.work import run_shard
from raybench.engines.registry import make_engine


class LocalPool:
    """Runs what it was given, one thing at a time, whenever it is asked to wait."""

    def __init__(self) -> None:
        self._engines: dict[int, Engine] = {}
        self._todo: deque[tuple[int, int, EngineSpec] | tuple[int, Work]] = deque()

    def capacity(self) -> Mapping[str, float]:
        return {"engine": 1.0}

    def check(self, demand: Mapping[str, float]) -> None:
        """Anything goes: the process is where it is, and takes what it takes."""

    def start(self, engine: int, index: int, spec: EngineSpec, demand: Mapping[str, float]) -> None:
        self._todo.append((engine, index, spec))

    def load(self, engine: int, index: int, spec: EngineSpec) -> None:
        self._todo.append((engine, index, spec))

    def run(self, engine: int, work: Work) -> None:
        self._todo.append((engine, work))

    def wait(self, timeout_s: float) -> list[Event]:
        if not self._todo:
            return []
        task = self._todo.popleft()
        return [self._load(*task) if len(task) == 3 else self._run(*task)]

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
            concurrency=1,
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
            self.stop(number)
            return Lost(engine=number, message=error.message)
        except EngineError as error:
            return Failed(engine=number, shard=work.shard, message=error.message)
        return Done(engine=number, shard=work.shard, batch=batch, measured=measured)

    def stop(self, engine: int) -> None:
        self._todo = deque(task for task in self._todo if task[0] != engine)
        live = self._engines.pop(engine, None)
        if live is not None:
            live.close()

    def close(self) -> None:
        for number in list(self._engines):
            self.stop(number)


def bring_in(engine: Engine | None, spec: EngineSpec) -> tuple[Engine, str]:
    """An engine that holds `spec.checkpoint`: the live one with swapped weights where that works, otherwise a new one.

    Returns:
        The engine, and `swap` or `fresh`.
    """
    if engine is not None:
        try:
            if engine.load(spec.checkpoint):
                return engine, "swap"
        except BaseException:
            engine.close()
            raise
        engine.close()
    return make_engine(spec), "fresh"
