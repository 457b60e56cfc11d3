"""The dispatcher under any order of events: each shard counts at most once, and the machine always ends."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raybench.core.errors import ConfigError
from raybench.core.pool import CheckpointFailed, Done, Failed, Leaving, Lost, Measured, Progress, Started
from raybench.driver.actions import Action, Commit, Load, Note, Run, Shape, Shards, Start, Stop
from raybench.driver.dispatch import Dispatcher

EMPTY = pa.record_batch({"x": pa.array([], pa.int32())})
MEASURED = Measured(started=0.0, seconds=0.0, node="n", pid=1, num_prompt_tokens=0, num_output_tokens=0)


def shards(*specs: int, shapes: tuple[int, ...] = (0,), costs: tuple[float, ...] | None = None) -> Shards:
    """One shard an entry of `specs`, of cost 1 unless given; each specification is a model of its own."""
    return Shards(
        cost=np.array(costs or [1.0] * len(specs)),
        num_requests=np.full(len(specs), 4),
        spec=np.array(specs, np.int32),
        spec_shape=list(shapes),
        spec_model=list(range(len(shapes))),
    )


def started(engine: int, spec: int, concurrency: int = 1, slots: int = 0) -> Started:
    return Started(
        engine=engine, spec=spec, concurrency=concurrency, slots=slots, reproducible="exact", seconds=0.0, node="n", pid=1, loaded="fresh"
    )  # fmt: skip


def done(engine: int, shard: int) -> Done:
    return Done(engine=engine, shard=shard, batch=EMPTY, measured=MEASURED)


def only(actions: list[Action], kind: type[Any]) -> list[Any]:
    return [a for a in actions if isinstance(a, kind)]


ANY = Shape(demand={"engine": 1.0}, max_engines=None)


def test_the_longest_shard_goes_first() -> None:
    machine = Dispatcher(shards(0, 0, 0, costs=(1.0, 5.0, 3.0)), [ANY], {"engine": 1})
    machine.begin(0.0)

    order = []
    actions = machine.on(started(0, 0), 1.0)
    while runs := only(actions, Run):
        order.append(runs[0].shard)
        actions = machine.on(done(0, runs[0].shard), 2.0)

    assert order == [1, 2, 0]
    assert machine.finished


def test_no_more_engines_start_than_there_are_shards() -> None:
    machine = Dispatcher(shards(0, 0), [ANY], {"engine": 64})

    assert len(only(machine.begin(0.0), Start)) == 2


def test_an_engine_keeps_its_checkpoint_until_its_work_is_gone() -> None:
    machine = Dispatcher(shards(0, 0, 1, shapes=(0, 0)), [Shape(demand={"engine": 1.0}, max_engines=1)], {"engine": 1})
    machine.begin(0.0)

    assert only(machine.on(started(0, 0), 0.0), Run)[0].shard == 0
    assert only(machine.on(done(0, 0), 0.0), Run)[0].shard == 1
    actions = machine.on(done(0, 1), 0.0)
    assert only(actions, Load) == [Load(0, 1)]
    assert only(machine.on(started(0, 1), 0.0), Run)[0].shard == 2


def test_engines_spread_over_checkpoints_by_work_left() -> None:
    machine = Dispatcher(shards(0, 0, 0, 1, 1, shapes=(0, 0)), [ANY], {"engine": 3})

    assert sorted(a.spec for a in only(machine.begin(0.0), Start)) == [0, 0, 1]


def test_a_failed_shard_is_tried_on_another_engine() -> None:
    machine = Dispatcher(shards(0, 0), [ANY], {"engine": 2}, max_attempts=2)
    machine.begin(0.0)
    machine.on(started(0, 0), 0.0)
    machine.on(started(1, 0), 0.0)

    assert only(machine.on(Failed(engine=0, shard=0, message="x"), 1.0), Run) == []
    assert only(machine.on(done(1, 1), 1.0), Run) == [Run(1, 0, 2)]


def test_a_lost_engine_is_replaced_and_its_shard_tried_again() -> None:
    machine = Dispatcher(shards(0), [ANY], {"engine": 1})
    machine.begin(0.0)
    machine.on(started(0, 0), 0.0)

    actions = machine.on(Lost(engine=0, message="killed"), 1.0)

    assert only(actions, Start) == [Start(1, 0)]
    assert only(machine.on(started(1, 0), 2.0), Run) == [Run(1, 0, 2)]


def test_an_engine_whose_node_goes_away_ends_its_shard_gets_no_other_and_is_replaced_at_once() -> None:
    machine = Dispatcher(shards(0, 0, 0), [Shape(demand={"engine": 1.0}, max_engines=1)], {"engine": 1})
    machine.begin(0.0)
    (first,) = only(machine.on(started(0, 0), 0.0), Run)

    told = machine.on(Leaving(engine=0), 1.0)
    again = machine.on(Leaving(engine=0), 2.0)
    ended = machine.on(done(0, first.shard), 3.0)

    assert (only(told, Start), only(told, Run), only(told, Stop)) == ([Start(1, 0)], [], [])
    assert again == []
    assert ended == [Commit(first.shard, 1), Stop(0)]
    assert [run.attempt for run in only(machine.on(started(1, 0), 4.0), Run)] == [1]


def test_an_engine_without_work_whose_node_goes_away_is_stopped() -> None:
    machine = Dispatcher(shards(0), [ANY], {"engine": 1})
    machine.begin(0.0)

    actions = machine.on(Leaving(engine=0), 1.0)  # it was starting

    assert only(actions, Stop) == [Stop(0)]
    assert only(actions, Start) == [Start(1, 0)]
    assert machine.on(started(0, 0), 2.0) == []


def test_engines_start_on_what_came_and_what_went_is_waited_for() -> None:
    machine = Dispatcher(
        shards(*[0] * 8), [Shape(demand={"engine": 1.0, "CPU": 2.0}, max_engines=None)], {"engine": float("inf"), "CPU": 2}
    )
    machine.begin(0.0)
    machine.on(started(0, 0), 0.0)

    assert machine.grow({"engine": float("inf"), "CPU": 2}, 1.0) == []
    assert machine.grow({"engine": float("inf"), "CPU": 3}, 2.0) == []  # no room for one more
    assert only(machine.grow({"engine": float("inf"), "CPU": 7}, 3.0), Start) == [Start(1, 0), Start(2, 0)]
    assert machine.grow({"engine": float("inf"), "CPU": 2}, 4.0) == []
    assert only(machine.on(Lost(engine=0, message="its node went"), 5.0), Start) == [Start(3, 0)]  # waits for a place


def test_after_max_attempts_a_shard_is_given_up_with_its_reason() -> None:
    machine = Dispatcher(shards(0, 0), [ANY], {"engine": 1}, max_attempts=2)
    machine.begin(0.0)
    actions = machine.on(started(0, 0), 0.0)
    while only(actions, Run) and only(actions, Run)[0].shard == 1:
        actions = machine.on(Failed(engine=0, shard=1, message="poison"), 1.0)
    actions = machine.on(Failed(engine=0, shard=0, message="poison"), 1.0)
    while not machine.finished:
        runs = only(actions, Run)
        actions = machine.on(Failed(engine=0, shard=runs[0].shard, message="poison"), 1.0)

    assert machine.given_up == {0: "poison", 1: "poison"}


def test_an_engine_without_progress_is_stopped_and_its_shard_tried_again() -> None:
    machine = Dispatcher(shards(0), [ANY], {"engine": 1}, stall_timeout_s=10.0)
    machine.begin(0.0)
    machine.on(started(0, 0), 0.0)

    machine.on(Progress(engine=0), 8.0)
    assert only(machine.tick(17.0), Stop) == []
    actions = machine.tick(18.5)

    assert only(actions, Stop) == [Stop(0)]
    assert only(actions, Start) == [Start(1, 0)]


def test_an_answer_of_a_stopped_engine_is_ignored() -> None:
    machine = Dispatcher(shards(0), [ANY], {"engine": 1}, stall_timeout_s=10.0)
    machine.begin(0.0)
    machine.on(started(0, 0), 0.0)
    machine.tick(20.0)

    assert machine.on(done(0, 0), 21.0) == []
    assert not machine.finished


def test_the_slowest_shard_gets_a_second_copy_and_counts_once() -> None:
    machine = Dispatcher(shards(0, 0, 0, 0), [ANY], {"engine": 2})
    machine.begin(0.0)
    machine.on(started(0, 0), 0.0)  # runs 0
    machine.on(started(1, 0), 0.0)  # runs 1
    machine.on(done(1, 1), 1.0)  # runs 2
    machine.on(done(1, 2), 2.0)  # runs 3
    machine.on(done(1, 3), 3.0)

    assert only(machine.tick(3.5), Run) == [Run(1, 0, 2)]
    assert only(machine.on(done(1, 0), 4.0), Commit) == [Commit(0, 2)]
    assert machine.finished
    assert only(machine.on(done(0, 0), 5.0), Commit) == []


def test_a_broken_checkpoint_ends_its_model_and_no_other() -> None:
    machine = Dispatcher(shards(0, 0, 1, shapes=(0, 0)), [ANY], {"engine": 1})
    machine.begin(0.0)

    actions = machine.on(CheckpointFailed(engine=0, spec=0, message="truncated"), 1.0)

    assert machine.failed_models == {0: "truncated"}
    assert only(actions, Start) == [Start(1, 1)]
    machine.on(started(1, 1), 2.0)
    machine.on(done(1, 2), 3.0)
    assert machine.finished


def test_engines_of_another_shape_make_room_when_their_work_is_gone() -> None:
    demand = {"engine": 1.0, "GPU": 1.0}
    machine = Dispatcher(
        shards(0, 1, shapes=(0, 1)),
        [Shape(demand=demand, max_engines=None), Shape(demand={"engine": 1.0, "GPU": 0.5}, max_engines=None)],
        {"engine": 8, "GPU": 1.0},
    )
    machine.begin(0.0)
    machine.on(started(0, 0), 0.0)

    actions = machine.on(done(0, 0), 1.0)

    assert only(actions, Stop) == [Stop(0)]
    assert only(actions, Start) == [Start(1, 1)]


def test_engines_that_never_start_end_the_run() -> None:
    machine = Dispatcher(shards(0), [ANY], {"engine": 1}, max_attempts=3)
    machine.begin(0.0)
    for engine in range(3):
        machine.on(Lost(engine=engine, message="no memory"), 1.0)

    assert machine.finished
    assert "no memory" in machine.given_up[0]


def test_fewer_engines_than_the_least_end_the_run_and_as_many_do_not() -> None:
    for least, expected in ((1, None), (2, "only 1 of 2 engines (min_engines) could be started in 3 tries: no memory")):
        machine = Dispatcher(shards(0, 0), [Shape(demand={"engine": 1.0}, max_engines=2, min_engines=least)], {"engine": 2})
        machine.begin(0.0)
        (first,) = only(machine.on(started(0, 0), 0.0), Run)

        for engine in (1, 2, 3):
            machine.on(Lost(engine=engine, message="no memory"), 1.0)

        assert machine.given_up == ({} if expected is None else {1 - first.shard: expected})


def test_a_demand_that_no_cluster_meets_is_an_error_that_names_both() -> None:
    shape = Shape(demand={"engine": 1.0, "GPU": 2.0}, max_engines=None)

    with pytest.raises(ConfigError, match="GPU: 2 of 1"):
        Dispatcher(shards(0), [shape], {"engine": 4, "GPU": 1.0})


def test_draining_hands_out_nothing_more() -> None:
    machine = Dispatcher(shards(0, 0), [ANY], {"engine": 1})
    machine.begin(0.0)
    machine.on(started(0, 0), 0.0)

    machine.drain()
    actions = machine.on(done(0, 0), 1.0)

    assert only(actions, Run) == []
    assert machine.finished


def test_two_shards_are_in_flight_where_the_engine_takes_two() -> None:
    machine = Dispatcher(shards(0, 0, 0), [ANY], {"engine": 1})
    machine.begin(0.0)

    assert len(only(machine.on(started(0, 0, concurrency=2), 0.0), Run)) == 2


def test_small_shards_fill_an_engine_s_slots_twice() -> None:
    machine = Dispatcher(shards(*[0] * 20), [ANY], {"engine": 1})  # four requests each
    machine.begin(0.0)

    given = only(machine.on(started(0, 0, concurrency=2, slots=10), 0.0), Run)

    assert len(given) == 5
    assert len(only(machine.on(done(0, given[0].shard), 1.0), Run)) == 1


def test_an_engine_leaves_the_others_their_share_of_small_shards() -> None:
    machine = Dispatcher(shards(*[0] * 8), [ANY], {"engine": 2})
    machine.begin(0.0)

    assert [len(only(machine.on(started(engine, 0, concurrency=2, slots=100), 0.0), Run)) for engine in (0, 1)] == [4, 4]


@settings(max_examples=500, deadline=None)
@given(seed=st.integers(0, 2**48))
def test_under_any_interleaving_each_shard_counts_once_and_the_machine_ends(seed: int) -> None:
    rng = random.Random(seed)
    num_specs, num_shapes, num_shards, max_attempts = (rng.randint(1, n) for n in (4, 2, 12, 4))
    plan = Shards(
        cost=np.array([rng.uniform(0.0, 9.0) for _ in range(num_shards)]),
        num_requests=np.array([rng.randint(1, 9) for _ in range(num_shards)]),
        spec=np.array([rng.randrange(num_specs) for _ in range(num_shards)], np.int32),
        spec_shape=[rng.randrange(num_shapes) for _ in range(num_specs)],
        spec_model=list(range(num_specs)),
    )
    shapes = [Shape(demand={"engine": 1.0}, max_engines=rng.choice([None, 1, 2, 3])) for _ in range(num_shapes)]
    already = {s for s in range(num_shards) if rng.random() < 0.2}
    machine = Dispatcher(
        plan, shapes, {"engine": rng.randint(1, 4)}, done=sorted(already), max_attempts=max_attempts, stall_timeout_s=50.0
    )  # fmt: skip
    waiting: list[tuple[str, int, int]] = []  # what the pool owes: (load | run, engine, spec | shard)
    commits: Counter[int] = Counter(already)
    tries: Counter[int] = Counter()
    leaving: set[int] = set()
    now, faults = 0.0, rng.randint(0, 12)

    def perform(actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Start(engine, spec) | Load(engine, spec):
                    waiting.append(("load", engine, spec))
                case Run(engine, shard, attempt):
                    assert engine not in leaving
                    tries[shard] += 1
                    assert attempt == tries[shard] <= max_attempts
                    waiting.append(("run", engine, shard))
                    live = [e for what, e, s in waiting if what == "run" and s == shard]
                    assert len(live) == len(set(live)) <= 2
                case Stop(engine):
                    waiting[:] = [w for w in waiting if w[1] != engine]
                case Commit(shard, _):
                    commits[shard] += 1
                case Note():
                    assert action.message

    perform(machine.begin(now))
    for _ in range(2_000):
        if machine.finished:
            break
        now += rng.choice([0.1, 1.0, 5.0])
        if not waiting or rng.random() < 0.2:
            perform(machine.tick(now))
            if not waiting:
                now += 60.0
                perform(machine.tick(now))
            continue
        what, engine, index = waiting.pop(rng.randrange(len(waiting)))
        fault = rng.choice(["none", "failed", "lost", "broken", "leaving"]) if faults else "none"
        faults -= fault != "none"
        if fault == "leaving":
            waiting.append((what, engine, index))
            leaving.add(engine)
            perform(machine.on(Leaving(engine=engine), now))
        elif fault == "lost":
            waiting[:] = [w for w in waiting if w[1] != engine]
            perform(machine.on(Lost(engine=engine, message="lost"), now))
        elif what == "load":
            broken = fault == "broken"
            event = (
                CheckpointFailed(engine=engine, spec=index, message="broken")
                if broken
                else started(engine, index, rng.randint(1, 2), rng.randint(0, 20))
            )
            perform(machine.on(event, now))
        elif fault == "failed":
            perform(machine.on(Failed(engine=engine, shard=index, message="failed"), now))
        else:
            perform(machine.on(done(engine, index), now))

    assert machine.finished
    assert max(commits.values(), default=0) <= 1
    dropped = {s for s in range(num_shards) if int(plan.spec[s]) in machine.failed_models}
    assert set(range(num_shards)) <= set(commits) | set(machine.given_up) | dropped
    assert not set(commits) & set(machine.given_up)
