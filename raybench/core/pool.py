"""Where engines live: the protocol Pool, the shards that go in, and the events that come out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from raybench.core.protocols import EngineSpec
from raybench.core.types import Asking


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One shard as an engine process gets it: everything but the weights."""

    shard: int
    """Index in the plan."""
    requests: pa.RecordBatch
    """Rows of the request table (schema.REQUESTS), one a sample and request, without repeats."""
    shots: pa.RecordBatch
    """The few-shot examples that the rows refer to by row number (schema.SHOTS)."""
    asking: Asking


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was measured while a shard ran: telemetry, never content."""

    started: float
    """Seconds since the epoch, on the node that ran the shard."""
    seconds: float
    node: str
    pid: int
    num_prompt_tokens: int
    num_output_tokens: int
    batch_tokens: int | None = None
    """Token budget of a forward pass in the end; None where the engine has none."""
    is_budget_halved: bool = False
    """Whether memory ran out and the budget was lowered for this shard."""
    notices: tuple[str, ...] = ()
    """What the engine has to say to the user; the same ones with every shard."""
    numerics: Mapping[str, str] = field(default_factory=dict)
    """See `protocols.Answers`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """An engine process is ready and holds a checkpoint."""

    engine: int
    spec: int
    """Index of the engine specification in the plan."""
    concurrency: int
    """Shards the engine works on at once, at least."""
    slots: int = 0
    """Requests it works on at once; 0: only shards count."""
    reproducible: str
    """`exact` or `measured`, as the engine says of itself."""
    seconds: float
    node: str
    pid: int
    loaded: str
    """How the checkpoint came in: `fresh` or `swap`; `fresh: reason` where a swap was tried and did not count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointFailed:
    """A checkpoint cannot be loaded: its own fault, trying again elsewhere would not help."""

    engine: int
    spec: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A shard was answered."""

    engine: int
    shard: int
    batch: pa.RecordBatch
    """Content rows (schema.predictions)."""
    measured: Measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A shard was not answered, but its engine lives."""

    engine: int
    shard: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """An engine process is gone, with everything it was working on."""

    engine: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A sign of life: the engine's count of finished requests rose."""

    engine: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """The node of an engine is going away: what runs may end, and nothing further is begun there."""

    engine: int


Event = Started | CheckpointFailed | Done | Failed | Lost | Progress | Leaving


class Pool(Protocol):
    """Where engines live: this process, or actors of a Ray cluster. Only ever called by the driver, from one thread."""

    def capacity(self) -> Mapping[str, float]:
        """What the place offers in total.

        CPU, GPU and custom resources; `engine`, the most engine processes at once; `bundles` without limit where an engine may be spread over
        machines.
        """

    def check(self, demand: Mapping[str, float]) -> None:
        """Refuse, with a ConfigError, a demand that no machine of the place can ever meet."""

    def start(self, engine: int, index: int, spec: EngineSpec, demand: Mapping[str, float]) -> None:
        """Begin to make engine number `engine` by specification number `index`; `Started`, `CheckpointFailed` or `Lost` follows."""

    def load(self, engine: int, index: int, spec: EngineSpec) -> None:
        """Bring another checkpoint into a live engine process; the same events follow."""

    def run(self, engine: int, work: Work) -> None:
        """Give a shard to an engine; `Done`, `Failed` or `Lost` follows."""

    def wait(self, timeout_s: float) -> list[Event]:
        """Events since the last call; waits at most `timeout_s` for the first one."""

    def stop(self, engine: int) -> None:
        """End an engine process at once; no event follows."""

    def observe(self, event: Mapping[str, Any]) -> None:
        """What the driver logs, as it happens, for the place's own metrics.

        Besides the events of the log a `tick` now and then, with `pending` and `in_flight` shards and `engines`.
        """

    def close(self) -> None:
        """End all engines, and the cluster if this pool started it."""
