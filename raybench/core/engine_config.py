"""The engine block of a configuration: what every engine understands, and the fields of each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field, ValidationError

from raybench.core.errors import ConfigError
from raybench.core.mistakes import Strict, mistakes_of, suggest


class EngineConfig(Strict):
    """What every engine understands. Each of these can change numbers and is part of the fingerprint, unless `measured_only` names it."""

    measured_only: ClassVar[frozenset[str]] = frozenset()
    """Fields that change how long an answer takes or whether it comes, never what it is."""

    kind: str = "pytorch"
    """Engine: fake, pytorch, or package.module:Class."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of weights and activations; auto: float32 on a CPU, bfloat16 on a GPU."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where the model runs; auto: cuda when the engine has a GPU, otherwise cpu."""
    threads: int = Field(2, ge=1)
    """Compute threads of one engine; fixed, never the number of cores, since it can change numbers."""
    max_length: int | None = Field(None, ge=2)
    """Context in tokens; None: what the checkpoint's configuration says."""
    batch_tokens: int = Field(8192, ge=1)
    """Most padded tokens in one forward pass; batches are formed inside a shard only."""
    overlong: Literal["error", "truncate_left", "fewer_shots"] = "error"
    """What happens to a prompt that does not fit: an error row, cut on the left, or examples dropped from the front."""


class Fault(Strict):
    """A failure that the fake engine plays."""

    sample_id: str | None = None
    """Strikes the shard that holds this sample; None: every shard."""
    kind: Literal["error", "raise", "dead", "exit", "kill", "hang", "nan", "row"] = "raise"
    """error, raise: the shard fails; dead: the engine says it is dead; exit, kill: its process ends; hang: it never answers; nan, row: an error row."""
    times: int | None = Field(None, ge=1)
    """How often, counted per engine process; None: always."""


class FakeConfig(EngineConfig):
    """The fake engine: answers are a pure function of the request; for tests, benchmarks and trying out a configuration."""

    measured_only: ClassVar[frozenset[str]] = frozenset({"start_s", "shard_s", "request_s", "concurrency", "faults", "broken"})

    kind: Literal["fake"] = "fake"
    answer: Literal["digest", "echo", "first"] = "digest"
    """digest: drawn from a hash of the request; echo: the prompt; first: a short constant text, the first option."""
    num_characters: int = Field(24, ge=0)
    """Length of a generated text with `digest`."""
    start_s: float = Field(0.0, ge=0)
    """Seconds that loading takes."""
    shard_s: float = Field(0.0, ge=0)
    """Seconds that a shard takes, whatever its size."""
    request_s: float = Field(0.0, ge=0)
    """Seconds that each request takes."""
    context: int = Field(1_000_000, ge=1)
    """Characters that fit into a prompt."""
    concurrency: int = Field(1, ge=1)
    """Shards at once."""
    faults: tuple[Fault, ...] = ()
    """Failures to play, first match wins."""
    broken: tuple[str, ...] = ()
    """Checkpoint names that cannot be loaded."""


class PytorchConfig(EngineConfig):
    """Any decoder of transformers, run by PyTorch."""

    kind: Literal["pytorch"] = "pytorch"
    attn_implementation: Literal["sdpa", "eager"] = "sdpa"
    """Attention kernel."""


class CustomConfig(EngineConfig):
    """An engine of your own; further keys go to its factory."""

    model_config = ConfigDict(extra="allow", frozen=True, use_attribute_docstrings=True)


ENGINES: dict[str, type[EngineConfig]] = {"fake": FakeConfig, "pytorch": PytorchConfig}


def engine_config(block: Mapping[str, Any]) -> EngineConfig:
    """The engine block as its engine's own configuration.

    Raises:
        ConfigError: for an unknown engine or field; all mistakes in one message.
    """
    kind = block.get("kind", "pytorch")
    if not isinstance(kind, str):
        raise ConfigError(f"engine.kind: expected a name, found {kind!r}.")
    model = ENGINES.get(kind)
    if model is None:
        if not re.fullmatch(r"[\w.]+:\w+", kind):
            raise ConfigError(
                f"engine.kind: '{kind}' is not an engine.{suggest(kind, ENGINES)} Known: {', '.join(ENGINES)}; or write package.module:Class."
            )
        model = CustomConfig
    try:
        return model.model_validate({**block, "kind": kind})
    except ValidationError as error:
        raise ConfigError("\n".join(f"engine.{line}" for line in mistakes_of(error, model))) from error


def merge(base: Mapping[str, Any], *overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Engine blocks from general to special: fields override one by one, another `kind` begins afresh."""
    merged = dict(base)
    for override in overrides:
        other = override.get("kind", merged.get("kind")) != merged.get("kind")
        merged = dict(override) if other else {**merged, **override}
    return merged
