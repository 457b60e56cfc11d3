"""The vLLM engine of a checkpoint, by the architecture that its configuration names."""

from __future__ import annotations

from raybench.core.errors import CheckpointError
from raybench.core.protocols import Engine, EngineSpec
from raybench.core.types import Kind
from raybench.engines import loading, pytorch_load
from raybench.engines.families import served_by_vllm
from raybench.engines.vllm_engine import VllmEngine
from raybench.engines.vllm_pooling import VllmPoolingEngine


def vllm_engine(spec: EngineSpec) -> Engine:
    """Make the engine that runs the checkpoint of `spec`.

    Raises:
        CheckpointError: when it cannot be loaded, or vLLM cannot run its architecture.
        ConfigError: when vLLM is missing or refuses the options.
        EngineDead: when vLLM does not start.
    """
    names = loading.read_config(pytorch_load.folder_of(spec.checkpoint)).get("architectures") or ()
    kinds = served_by_vllm(names)
    if not kinds:
        raise CheckpointError(f"checkpoint '{spec.checkpoint.uri}': vLLM has no way to ask its architecture {', '.join(names)}.")
    return VllmEngine(spec) if Kind.GENERATE in kinds else VllmPoolingEngine(spec)
