"""The cluster's pool: one Ray actor an engine process. Retries and restarts are the driver's business, so Ray's own are off."""

from __future__ import annotations

import gc
import os
import platform
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from raybench.core.config import RayConfig
from raybench.core.errors import CheckpointError, ConfigError, EngineDead, EngineError, RaybenchError
from raybench.core.pool import CheckpointFailed, Done, Event, Failed, Leaving, Lost, Progress, Started, Work
from raybench.core.protocols import Engine, EngineSpec
from raybench.driver.dispatch import MAX_IN_FLIGHT
from raybench.driver.pool import bring_in, slots_of
from raybench.driver.ray_cluster import cause_of, connect, draining_nodes, node_id
from raybench.driver.ray_metrics import ActorMetrics, DriverMetrics
from raybench.driver.wire import Packed, pack_answer, pack_work, unpack_answer, unpack_work
from raybench.driver.work import run_shard

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.actor import ActorHandle

HEARTBEAT_S = 5.0
"""Between two looks at an engine's progress counter."""


class EngineActor:
    """One engine process. Its methods return plain values; an engine that died takes its process with it, so that Ray tells the driver."""

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._finished = 0
        self._lock = threading.Lock()
        pa.array([""])  # pyarrow imports pandas at its first array: now, and not while the first shard is timed
        self._metrics = ActorMetrics()

    def bring_in(self, index: int, spec: EngineSpec) -> tuple[Any, ...]:
        """Hold a checkpoint. Returns ("started", ...) or ("checkpoint", message)."""
        begin = time.perf_counter()
        try:
            gc.unfreeze()  # the model that goes may be in a cycle
            engine, self._engine = self._engine, None
            self._engine, loaded = bring_in(engine, spec)
        except CheckpointError as error:
            return "checkpoint", error.message
        except EngineError as error:
            return "dead", error.message
        gc.collect()
        gc.freeze()  # an engine's libraries are a million objects that stay: no collection has to walk through them
        seconds = time.perf_counter() - begin
        self._metrics.loaded(seconds)
        capacity = self._engine.concurrency, slots_of(self._engine)
        return "started", *capacity, self._engine.reproducible, seconds, platform.node(), os.getpid(), loaded, node_id()

    def run(self, packed: bytes) -> tuple[Any, ...] | Packed:
        """Answer a shard, packed by `pack_work`. Returns `pack_answer`, ("failed", message) or ("dead", message)."""
        if self._engine is None:
            return "failed", "the engine holds no checkpoint"
        work = unpack_work(packed)
        try:
            batch, measured = run_shard(self._engine, work)
        except EngineDead as error:
            return "dead", error.message
        except EngineError as error:
            return "failed", error.message
        with self._lock:
            self._finished += 1
        self._metrics.ran(work.asking.task, batch.num_rows, measured.seconds)
        return pack_answer(work.asking.kind, batch, measured)

    def progress(self) -> int:
        """How much was finished so far; rises while the engine lives and works."""
        return self._finished + (0 if self._engine is None else self._engine.progress())


class RayPool:
    """Engines as actors of a Ray cluster, joined or started; never shuts down a cluster that it did not start."""

    def __init__(self, config: RayConfig, *, max_engines: int | None = None) -> None:
        self._max_engines, self._grows = max_engines, config.autoscaling
        self._wanted: set[str] = set()  # names of resources that engines ask for
        self._owns = connect(config)
        import ray

        self._ray = ray
        self._actors: dict[int, ActorHandle] = {}
        self._groups: dict[int, Any] = {}  # of engines that are spread over machines
        self._waiting: dict[ObjectRef, tuple[int, int]] = {}  # ref -> (engine, spec or shard)
        self._progress: dict[int, int] = {}
        self._nodes: dict[int, str] = {}  # engine -> Ray's id of its node
        self._beats: dict[ObjectRef, int] = {}
        self._last_beat = time.monotonic()
        self._metrics = DriverMetrics()

    def capacity(self) -> Mapping[str, float]:
        total = {k: float(v) for k, v in self._ray.cluster_resources().items() if not k.startswith("node:")}
        if self._grows:  # whatever is asked for may come
            total |= dict.fromkeys(("CPU", "GPU", "memory", *self._wanted), float("inf"))
        total["bundles"] = float("inf")
        total["engine"] = float("inf") if self._max_engines is None else float(self._max_engines)
        return total

    def check(self, demand: Mapping[str, float]) -> None:
        wanted = _bundles(demand)[0]
        self._wanted |= set(wanted)
        if self._grows:
            return
        nodes = [n["Resources"] for n in self._ray.nodes() if n["Alive"]]
        num_gpus = sum(n.get("GPU", 0.0) for n in nodes)
        if demand.get("GPU", 0.0) > num_gpus and len(_bundles(demand)) > 1:
            raise ConfigError(
                f"resources: one engine needs {demand['GPU']:g} GPUs, and the whole cluster has {num_gpus:g}. Lower tensor_parallel_size or "
                "pipeline_parallel_size, or join a larger cluster."
            )
        if not any(all(n.get(name, 0.0) >= amount - 1e-9 for name, amount in wanted.items()) for n in nodes):
            offers = "; ".join(_amounts({k: v for k, v in n.items() if k in {*wanted, "CPU", "GPU"}}) for n in nodes)
            raise ConfigError(
                f"resources: one engine needs {_amounts(wanted)}, and no node of the cluster can ever give that. Nodes: {offers}. "
                "Lower gpus_per_engine, cpus_per_engine, memory_gb or custom, or join a larger cluster."
            )

    def start(self, engine: int, index: int, spec: EngineSpec, demand: Mapping[str, float]) -> None:
        bundles = _bundles(demand)
        custom = {k: v for k, v in bundles[0].items() if k not in ("CPU", "GPU", "memory")}
        actor = self._ray.remote(EngineActor).options(
            num_cpus=demand.get("CPU", 0),
            num_gpus=demand.get("GPU", 0) if len(bundles) == 1 else 0,
            memory=demand.get("memory"),
            resources=custom,
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=_num_threads(spec),
            scheduling_strategy=None if len(bundles) == 1 else self._group(engine, bundles),
        )
        self._actors[engine] = actor.remote()
        self.load(engine, index, spec)

    def _group(self, engine: int, bundles: list[dict[str, float]]) -> Any:
        """A place for the engine in bundle 0 of a group of its own; its workers take the GPUs, also that of bundle 0."""
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        group = self._ray.util.placement_group(bundles, strategy="PACK")
        self._groups[engine] = group
        return PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=0, placement_group_capture_child_tasks=True)

    def load(self, engine: int, index: int, spec: EngineSpec) -> None:
        self._waiting[self._actors[engine].bring_in.remote(index, spec)] = engine, index

    def run(self, engine: int, work: Work) -> None:
        self._waiting[self._actors[engine].run.remote(pack_work(work))] = engine, work.shard

    def wait(self, timeout_s: float) -> list[Event]:
        leaving = self._ask_for_progress()
        refs = [*self._waiting, *self._beats]
        if leaving or not refs:
            return leaving
        ready, _ = self._ray.wait(refs, num_returns=len(refs), timeout=0)
        if not ready:
            ready, _ = self._ray.wait(refs, num_returns=1, timeout=timeout_s)
        events: list[Event] = []
        for ref in ready:
            if ref in self._beats:
                events += self._beat(ref)
            elif ref in self._waiting:
                event = self._event(ref)
                if event is not None:
                    events.append(event)
        return events

    def _event(self, ref: ObjectRef) -> Event | None:
        engine, index = self._waiting.pop(ref)
        if engine not in self._actors:
            return None
        try:
            answer = self._ray.get(ref)
        except self._ray.exceptions.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, RaybenchError):
                raise cause from error
            raise error.as_instanceof_cause() from error
        except self._ray.exceptions.RayError as error:
            self._forget(engine)
            self._free(engine)
            return Lost(engine=engine, message=cause_of(error))
        match answer:
            case ("started", concurrency, slots, reproducible, seconds, node, pid, loaded, node_id):
                self._nodes[engine] = node_id
                return Started(
                    engine=engine, spec=index, concurrency=concurrency, slots=slots, reproducible=reproducible,
                    seconds=seconds, node=node, pid=pid, loaded=loaded,
                )  # fmt: skip
            case ("checkpoint", message):
                return CheckpointFailed(engine=engine, spec=index, message=message)
            case bytes() | (bytes(), _):
                batch, measured = unpack_answer(answer)
                return Done(engine=engine, shard=index, batch=batch, measured=measured)
            case ("failed", message):
                return Failed(engine=engine, shard=index, message=message)
            case (_, message):
                self.stop(engine)
                return Lost(engine=engine, message=message)
        return None

    def _ask_for_progress(self) -> list[Event]:
        """Now and then ask every working engine how far it is; the answers come with other events. Engines of nodes that go away come at once."""
        now = time.monotonic()
        if now - self._last_beat < HEARTBEAT_S:
            return []
        self._last_beat = now
        silent = set(self._beats.values())  # asked, and no answer yet: a frozen process must not keep us from asking the others
        working = {engine for engine, _ in self._waiting.values() if engine in self._actors} - silent
        self._beats |= {self._actors[engine].progress.remote(): engine for engine in sorted(working)}
        going = draining_nodes()
        told = [engine for engine, node in self._nodes.items() if node in going]
        for engine in told:  # once
            del self._nodes[engine]
        return [Leaving(engine=engine) for engine in told]

    def _beat(self, ref: ObjectRef) -> list[Event]:
        engine = self._beats.pop(ref)
        try:
            count = self._ray.get(ref)
        except self._ray.exceptions.RayError:
            return []  # the shard's own reference tells
        if count == self._progress.get(engine):
            return []
        self._progress[engine] = count
        return [Progress(engine=engine)]

    def _forget(self, engine: int) -> None:
        self._actors.pop(engine, None)
        self._progress.pop(engine, None)
        self._nodes.pop(engine, None)
        self._waiting = {ref: task for ref, task in self._waiting.items() if task[0] != engine}
        self._beats = {ref: e for ref, e in self._beats.items() if e != engine}

    def stop(self, engine: int) -> None:
        actor = self._actors.get(engine)
        self._forget(engine)
        if actor is not None:
            self._ray.kill(actor, no_restart=True)
        self._free(engine)

    def _free(self, engine: int) -> None:
        """Give back the group of an engine, which ends its workers."""
        group = self._groups.pop(engine, None)
        if group is not None:
            self._ray.util.remove_placement_group(group)

    def observe(self, event: Mapping[str, Any]) -> None:
        self._metrics.observe(event)

    def close(self) -> None:
        for engine in list(self._actors):
            self.stop(engine)
        if self._owns:
            self._ray.shutdown()


def _num_threads(spec: EngineSpec) -> int:
    """Threads of an actor: one a shard, and two for questions about progress. No more than needed: allocators keep memory for every thread."""
    in_flight = {"pytorch": 2, "fake": int(spec.options.get("concurrency", MAX_IN_FLIGHT))}
    return in_flight.get(spec.kind, MAX_IN_FLIGHT) + 2


def _bundles(demand: Mapping[str, float]) -> list[dict[str, float]]:
    """What an engine takes, in parts that are each on one machine: the GPUs in equal parts, all else with the first, where the engine itself is."""
    whole = {name: amount for name, amount in demand.items() if name not in ("engine", "bundles")}
    count = int(demand.get("bundles", 1))
    if count == 1:
        return [whole]
    part = {"GPU": whole["GPU"] / count}
    return [{**whole, **part}, *(dict(part) for _ in range(count - 1))]


def _amounts(resources: Mapping[str, float]) -> str:
    return ", ".join(f"{name}:{amount:g}" for name, amount in sorted(resources.items())) or "nothing"
