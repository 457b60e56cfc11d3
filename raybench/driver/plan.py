"""What will be done: models x tasks cut into shards, each named by a fingerprint of everything that can change its rows. Pure.

    pair      one (model, task) of the run, asked in one form
    spec      one checkpoint run in one way: what an engine process holds
    shape     specifications that can follow each other inside a live engine process
    shard     samples [start, stop) of a pair: the unit of batching, retry, resume and identity

The number of engines is no part of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raybench.core.checkpoint import Checkpoint
from raybench.core.config import ModelConfig, RunConfig
from raybench.core.engine_config import EngineConfig
from raybench.core.fingerprint import digest
from raybench.core.protocols import EngineSpec
from raybench.core.resolve import demand_of, engine_for, identity_of, options_of, resources_for
from raybench.core.task_config import TaskConfig
from raybench.core.types import Asking, Kind, Sampling
from raybench.driver.actions import Shape

ENGINE_REVISION = 3
"""Rises when a change in raybench itself changes what an engine answers to the same request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedModel:
    """One checkpoint of the run."""

    name: str
    checkpoint: Checkpoint
    config: ModelConfig
    failed: str | None = None
    """Why it cannot be evaluated; it keeps its row in the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPair:
    """One model asked one task, before it is cut into shards."""

    model: int
    """Index in the plan's models."""
    task: str
    """Label of the task."""
    config: TaskConfig
    asking: Asking
    prompts: str
    """Name of the prompt set."""
    metrics: Sequence[str]
    """What is computed of the answers."""
    task_identity: Mapping[str, Any]
    """Version, data and examples of the task: readable parts of the fingerprint."""
    limit: int | None
    """Only the first n samples; no part of the fingerprint, since whole shards under it are the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptShards:
    """The shards of one prompt set, by columns."""

    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    num_requests: NDArray[np.int64]
    cost: NDArray[np.float64]
    """Characters of the shard's requests."""
    digests: Sequence[str]
    """Of the shard's requests and the examples they refer to."""

    @property
    def num_samples(self) -> int:
        """Samples of the set."""
        return int(self.stop[-1]) if len(self.stop) else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One model asked one task."""

    index: int
    model: int
    model_name: str
    task: str
    kind: Kind
    prompts: str
    asking: Asking
    metrics: Sequence[str]
    spec: int
    identity: Mapping[str, Any]
    """Everything that can change its rows, readable."""
    limit: int | None
    first_shard: int
    stop_shard: int
    num_samples: int

    @property
    def shards(self) -> range:
        """Indices of its shards in the plan."""
        return range(self.first_shard, self.stop_shard)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All of it, shards by columns."""

    models: Sequence[PlannedModel]
    pairs: Sequence[Pair]
    specs: Sequence[EngineSpec]
    spec_shape: Sequence[int]
    spec_model: Sequence[int]
    shapes: Sequence[Shape]
    shard_pair: NDArray[np.int32]
    shard_index: NDArray[np.int32]
    """Position of the shard in its prompt set."""
    shard_start: NDArray[np.int64]
    shard_stop: NDArray[np.int64]
    shard_requests: NDArray[np.int64]
    """Answers of the shard: its requests, repeats included."""
    shard_cost: NDArray[np.float64]
    fingerprints: Sequence[str]

    @property
    def num_shards(self) -> int:
        """Shards of all pairs."""
        return len(self.fingerprints)

    @property
    def num_samples(self) -> int:
        """Samples of all pairs; a sample asked of two models counts twice."""
        return sum(p.num_samples for p in self.pairs)

    @property
    def shard_spec(self) -> NDArray[np.int32]:
        """[num_shards] Engine specification of each shard."""
        of_pair = np.array([p.spec for p in self.pairs], np.int32)
        return of_pair[self.shard_pair] if len(of_pair) else np.zeros(0, np.int32)

    def describe(self) -> dict[str, Any]:
        """The plan as the manifest keeps it: readable, and equal exactly when two runs would have the same rows and metrics."""
        return {
            "models": [
                {"name": m.name, "checkpoint": m.checkpoint.uri, "revision": m.checkpoint.revision, "failed": m.failed} for m in self.models
            ],
            "pairs": [describe_pair(p) for p in self.pairs],
            "fingerprint": digest(list(self.fingerprints)),
        }


def describe_pair(pair: Pair) -> dict[str, Any]:
    """A pair as JSON, complete enough to be scored. Without its engine specification: resources number these, and change no row."""
    values = {f.name: getattr(pair, f.name) for f in fields(pair) if f.name != "spec"}
    sampling = pair.asking.sampling
    asking = {f.name: getattr(pair.asking, f.name) for f in fields(pair.asking)}
    asking["sampling"] = None if sampling is None else {f.name: getattr(sampling, f.name) for f in fields(sampling)}
    return {**values, "asking": asking, "metrics": list(pair.metrics)}


def read_pair(value: Mapping[str, Any]) -> Pair:
    """The pair that `describe_pair` wrote down; its specification, which nobody wants of a stored pair, is 0."""
    asking = dict(value["asking"])
    sampling = asking["sampling"]
    if sampling is not None:
        asking["sampling"] = Sampling(**{**sampling, "stop": tuple(sampling["stop"])})
    asking["kind"] = Kind(asking["kind"])
    asking["labels"] = tuple(asking["labels"])
    return Pair(**{**value, "kind": Kind(value["kind"]), "asking": Asking(**asking), "metrics": tuple(value["metrics"]), "spec": 0})


def fingerprints_of(identity: Mapping[str, Any], shard_digests: Sequence[str]) -> list[str]:
    """Names of the shards of a pair."""
    name = digest(identity)
    return [digest(name, d) for d in shard_digests]


def plan(
    config: RunConfig,
    models: Sequence[PlannedModel],
    pairs: Sequence[PlannedPair],
    prompts: Mapping[str, PromptShards],
    *,
    versions: Mapping[str, str],
    has_gpus: bool,
) -> Plan:
    """Cut models x tasks into shards.

    Args:
        config: The run.
        models: Its checkpoints, in order.
        pairs: What is asked of which, in plan order.
        prompts: The shards of each prompt set.
        versions: Engine kind to the versions that can change its numbers.
        has_gpus: Whether engines get a GPU where the configuration does not say.

    Raises:
        ConfigError: when overrides contradict each other.
    """
    specs: dict[str, tuple[EngineSpec, int, int]] = {}
    shapes: dict[str, tuple[int, Shape]] = {}
    planned: list[Pair] = []
    columns: list[tuple[int, PromptShards, list[str]]] = []
    first = 0
    for index, pair in enumerate(pairs):
        model = models[pair.model]
        resources = resources_for(config, model.config, pair.config, has_gpus=has_gpus)
        engine = engine_for(config, model.config, pair.config, resources)
        demand = demand_of(resources, engine)
        options = options_of(engine)
        shape_key = digest(engine.kind, options, demand, resources.engines, resources.min_engines)
        if shape_key not in shapes:
            limit = None if resources.engines == "auto" else resources.engines
            shapes[shape_key] = len(shapes), Shape(demand=demand, max_engines=limit, min_engines=resources.min_engines)
        spec_key = digest(shape_key, pair.model)
        if spec_key not in specs:
            spec = EngineSpec(kind=engine.kind, checkpoint=model.checkpoint, options=options)
            specs[spec_key] = spec, shapes[shape_key][0], pair.model
        identity = _identity(pair, model.checkpoint, engine, versions)
        shards = prompts[pair.prompts]
        columns.append((index, shards, fingerprints_of(identity, shards.digests)))
        planned.append(
            Pair(
                index=index,
                model=pair.model,
                model_name=model.name,
                task=pair.task,
                kind=pair.asking.kind,
                prompts=pair.prompts,
                asking=pair.asking,
                metrics=tuple(pair.metrics),
                limit=pair.limit,
                spec=list(specs).index(spec_key),
                identity=identity,
                first_shard=first,
                stop_shard=first + len(shards.start),
                num_samples=shards.num_samples,
            )
        )
        first += len(shards.start)
    return Plan(
        models=models,
        pairs=planned,
        specs=[spec for spec, _, _ in specs.values()],
        spec_shape=[shape for _, shape, _ in specs.values()],
        spec_model=[model for _, _, model in specs.values()],
        shapes=[shape for _, shape in shapes.values()],
        shard_pair=_joined([np.full(len(s.start), i, np.int32) for i, s, _ in columns], np.int32),
        shard_index=_joined([np.arange(len(s.start), dtype=np.int32) for _, s, _ in columns], np.int32),
        shard_start=_joined([s.start for _, s, _ in columns], np.int64),
        shard_stop=_joined([s.stop for _, s, _ in columns], np.int64),
        shard_requests=_joined([s.num_requests * planned[i].asking.num_repeats for i, s, _ in columns], np.int64),
        shard_cost=_joined([s.cost for _, s, _ in columns], np.float64),
        fingerprints=[name for _, _, names in columns for name in names],
    )


def _identity(pair: PlannedPair, checkpoint: Checkpoint, engine: EngineConfig, versions: Mapping[str, str]) -> dict[str, Any]:
    """Everything that can change a pair's rows."""
    return {
        "checkpoint": checkpoint.identity,
        "tokenizer": checkpoint.tokenizer,
        "chat_template": None if checkpoint.chat_template is None else digest(checkpoint.chat_template),
        "system_prompt": checkpoint.system_prompt,
        "fewshot_as_multiturn": checkpoint.fewshot_as_multiturn if checkpoint.chat_template else None,
        "chat_template_kwargs": dict(checkpoint.chat_template_kwargs),
        "label_map": dict(checkpoint.label_map) if pair.asking.kind in (Kind.CLASSIFY, Kind.TAG) else None,
        "think_end": checkpoint.think_end if pair.asking.kind is Kind.GENERATE else None,
        "engine": {"kind": engine.kind, **identity_of(engine), "versions": versions.get(engine.kind, ""), "revision": ENGINE_REVISION},
        "task": {"name": pair.task, **pair.task_identity},
        "asking": _asking_identity(pair.asking),
    }


def _asking_identity(asking: Asking) -> dict[str, Any]:
    """What of the asking can change rows; the seed only where something is drawn."""
    sampling = asking.sampling
    drawn = sampling is not None and sampling.temperature > 0
    return {
        "kind": asking.kind.value,
        "description": asking.description,
        "delimiter": asking.delimiter,
        "separator": asking.separator,
        "sampling": None if sampling is None else {f.name: getattr(sampling, f.name) for f in fields(sampling)},
        "repeats": asking.num_repeats,
        "keep_tokens": asking.keep_tokens,
        "labels": list(asking.labels),
        "seed": asking.seed if drawn else None,
    }


def _joined(parts: Sequence[NDArray[Any]], kind: Any) -> NDArray[Any]:
    return np.concatenate(parts).astype(kind) if parts else np.zeros(0, kind)
