"""One suite, every pool: what the driver may rely on, whether engines live in this process or in actors of a Ray cluster."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from raybench.core.checkpoint import Checkpoint
from raybench.core.config import RayConfig
from raybench.core.errors import ConfigError, InternalError
from raybench.core.pool import CheckpointFailed, Done, Event, Failed, Lost, Pool, Progress, Started, Work
from raybench.core.protocols import EngineSpec
from raybench.core.schema import REQUESTS, SHOTS, keys_of, predictions_schema
from raybench.core.types import Asking, Kind
from raybench.driver.pool import LocalPool
from raybench.driver.ray_pool import RayPool

DEMAND = {"engine": 1.0, "CPU": 0.1}


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A Ray cluster of this machine, started as a run starts one; every further pool joins it."""
    owner = RayPool(RayConfig())
    yield
    owner.close()


@pytest.fixture
def ray_pool(cluster: None) -> Iterator[RayPool]:
    pool = RayPool(RayConfig())
    yield pool
    pool.close()


@pytest.fixture(params=["local", pytest.param("ray", marks=[pytest.mark.ray, pytest.mark.xdist_group("ray")])])
def pool(request: pytest.FixtureRequest) -> Iterator[Pool]:
    pool: Pool = LocalPool() if request.param == "local" else request.getfixturevalue("ray_pool")
    yield pool
    pool.close()


def spec(uri: str = "one", *, kind: str = "fake", **options: Any) -> EngineSpec:
    return EngineSpec(kind=kind, checkpoint=Checkpoint(uri=uri, identity=uri), options=options)


def work(shard: int, *sample_ids: str, num_repeats: int = 1) -> Work:
    rows = [
        {"sample_id": i, "request": name, "shots": [0], "prompt": f"{i}?", "continuations": ["yes", "no"], "is_bare": name == "uncond"}
        for i in sample_ids
        for name in ("", "uncond")
    ]
    return Work(
        shard=shard,
        requests=pa.RecordBatch.from_pylist(rows, schema=REQUESTS),
        shots=pa.record_batch({"question": ["a?"], "answer": ["yes"]}, schema=SHOTS),
        asking=Asking(
            task="t",
            kind=Kind.LOGLIKELIHOOD,
            description="",
            delimiter=" ",
            separator="\n\n",
            sampling=None,
            num_repeats=num_repeats,
            seed=0,
        ),
    )


def wait(pool: Pool, count: int = 1) -> list[Event]:
    """The next events, signs of life left out."""
    events: list[Event] = []
    deadline = time.monotonic() + 60
    while len(events) < count:
        assert time.monotonic() < deadline, f"only {events} in a minute"
        events += [event for event in pool.wait(0.5) if not isinstance(event, Progress)]
    return events


def start(pool: Pool, engine: int = 0, index: int = 0, **options: Any) -> Event:
    pool.start(engine, index, spec(**options), DEMAND)
    (event,) = wait(pool)
    return event


def test_a_started_engine_says_what_it_holds(pool: Pool) -> None:
    event = start(pool, engine=3, index=7)

    assert isinstance(event, Started)
    assert (event.engine, event.spec, event.concurrency, event.reproducible, event.loaded) == (3, 7, 1, "exact", "fresh")
    assert event.pid > 0
    assert event.node
    assert event.seconds >= 0


def test_a_live_engine_takes_another_checkpoint_in(pool: Pool) -> None:
    start(pool)
    pool.run(0, work(0, "a", "b"))
    (before,) = wait(pool)

    pool.load(0, 1, spec("two"))
    (event,) = wait(pool)
    pool.run(0, work(1, "a", "b"))
    (after,) = wait(pool)

    assert isinstance(event, Started)
    assert (event.engine, event.spec, event.loaded) == (0, 1, "swap")
    assert isinstance(before, Done)
    assert isinstance(after, Done)
    assert not before.batch.equals(after.batch)


@pytest.mark.parametrize("num_repeats", [1, 3])
def test_a_shard_is_answered_one_to_one_and_in_order(num_repeats: int, pool: Pool) -> None:
    start(pool)
    shard = work(5, "b", "a", "c", num_repeats=num_repeats)

    pool.run(0, shard)
    (event,) = wait(pool)

    assert isinstance(event, Done)
    assert (event.engine, event.shard) == (0, 5)
    assert event.batch.schema.equals(predictions_schema(Kind.LOGLIKELIHOOD), check_metadata=True)
    assert [event.batch.column(i).to_pylist() for i in range(3)] == [c.to_pylist() for c in keys_of(shard.requests, num_repeats)]
    assert event.measured.seconds >= 0
    assert event.measured.num_prompt_tokens > 0


def test_every_pool_gives_the_same_rows(pool: Pool) -> None:
    here = LocalPool()
    rows = []
    for place in (here, pool):
        start(place)
        place.run(0, work(0, "a", "b"))
        (event,) = wait(place)
        assert isinstance(event, Done)
        rows.append(event.batch)

    assert rows[0].equals(rows[1])


def test_a_broken_checkpoint_is_told_from_a_broken_engine(pool: Pool) -> None:
    event = start(pool, index=4, uri="bad", broken=["bad"])

    assert isinstance(event, CheckpointFailed)
    assert (event.engine, event.spec) == (0, 4)
    assert "checkpoint 'bad': broken" in event.message


def test_a_broken_checkpoint_is_told_also_when_it_is_swapped_in(pool: Pool) -> None:
    start(pool, broken=["bad"])

    pool.load(0, 4, spec("bad", broken=["bad"]))
    (event,) = wait(pool)

    assert isinstance(event, CheckpointFailed)
    assert (event.engine, event.spec) == (0, 4)


def test_an_engine_that_cannot_be_made_is_lost(pool: Pool) -> None:
    event = start(pool, kind="tests.driver.engines:NoRoom")

    assert event == Lost(engine=0, message="no memory for the weights")


def test_a_shard_can_fail_and_its_engine_live(pool: Pool) -> None:
    start(pool, faults=[{"kind": "raise", "sample_id": "b"}])

    pool.run(0, work(0, "a", "b"))
    (failed,) = wait(pool)
    pool.run(0, work(1, "c"))
    (done,) = wait(pool)

    assert isinstance(failed, Failed)
    assert (failed.engine, failed.shard) == (0, 0)
    assert "plays 'raise' for sample 'b'" in failed.message
    assert isinstance(done, Done)


def test_an_engine_that_died_is_lost_and_its_place_can_be_taken(pool: Pool) -> None:
    start(pool, faults=[{"kind": "dead", "sample_id": "b"}])

    pool.run(0, work(0, "a", "b"))
    (lost,) = wait(pool)
    event = start(pool, engine=1)

    assert isinstance(lost, Lost)
    assert lost.engine == 0
    assert "plays 'dead'" in lost.message
    assert isinstance(event, Started)
    assert event.engine == 1


def test_an_engine_that_does_not_answer_one_to_one_is_no_event(pool: Pool) -> None:
    start(pool, kind="tests.driver.engines:Foreign")

    pool.run(0, work(0, "a", "b"))

    with pytest.raises(InternalError, match="nobody-asked"):
        wait(pool)


def test_nothing_is_heard_of_a_stopped_engine(pool: Pool) -> None:
    start(pool)
    pool.run(0, work(0, "a"))
    pool.stop(0)

    assert isinstance(start(pool, engine=1), Started)  # and not the answer of engine 0
    pool.run(1, work(1, "a"))
    (event,) = wait(pool)
    assert isinstance(event, Done)
    assert (event.engine, event.shard) == (1, 1)


def test_an_engine_can_be_stopped_before_it_is_ready_and_twice(pool: Pool) -> None:
    pool.start(0, 0, spec(), DEMAND)

    pool.stop(0)
    pool.stop(0)

    assert pool.wait(0.0) == []


def test_a_pool_without_work_has_no_events(pool: Pool) -> None:
    begin = time.monotonic()

    assert pool.wait(0.1) == []

    assert time.monotonic() - begin < 5  # it does not wait for what cannot come


def test_a_closed_pool_can_be_closed_again(pool: Pool) -> None:
    start(pool)

    pool.close()
    pool.close()

    assert pool.wait(0.0) == []


def test_the_capacity_counts_engines(pool: Pool) -> None:
    assert pool.capacity()["engine"] >= 1


def test_a_demand_that_can_be_met_is_accepted(pool: Pool) -> None:
    pool.check(DEMAND)


# what only actors can do


@pytest.mark.ray
@pytest.mark.xdist_group("ray")
@pytest.mark.parametrize(
    ("demand", "named"), [({"CPU": 1000.0}, "CPU:1000"), ({"GPU": 3.0}, "GPU:3"), ({"unobtainium": 1.0}, "unobtainium:1")]
)
def test_a_demand_that_no_node_can_meet_is_refused(demand: dict[str, float], named: str, ray_pool: RayPool) -> None:
    with pytest.raises(ConfigError, match=rf"needs {named}, and no node of the cluster can ever give that. Nodes: CPU:"):
        ray_pool.check({"engine": 1.0, **demand})


@pytest.mark.ray
@pytest.mark.xdist_group("ray")
@pytest.mark.parametrize("kind", ["exit", "kill"])
def test_an_actor_whose_process_ended_is_lost(kind: str, ray_pool: RayPool) -> None:
    start(ray_pool, faults=[{"kind": kind}])

    ray_pool.run(0, work(0, "a"))
    (event,) = wait(ray_pool)

    assert isinstance(event, Lost)
    assert "ActorDiedError" in event.message


@pytest.mark.ray
@pytest.mark.xdist_group("ray")
def test_actors_are_processes_of_their_own(ray_pool: RayPool) -> None:
    for engine in range(3):
        ray_pool.start(engine, 0, spec(), DEMAND)

    events = wait(ray_pool, count=3)

    pids = {event.pid for event in events if isinstance(event, Started)}
    assert len(pids - {os.getpid()}) == 3


@pytest.mark.ray
@pytest.mark.xdist_group("ray")
def test_waiting_ends_after_its_timeout(ray_pool: RayPool) -> None:
    start(ray_pool, shard_s=600)
    ray_pool.run(0, work(0, "a"))
    begin = time.monotonic()

    events = ray_pool.wait(0.2)

    assert [event for event in events if not isinstance(event, Progress)] == []
    assert time.monotonic() - begin < 30  # of the 600 s of the shard


@pytest.mark.ray
@pytest.mark.xdist_group("ray")
def test_a_frozen_actor_does_not_silence_the_others(ray_pool: RayPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raybench.driver.ray_pool.HEARTBEAT_S", 0.0)
    frozen = start(ray_pool, engine=0, shard_s=600)
    start(ray_pool, engine=1)
    ray_pool.run(0, work(0, "a"))
    assert isinstance(frozen, Started)
    os.kill(frozen.pid, signal.SIGSTOP)

    signs = 0
    deadline = time.monotonic() + 60
    shard = 1
    ray_pool.run(1, work(shard, "a"))
    while signs < 3:
        assert time.monotonic() < deadline, f"{signs} signs of life in a minute"
        for event in ray_pool.wait(0.2):
            signs += event == Progress(engine=1)
            if isinstance(event, Done):
                shard += 1
                ray_pool.run(1, work(shard, "a"))
    ray_pool.stop(0)
    while is_alive(frozen.pid):
        assert time.monotonic() < deadline, "the frozen process is still there"
        ray_pool.wait(0.05)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.ray
@pytest.mark.xdist_group("ray")
def test_a_pool_that_joined_leaves_the_cluster_running(cluster: None) -> None:
    pool = RayPool(RayConfig())
    start(pool)

    pool.close()

    other = RayPool(RayConfig())
    assert isinstance(start(other), Started)
    other.close()


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.xdist_group("ray")
@pytest.mark.parametrize("before", ["", "import ray; "], ids=["fresh", "ray is imported"])
def test_one_process_can_start_clusters_one_after_the_other(before: str, tmp_path: Path) -> None:
    code = (
        f"{before}import os; from raybench.core.config import RayConfig; from raybench.driver.ray_pool import RayPool\n"
        "for _ in range(2): RayPool(RayConfig()).close()\n"
        "print(os.environ['RAY_AUTH_TOKEN_PATH'])"
    )
    # a home without a token of the user's, which would be taken
    fresh = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | {"HOME": str(tmp_path)}

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=fresh)

    assert done.returncode == 0, done.stderr
    assert not Path(done.stdout.strip()).exists()  # the token went with the process
