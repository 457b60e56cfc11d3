"""What holds for one model and one task: overrides merged, `auto` replaced. Pure.

Order of overrides, from weak to strong: the task's own values, the run, the model, the run's entry for the task.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from raybench.core.config import ModelConfig, ResourcesConfig, RunConfig
from raybench.core.engine_config import CustomConfig, EngineConfig, engine_config, merge
from raybench.core.errors import ConfigError
from raybench.core.task_config import SamplingConfig, TaskConfig
from raybench.core.types import Sampling


def resources_for(run: RunConfig, model: ModelConfig, task: TaskConfig, *, has_gpus: bool) -> ResourcesConfig:
    """Resources of the engines that serve this pair, with `gpus_per_engine` filled in."""
    merged = ResourcesConfig.model_validate({**run.resources.model_dump(exclude_unset=True), **model.resources, **task.resources})
    if merged.gpus_per_engine is not None:
        return merged
    engine = engine_config(merge(run.engine, model.engine, task.engine))
    wants_gpu = has_gpus and engine.kind != "fake" and engine.device in ("auto", "cuda")
    return merged.model_copy(update={"gpus_per_engine": float(engine.num_devices) if wants_gpu else 0.0})


def engine_for(run: RunConfig, model: ModelConfig, task: TaskConfig, resources: ResourcesConfig) -> EngineConfig:
    """The engine block of this pair, with device and dtype filled in.

    Raises:
        ConfigError: when the device and the resources contradict each other.
    """
    merged = engine_config(merge(run.engine, model.engine, task.engine))
    gpus = resources.gpus_per_engine or 0.0
    device = merged.device if merged.device != "auto" else ("cuda" if gpus else "cpu")
    if device == "cuda" and not gpus:
        raise ConfigError(f"engine.device is cuda, but resources.gpus_per_engine is {gpus:g}. Set it to 1, or the device to cpu.")
    if device != "cuda" and gpus and merged.kind != "fake":
        raise ConfigError(f"engine.device is {device}, but resources.gpus_per_engine is {gpus:g}: a GPU would be reserved and not used.")
    if device == "cuda" and merged.num_devices > 1 and gpus != merged.num_devices:
        raise ConfigError(
            f"resources.gpus_per_engine is {gpus:g}, but the engine block asks for {merged.num_devices} GPUs (tensor_parallel_size x "
            f"pipeline_parallel_size). Set it to {merged.num_devices}, or leave it out."
        )
    dtype = merged.dtype if merged.dtype != "auto" else ("bfloat16" if device == "cuda" else "float32")
    return merged.model_copy(update={"device": device, "dtype": dtype})


def options_of(engine: EngineConfig) -> dict[str, Any]:
    """The engine block as plain data for the engine's factory, without `kind`."""
    dumped = engine.model_dump(mode="json", exclude={"kind"})
    return {**dumped, **(engine.model_extra or {})} if isinstance(engine, CustomConfig) else dumped


def identity_of(engine: EngineConfig) -> dict[str, Any]:
    """The part of the engine block that can change a number."""
    return {k: v for k, v in sorted(options_of(engine).items()) if k not in engine.measured_only}


def demand_of(resources: ResourcesConfig, engine: EngineConfig) -> dict[str, float]:
    """What one engine process takes from a cluster: its resources, `engine: 1`, and `bundles` where its GPUs may be on several machines."""
    gpus = resources.gpus_per_engine or 0.0
    if gpus > 1 and gpus != int(gpus):
        raise ConfigError(f"resources.gpus_per_engine: {gpus:g} is neither a whole number nor a fraction below 1.")
    cpus = resources.cpus_per_engine
    demand = {"engine": 1.0, "CPU": (1.0 if gpus else float(engine.threads)) if cpus is None else cpus, "GPU": gpus}
    if engine.num_bundles > 1:
        if not gpus:
            raise ConfigError(
                "engine.across_nodes: spreads the GPUs of an engine, and it has none. Leave it out, or run it on a cluster with GPUs."
            )
        demand["bundles"] = float(engine.num_bundles)
    if resources.memory_gb is not None:
        demand["memory"] = resources.memory_gb * 1e9
    return {name: amount for name, amount in {**demand, **resources.custom}.items() if amount > 0}


def sampling_for(own: Sampling | None, *overrides: SamplingConfig) -> Sampling | None:
    """A task's sampling with the overrides applied in order; None stays None (nothing is generated)."""
    if own is None:
        return None
    fields: Mapping[str, Any] = {}
    for override in overrides:
        fields = {**fields, **override.model_dump(exclude_none=True)}
    return replace(own, **fields)
