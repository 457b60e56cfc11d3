"""Several nodes for real: a head without work and raylets that come and go, on this machine."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raybench.core.checkpoint import Checkpoint
from raybench.core.config import RayConfig, RunConfig
from raybench.core.errors import ConfigError
from raybench.core.pool import Done, Event, Started
from raybench.core.protocols import EngineSpec
from raybench.core.ray_auth import has_token
from raybench.driver import ray_pool
from raybench.driver.ray_cluster import make_token
from raybench.driver.ray_pool import RayPool
from raybench.driver.run import run
from tests.driver.runs import content_rows, events_of, fake_config

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.xdist_group("ray")]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head that does no work; tests add nodes and take them away."""
    if not has_token():
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(make_token())
    os.environ["RAY_AUTH_MODE"] = "token"
    import ray
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 80_000_000, "include_dashboard": False})
    ray.init(address=made.address, logging_level="ERROR", log_to_driver=False, configure_logging=False)
    yield made
    ray.shutdown()
    made.shutdown()


def add(cluster: Any) -> Any:
    """A node with room for one engine."""
    return cluster.add_node(num_cpus=1, object_store_memory=80_000_000)


def config(output: Path, **changes: Any) -> RunConfig:
    """24 shards of a while; an engine takes a node for itself."""
    base: dict[str, Any] = {
        "tasks": [{"name": "quickstart/choice", "limit": 48, "shard_size": 2}],
        "engine": {"kind": "fake", "shard_s": 0.4},
        "resources": {"cpus_per_engine": 1, "engines": 2},
        "pool": "ray",
    }
    return fake_config(output, **{**base, **changes})


class Watched(RayPool):
    """Calls back with the events."""

    def __init__(self, on_events: Any, config: RayConfig | None = None) -> None:
        super().__init__(config or RayConfig())
        self._on_events = on_events

    def wait(self, timeout_s: float) -> list[Event]:
        events = super().wait(timeout_s)
        self._on_events(events)
        return events


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The rows of the same run in this process."""
    folder = tmp_path_factory.mktemp("straight") / "run"
    run(config(folder, pool="local", engine={"shard_s": 0}))
    return content_rows(folder)


def test_a_node_that_goes_costs_at_most_what_it_had_in_hand(cluster: Any, straight: str, tmp_path: Path) -> None:
    nodes = [add(cluster), add(cluster)]
    seen = {"started": 0, "done": 0, "gone": False}

    def look(events: list[Event]) -> None:
        seen["started"] += sum(isinstance(e, Started) for e in events)
        seen["done"] += sum(isinstance(e, Done) for e in events)
        if seen["started"] == 2 and seen["done"] >= 4 and not seen["gone"]:
            seen["gone"] = True
            cluster.remove_node(nodes[0], allow_graceful=False)

    report = run(config(tmp_path / "run"), pool=Watched(look))

    cluster.remove_node(nodes[1])
    assert seen["gone"]
    assert report.exit_code == 0
    tries = [event["attempt"] for event in events_of(tmp_path / "run", "run")]
    assert len(tries) - 24 <= 1 + len(
        events_of(tmp_path / "run", "tail_copy")
    )  # one shard was in hand there; a late one may have run twice
    assert len(events_of(tmp_path / "run", "engine_lost")) == 1
    assert content_rows(tmp_path / "run") == straight


def test_a_node_that_is_drained_ends_its_shard_and_gets_no_further_one(
    cluster: Any, straight: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_pool, "HEARTBEAT_S", 0.2)
    nodes = [add(cluster), add(cluster)]
    wait_for_cpus(2)
    seen = {"started": 0, "done": 0}

    def look(events: list[Event]) -> None:
        before = dict(seen)
        seen["started"] += sum(isinstance(e, Started) for e in events)
        seen["done"] += sum(isinstance(e, Done) for e in events)
        if seen["started"] == 2 and before["done"] < 4 <= seen["done"]:
            drain(cluster, nodes[0])

    report = run(config(tmp_path / "run"), pool=Watched(look))

    for node in nodes:
        cluster.remove_node(node)
    assert report.exit_code == 0
    events = events_of(tmp_path / "run")
    (told,) = (i for i, event in enumerate(events) if event["event"] == "engine_leaving")
    gone = events[told]["engine"]
    assert [event for event in events[told:] if event["event"] == "run" and event["engine"] == gone] == []
    assert len([event for event in events[told:] if event["event"] == "run"]) > 4  # the other one goes on
    tails = len(events_of(tmp_path / "run", "tail_copy"))
    assert len(events_of(tmp_path / "run", "run")) == 24 + tails  # nothing was lost and nothing was tried again
    assert {"engine_lost", "retry"}.isdisjoint(event["event"] for event in events)
    assert content_rows(tmp_path / "run") == straight


def test_engines_live_on_different_nodes_and_a_node_that_comes_gets_work(
    cluster: Any, straight: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raybench.driver.loop.LOOK_S", 0.5)
    nodes = [add(cluster)]
    wait_for_cpus(1)

    def look(events: list[Event]) -> None:
        if any(isinstance(e, Done) for e in events) and len(nodes) == 1:
            nodes.append(add(cluster))  # Ray starts nodes in the main thread only: the run waits meanwhile

    report = run(config(tmp_path / "run", tasks=[{"name": "quickstart/choice", "limit": 96, "shard_size": 2}]), pool=Watched(look))

    for node in nodes:
        cluster.remove_node(node)
    assert report.exit_code == 0
    assert report.outcome.num_engines_started == 2
    first, second = events_of(tmp_path / "run", "engine_started")
    assert first["pid"] != second["pid"]
    workers = {event["engine"] for event in events_of(tmp_path / "run", "run")}
    assert workers == {0, 1}  # with one CPU an engine and one CPU a node, the second engine is on the node that came


def test_a_cluster_that_grows_is_asked_for_more_than_it_has(cluster: Any, straight: str, tmp_path: Path) -> None:
    growing = config(tmp_path / "run", ray={"address": cluster.address, "autoscaling": True})
    with pytest.raises(ConfigError, match="no node of the cluster can ever give that"):
        run(config(tmp_path / "refused"), pool=RayPool(RayConfig()))
    nodes: list[Any] = []

    def look(events: list[Event]) -> None:
        if not nodes:
            nodes.append(add(cluster))  # in place of an autoscaler

    report = run(growing, pool=Watched(look, growing.ray))

    cluster.remove_node(nodes[0])
    assert report.exit_code == 0
    assert content_rows(tmp_path / "run") == straight


def drain(cluster: Any, node: Any) -> None:
    """What a spot notice does: `ray drain-node`, without a process for it."""
    from ray._raylet import GcsClient
    from ray.core.generated import autoscaler_pb2

    reason = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    deadline_ms = int((time.time() + 60) * 1000)
    assert GcsClient(address=cluster.address).drain_node(node.node_id, reason, "a spot notice", deadline_ms) == (True, "")


def wait_for_cpus(count: int) -> None:
    """Until exactly so many are there: nodes of an earlier test may still be counted."""
    import ray

    deadline = time.monotonic() + 60
    while ray.cluster_resources().get("CPU", 0.0) != count:
        assert time.monotonic() < deadline
        threading.Event().wait(0.2)


def test_an_engine_larger_than_any_machine_gets_a_group_of_gpus_over_several_and_gives_it_back(cluster: Any, tmp_path: Path) -> None:
    import ray

    nodes = [cluster.add_node(num_cpus=1, num_gpus=2, object_store_memory=80_000_000) for _ in range(2)]
    cluster.wait_for_nodes()
    pool, demand = RayPool(RayConfig()), {"engine": 1.0, "CPU": 1.0, "GPU": 4.0, "bundles": 4.0}
    spec = EngineSpec(kind="tests.driver.engines:Spread", checkpoint=Checkpoint(uri="m"), options={"marker": str(tmp_path / "where")})

    pool.check(demand)
    with pytest.raises(ConfigError, match="no node of the cluster can ever give that"):
        pool.check({**demand, "bundles": 1.0})
    with pytest.raises(ConfigError, match="needs 8 GPUs, and the whole cluster has 4"):
        pool.check({**demand, "GPU": 8.0, "bundles": 8.0})
    pool.start(0, 0, spec, demand)
    (event,) = pool.wait(60)

    assert isinstance(event, Started), event
    workers = [tuple(place) for place in json.loads((tmp_path / "where").read_text())]
    assert len(set(workers)) == 4  # four GPUs ...
    assert len({node for node, _ in workers}) == 2  # ... of two machines
    pool.stop(0)
    deadline = time.monotonic() + 60
    while ray.available_resources().get("GPU") != 4.0:  # Ray takes a while to count what came back
        assert time.monotonic() < deadline
    for node in nodes:
        cluster.remove_node(node)
