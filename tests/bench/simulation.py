"""The dispatcher alone, driven by a discrete-event simulation: share of the ideal wall time, and time per event."""

from __future__ import annotations

import heapq
import itertools
import time

import numpy as np

from raybench.core.pool import Done, Event, Failed, Lost, Measured, Started
from raybench.driver.actions import Action, Load, Run, Shape, Shards, Start
from raybench.driver.dispatch import Dispatcher

MEASURED = Measured(started=0.0, seconds=0.0, node="", pid=0, num_prompt_tokens=0, num_output_tokens=0)
START_S, LOAD_S, TICK_S = 30.0, 1.0, 1.0
# engines, shards per engine, checkpoints, share of failures, of lost engines, of shards that take ten times as long
CASES = [
    (16, 1000, 1, 0.0, 0.0, 0.0),
    (64, 1000, 20, 0.001, 0.0002, 0.001),
    (256, 1000, 1, 0.001, 0.0002, 0.001),
    (256, 1000, 50, 0.001, 0.0002, 0.001),
    (1024, 100, 1, 0.001, 0.0002, 0.001),
    (1024, 100, 50, 0.001, 0.0002, 0.001),
]


def simulate(
    engines: int, per_engine: int, specs: int, fails: float, lost: float, slow: float, seed: int = 0
) -> tuple[float, float, float]:
    """(ideal / wall after the start, microseconds per event, events)."""
    rng = np.random.default_rng(seed)
    num = engines * per_engine
    cost = rng.lognormal(0.0, 0.5, num)  # spread of characters a shard, as in the quickstart
    service = 8.0 * cost * rng.lognormal(0.0, 0.2, num)  # seconds a shard: what 64 generations take
    spec = np.sort(rng.integers(0, specs, num)).astype(np.int32)
    machine = Dispatcher(
        Shards(cost=cost, num_requests=np.ones(len(cost), np.int64), spec=spec, spec_shape=[0] * specs, spec_model=list(range(specs))),
        [Shape(demand={"engine": 1.0}, max_engines=None)],
        {"engine": float(engines)},
        max_attempts=5,
    )
    now, spent, count = 0.0, 0.0, 0
    queue: list[tuple[float, int, Event]] = []
    order = itertools.count()

    def timed(call: object, *arguments: object) -> None:
        nonlocal spent, count
        begin = time.perf_counter()
        actions: list[Action] = call(*arguments)  # type: ignore[operator]
        spent += time.perf_counter() - begin
        count += 1
        for action in actions:
            match action:
                case Start(engine, index) | Load(engine, index):
                    wait = START_S if isinstance(action, Start) else LOAD_S
                    event: Event = Started(
                        engine=engine, spec=index, concurrency=1, reproducible="exact", seconds=0.0, node="", pid=0, loaded="fresh"
                    )  # fmt: skip
                    heapq.heappush(queue, (now + wait, next(order), event))
                case Run(engine, shard, _):
                    seconds = service[shard] * (10.0 if rng.random() < slow else 1.0)
                    draw = rng.random()
                    if draw < fails:
                        event = Failed(engine=engine, shard=shard, message="failed")
                    elif draw < fails + lost:
                        event, seconds = Lost(engine=engine, message="lost"), seconds / 2
                    else:
                        event = Done(engine=engine, shard=shard, batch=None, measured=MEASURED)
                    heapq.heappush(queue, (now + seconds, next(order), event))

    timed(machine.begin, now)
    tick = TICK_S
    while not machine.finished:
        if queue[0][0] > tick:
            now, tick = tick, tick + TICK_S
            timed(machine.tick, now)
            continue
        now, _, found = heapq.heappop(queue)
        timed(machine.on, found, now)
    assert not machine.given_up
    return float(service.sum() / engines / (now - START_S)), spent / count * 1e6, count


def main() -> None:
    for case in CASES:
        share, microseconds, events = simulate(*case)
        engines, per_engine, specs, fails, lost, slow = case
        print(
            f"{engines:5} engines, {per_engine} shards each, {specs:2} checkpoints, {100 * fails:g} % failures, {100 * lost:g} % lost, "
            f"{100 * slow:g} % ten times slower: {100 * share:.1f} % of ideal, {microseconds:.1f} µs an event, {events} events (aim: 95 %)"
        )
