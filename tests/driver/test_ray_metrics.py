"""What Prometheus would see: the metrics port of a real node, scraped while a run goes on."""

from __future__ import annotations

import os
import re
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from raybench.core.config import RayConfig
from raybench.core.pool import Done, Event
from raybench.core.ray_auth import has_token
from raybench.driver.ray_cluster import make_token
from raybench.driver.ray_metrics import ACTOR, DRIVER
from raybench.driver.ray_pool import RayPool
from raybench.driver.run import run
from tests.driver.runs import ROOT, events_of, fake_config

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.xdist_group("ray")]


@pytest.fixture
def port() -> Iterator[int]:
    """The metrics port of a cluster of one node, whose processes report often."""
    if not has_token():
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(make_token())
    os.environ["RAY_AUTH_MODE"] = "token"
    import ray
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 2, "object_store_memory": 80_000_000, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args={**head, "_system_config": {"metrics_report_interval_ms": 300}})
    ray.init(address=made.address, logging_level="ERROR", log_to_driver=False, configure_logging=False)
    yield int(ray.nodes()[0]["MetricsExportPort"])
    ray.shutdown()
    made.shutdown()


def scrape(port: int) -> dict[tuple[str, str], float]:
    """(name, labels of ours) to the sum over processes."""
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
    found: dict[tuple[str, str], float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.startswith("ray_raybench_"):
                labels = " ".join(sample.labels[k] for k in ("model", "task", "kind", "reason") if sample.labels.get(k))
                found[sample.name, labels] = found.get((sample.name, labels), 0.0) + sample.value
    return found


class Scraped(RayPool):
    """Scrapes when a third of the answers are there and their engines still live."""

    def __init__(self, port: int) -> None:
        super().__init__(RayConfig())
        self._port, self._done = port, 0
        self.seen: dict[tuple[str, str], float] = {}

    def wait(self, timeout_s: float) -> list[Event]:
        events = super().wait(timeout_s)
        before, self._done = self._done, self._done + sum(isinstance(e, Done) for e in events)
        if before < 4 <= self._done:
            deadline = time.monotonic() + 60
            answered = "ray_raybench_engine_samples_total", "quickstart/choice"
            while self.seen.get(answered, 0) < 8 and time.monotonic() < deadline:
                self.seen |= scrape(self._port)
                threading.Event().wait(0.2)
        return events


def test_a_scrape_of_the_node_s_port_shows_the_run(port: int, tmp_path: Path) -> None:
    tasks = [{"name": "quickstart/choice", "limit": 24, "shard_size": 2}]
    pool = Scraped(port)

    report = run(fake_config(tmp_path / "run", tasks=tasks, engine={"shard_s": 0.1}, pool="ray", resources={"engines": 2}), pool=pool)

    deadline = time.monotonic() + 60
    while (seen := scrape(port)).get(("ray_raybench_samples_total", "one quickstart/choice")) != 24 and time.monotonic() < deadline:
        threading.Event().wait(0.2)
    assert report.exit_code == 0
    assert seen["ray_raybench_samples_total", "one quickstart/choice"] == 24
    assert seen["ray_raybench_engine_starts_total", "one"] == 2
    assert seen["ray_raybench_shard_seconds_count", "one quickstart/choice"] == 12
    commits = events_of(tmp_path / "run", "commit")
    assert seen["ray_raybench_tokens_total", "one prompt"] == sum(event["prompt_tokens"] for event in commits) > 0
    assert {name for name, _ in seen} >= {"ray_raybench_shards_pending", "ray_raybench_shards_in_flight", "ray_raybench_engines"}
    assert 8 <= pool.seen["ray_raybench_engine_samples_total", "quickstart/choice"] <= 24
    assert pool.seen["ray_raybench_engine_busy_seconds_total", "quickstart/choice"] > 0.4
    assert {f"ray_{name}" for name in ACTOR} <= {name for name, _ in pool.seen}


def test_the_documented_names_are_those_that_are_published() -> None:
    documented = re.findall(r"^\| `ray_(raybench_\w+)` \|", (ROOT / "cluster" / "README.md").read_text(), re.MULTILINE)

    assert documented == [*DRIVER, *ACTOR]


def test_every_label_set_is_small() -> None:
    labels: set[Any] = {label for table in (DRIVER, ACTOR) for _, names in table.values() for label in names}

    assert labels == {"model", "task", "kind", "reason"}  # never a shard, a sample or an engine
