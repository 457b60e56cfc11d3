"""What holds for one model and one task: overrides from weak to strong, and `auto` replaced."""

from __future__ import annotations

from typing import Any

import pytest

from raybench.core.config import ModelConfig, ResourcesConfig, RunConfig
from raybench.core.config_file import parse
from raybench.core.engine_config import engine_config
from raybench.core.errors import ConfigError
from raybench.core.resolve import demand_of, engine_for, identity_of, options_of, resources_for, sampling_for
from raybench.core.task_config import SamplingConfig, TaskConfig
from raybench.core.types import Sampling


def three(run: dict[str, Any], model: dict[str, Any], task: dict[str, Any]) -> tuple[RunConfig, ModelConfig, TaskConfig]:
    config = parse({"name": "a", "models": [{"checkpoint": "m", **model}], "tasks": [{"name": "t", **task}], **run})
    return config, config.models[0], config.tasks[0]


def resolved(run: dict[str, Any], model: dict[str, Any], task: dict[str, Any], *, has_gpus: bool = False) -> tuple[Any, Any]:
    where = three(run, model, task)
    resources = resources_for(*where, has_gpus=has_gpus)
    return resources, engine_for(*where, resources)


def test_the_task_s_word_is_stronger_than_the_model_s_and_that_one_than_the_run_s() -> None:
    run = {"engine": {"kind": "pytorch", "threads": 1, "batch_tokens": 10, "max_length": 100}, "resources": {"engines": 1, "memory_gb": 4}}
    model = {"engine": {"threads": 2, "batch_tokens": 20}, "resources": {"engines": 2, "cpus_per_engine": 2}}
    task = {"engine": {"threads": 3}, "resources": {"engines": 3}}

    resources, engine = resolved(run, model, task)

    assert (engine.threads, engine.batch_tokens, engine.max_length) == (3, 20, 100)
    assert (resources.engines, resources.cpus_per_engine, resources.memory_gb) == (3, 2.0, 4.0)


def test_sampling_is_the_task_s_own_with_overrides_in_order() -> None:
    own = Sampling(max_tokens=64, stop=("\n",))

    found = sampling_for(own, SamplingConfig(temperature=0.5, top_k=5), SamplingConfig(temperature=0.7), SamplingConfig(stop=()))

    assert found == Sampling(max_tokens=64, stop=(), temperature=0.7, top_k=5)
    assert sampling_for(None, SamplingConfig(temperature=1.0)) is None
    assert sampling_for(own) == own


@pytest.mark.parametrize(
    ("engine", "gpus", "has_gpus", "device", "dtype", "gpus_per_engine"),
    [
        ({"kind": "pytorch"}, None, False, "cpu", "float32", 0.0),
        ({"kind": "pytorch"}, None, True, "cuda", "bfloat16", 1.0),
        ({"kind": "pytorch", "device": "cpu"}, None, True, "cpu", "float32", 0.0),
        ({"kind": "pytorch", "device": "mps"}, None, False, "mps", "float32", 0.0),
        ({"kind": "pytorch", "dtype": "float16"}, 0.5, True, "cuda", "float16", 0.5),
        ({"kind": "pytorch"}, 0, True, "cpu", "float32", 0.0),
        ({"kind": "fake"}, None, True, "cpu", "float32", 0.0),
    ],
)
def test_device_and_dtype_follow_from_the_gpus_of_an_engine(
    engine: dict[str, Any], gpus: float | None, has_gpus: bool, device: str, dtype: str, gpus_per_engine: float
) -> None:
    resources, found = resolved({"engine": engine, "resources": {"gpus_per_engine": gpus}}, {}, {}, has_gpus=has_gpus)

    assert (found.device, found.dtype, resources.gpus_per_engine) == (device, dtype, gpus_per_engine)


def test_a_device_without_its_gpu_is_refused_and_so_is_a_gpu_that_nobody_uses() -> None:
    with pytest.raises(ConfigError, match=r"engine\.device is cuda, but resources\.gpus_per_engine is 0"):
        resolved({"engine": {"kind": "pytorch", "device": "cuda"}}, {}, {}, has_gpus=False)
    with pytest.raises(ConfigError, match=r"a GPU would be reserved and not used"):
        resolved({"engine": {"kind": "pytorch", "device": "cpu"}, "resources": {"gpus_per_engine": 1}}, {}, {}, has_gpus=True)


def demand(resources: dict[str, Any], **engine: Any) -> dict[str, float]:
    return demand_of(ResourcesConfig.model_validate(resources), engine_config({"kind": "pytorch", **engine}))


def test_an_engine_demands_what_its_resources_say() -> None:
    assert demand({}, threads=3) == {"engine": 1.0, "CPU": 3.0}
    assert demand({"gpus_per_engine": 1}, threads=3) == {"engine": 1.0, "CPU": 1.0, "GPU": 1.0}
    assert demand({"gpus_per_engine": 0.25, "cpus_per_engine": 2}) == {"engine": 1.0, "CPU": 2.0, "GPU": 0.25}
    assert demand({"cpus_per_engine": 0, "memory_gb": 2, "custom": {"tpu": 4, "none": 0}}) == {"engine": 1.0, "memory": 2e9, "tpu": 4.0}
    with pytest.raises(ConfigError, match="neither a whole number nor a fraction below 1"):
        demand({"gpus_per_engine": 1.5})


def test_options_that_only_cost_time_are_no_part_of_the_identity() -> None:
    slow = engine_config({"kind": "fake", "shard_s": 9, "concurrency": 4, "faults": [{"kind": "raise"}]})
    other = engine_config({"kind": "fake", "answer": "echo"})

    assert identity_of(slow) == identity_of(engine_config({"kind": "fake"}))
    assert identity_of(other) != identity_of(slow)
    assert options_of(slow)["shard_s"] == 9


def test_further_options_of_an_engine_of_one_s_own_are_part_of_its_identity() -> None:
    def identity(**options: Any) -> dict[str, Any]:
        return identity_of(engine_config({"kind": "my.module:Engine", **options}))

    assert identity(colour="red")["colour"] == "red"
    assert identity(colour="red") != identity(colour="blue")
    assert "kind" not in options_of(engine_config({"kind": "my.module:Engine"}))
