"""What the dispatcher is given and what it answers: the plan by columns, and the actions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What engine processes of one sort occupy, and how many there may be."""

    demand: Mapping[str, float]
    """Resources of one engine; always with `engine: 1`."""
    max_engines: int | None
    """None: as many as fit."""
    min_engines: int = 1
    """Where so many cannot be started, the rest of the work is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shards:
    """The plan as the dispatcher needs it, by columns."""

    cost: NDArray[np.float64]
    """[num_shards] Expected work, in any unit."""
    num_requests: NDArray[np.int64]
    """[num_shards] Answers of each shard."""
    spec: NDArray[np.int32]
    """[num_shards] Engine specification of each shard."""
    spec_shape: Sequence[int]
    """[num_specs] Shape of each specification."""
    spec_model: Sequence[int]
    """[num_specs] Model of each specification: a broken checkpoint ends all its specifications."""


@dataclass(frozen=True, slots=True)
class Start:
    """Make an engine process."""

    engine: int
    spec: int


@dataclass(frozen=True, slots=True)
class Load:
    """Bring another checkpoint into a live engine."""

    engine: int
    spec: int


@dataclass(frozen=True, slots=True)
class Run:
    """Give a shard to an engine."""

    engine: int
    shard: int
    attempt: int
    """1 for the first try; a tail copy counts as a try of its own."""


@dataclass(frozen=True, slots=True)
class Stop:
    """End an engine process."""

    engine: int


@dataclass(frozen=True, slots=True)
class Commit:
    """The shard's result counts: write it down. Given once a shard."""

    shard: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Note:
    """Something the user should hear about."""

    kind: Literal["retry", "gave_up", "engine_lost", "engine_leaving", "engine_stalled", "model_failed", "tail_copy", "shape_failed"]
    message: str
    shard: int | None = None
    engine: int | None = None


Action = Start | Load | Run | Stop | Commit | Note
