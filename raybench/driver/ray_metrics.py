"""Numbers of a run for Prometheus, through Ray's metrics: each node's metrics port shows them with `ray_` before the name.

Sums over the label `WorkerId` are what counts: every driver and every actor is a series of its own. Neither samples nor shards are labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DRIVER = {
    "raybench_samples_total": ("samples that are committed", ("model", "task")),
    "raybench_tokens_total": ("tokens of committed shards; kind: prompt or output", ("model", "kind")),
    "raybench_shards_pending": ("shards that wait for an engine", ()),
    "raybench_shards_in_flight": ("shards that run", ()),
    "raybench_engines": ("engine processes that start or live", ()),
    "raybench_retries_total": ("shards that were tried again", ()),
    "raybench_engine_starts_total": ("engines that became ready, or took another checkpoint", ("model",)),
    "raybench_engine_losses_total": ("engines that were lost; reason: engine_lost, engine_stalled or engine_leaving", ("reason",)),
    "raybench_shard_seconds": ("seconds that a shard took its engine", ("model", "task")),
}
"""Name to description and labels; names that end in `_total` count up, one is a histogram, the rest are gauges."""
HISTOGRAM = "raybench_shard_seconds"
ACTOR = {
    "raybench_engine_samples_total": ("requests that this engine has answered", ("task",)),
    "raybench_engine_busy_seconds_total": ("seconds that this engine has worked on shards", ("task",)),
    "raybench_engine_load_seconds": ("seconds that its last checkpoint took to come in", ()),
}
"""The same for what an engine process says of itself."""
BOUNDARIES_S = [0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0]


class _Metrics:
    """Ray's metric objects, made when they are first needed: a name appears with its first value."""

    def __init__(self, table: Mapping[str, tuple[str, tuple[str, ...]]]) -> None:
        self._table = table
        self._made: dict[str, Any] = {}

    def add(self, name: str, value: float = 1.0, **labels: str) -> None:
        """Count up, set or observe, as the name says."""
        metric = self._made.get(name) or self._make(name)
        if name.endswith("_total"):
            if value > 0:  # Ray refuses to count nothing
                metric.inc(value, tags=labels)
        elif name == HISTOGRAM:
            metric.observe(value, tags=labels)
        else:
            metric.set(value, tags=labels)

    def _make(self, name: str) -> Any:
        from ray.util import metrics

        text, labels = self._table[name]
        if name.endswith("_total"):
            made: Any = metrics.Counter(name, description=text, tag_keys=labels)
        elif name == HISTOGRAM:
            made = metrics.Histogram(name, description=text, boundaries=BOUNDARIES_S, tag_keys=labels)
        else:
            made = metrics.Gauge(name, description=text, tag_keys=labels)
        self._made[name] = made
        return made


class DriverMetrics:
    """Follows the event log of a run."""

    def __init__(self) -> None:
        self._metrics = _Metrics(DRIVER)

    def observe(self, event: Mapping[str, Any]) -> None:
        """Take note of an event as it is logged, or of a `tick`, which is not."""
        add = self._metrics.add
        match event["event"]:
            case "commit":
                model, task = event["model"], event["task"]
                add("raybench_samples_total", event["samples"], model=model, task=task)
                add("raybench_tokens_total", event["prompt_tokens"], model=model, kind="prompt")
                add("raybench_tokens_total", event["output_tokens"], model=model, kind="output")
                add("raybench_shard_seconds", event["seconds"], model=model, task=task)
            case "tick":
                add("raybench_shards_pending", event["pending"])
                add("raybench_shards_in_flight", event["in_flight"])
                add("raybench_engines", event["engines"])
            case "retry":
                add("raybench_retries_total")
            case "engine_started":
                add("raybench_engine_starts_total", model=event["model"])
            case "engine_lost" | "engine_stalled" | "engine_leaving" as reason:
                add("raybench_engine_losses_total", reason=reason)


class ActorMetrics:
    """Of one engine process."""

    def __init__(self) -> None:
        self._metrics = _Metrics(ACTOR)

    def loaded(self, seconds: float) -> None:
        """A checkpoint came in."""
        self._metrics.add("raybench_engine_load_seconds", seconds)

    def ran(self, task: str, samples: int, seconds: float) -> None:
        """A shard was answered."""
        self._metrics.add("raybench_engine_samples_total", samples, task=task)
        self._metrics.add("raybench_engine_busy_seconds_total", seconds, task=task)
