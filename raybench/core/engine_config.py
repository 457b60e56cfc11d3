"""The engine block of a configuration: what every engine understands, and the fields of each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field, ValidationError, model_validator

from raybench.core.errors import ConfigError
from raybench.core.mistakes import Strict, mistakes_of, suggest


class EngineConfig(Strict):
    """What every engine understands. Each of these can change numbers and is part of the fingerprint, unless `measured_only` names it."""

    measured_only: ClassVar[frozenset[str]] = frozenset()
    """Fields that change how long an answer takes or whether it comes, never what it is."""

    kind: str = "pytorch"
    """Engine: fake, pytorch, vllm, or package.module:Class."""
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
    overlong: Literal["error", "truncate_left", "truncate_right", "fewer_shots"] = "error"
    """What happens to a prompt that does not fit: an error row, cut on the left, cut on the right (heads only), or examples dropped from the front."""

    @property
    def num_devices(self) -> int:
        """GPUs that one engine uses, where it uses any."""
        return 1

    @property
    def num_bundles(self) -> int:
        """Parts of an engine's GPUs that may lie on different machines; 1: all of them are on one."""
        return 1


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
    """Any decoder, encoder-decoder or encoder with a head of transformers, and plain modules, run by PyTorch."""

    kind: Literal["pytorch"] = "pytorch"
    attn_implementation: Literal["auto", "sdpa", "eager", "flash_attention_2", "flash_attention_3"] = "auto"
    """Attention kernel; auto: sdpa where the architecture has it, otherwise eager."""
    device_map: Literal["auto", "balanced", "balanced_low_0", "sequential"] | None = None
    """How the layers are spread over the GPUs of one engine (resources.gpus_per_engine); None: all on one device."""
    quantization: Literal["bnb-8bit", "bnb-4bit"] | None = None
    """Weights are quantized while loading, by bitsandbytes; a checkpoint that is quantized already needs no option."""
    compile: bool = False
    """Whether the forward pass goes through torch.compile: slow to start, and of use in long runs on a GPU."""
    doc_stride: int = Field(128, ge=0)
    """For `span`: tokens of a passage that neighbouring windows share."""
    max_answer_tokens: int = Field(30, ge=1)
    """For `span`: longest answer."""
    n_best: int = Field(20, ge=1)
    """For `span`: places that are kept."""
    mask_share: float | None = Field(None, gt=0, le=1)
    """For `fill` over whole texts: share of the tokens that are masked at once, the same ones in every run (`mlm_loss`); None: each in turn."""
    pooling: Literal["mean", "cls", "last"] = "mean"
    """For `embed`: over all tokens, the first, or the last one."""
    normalize: bool = True
    """For `embed`: whether vectors get the length 1."""


class CustomConfig(EngineConfig):
    """An engine of your own; further keys go to its factory."""

    model_config = ConfigDict(extra="allow", frozen=True, use_attribute_docstrings=True)


class VllmConfig(CustomConfig):
    """vLLM, in a process of its own. Further keys are vLLM's own options (fields of its EngineArgs), checked against the installed version."""

    measured_only: ClassVar[frozenset[str]] = frozenset({"swap"})

    kind: Literal["vllm"] = "vllm"
    tensor_parallel_size: int = Field(1, ge=1)
    """GPUs that share every layer."""
    pipeline_parallel_size: int = Field(1, ge=1)
    """Groups of GPUs that share the layers among them."""
    across_nodes: bool = False
    """Whether the GPUs of one engine may be on several machines of a Ray cluster: vLLM's Ray executor, in a placement group. Otherwise all are on one."""
    deterministic: bool = False
    """Equal rows whenever and wherever a shard runs on a kind of device: one shard at a time, in order, without what is cached of others."""
    pooling: Literal["mean", "cls", "last"] = "mean"
    """For `embed`: over all tokens, the first, or the last one."""
    normalize: bool = True
    """For `embed`: whether vectors get the length 1."""
    swap: Literal["auto", "always-restart"] = "auto"
    """Between checkpoints of one architecture: new weights into the live engine where that is proved right, or always a new engine."""

    @property
    def num_devices(self) -> int:
        return self.tensor_parallel_size * self.pipeline_parallel_size

    @property
    def num_bundles(self) -> int:
        return self.num_devices if self.across_nodes else 1

    @model_validator(mode="after")
    def _no_foreign_option(self) -> VllmConfig:
        for name in self.model_extra or {}:
            if name in VLLM_INSTEAD:
                raise ValueError(f"{name} is set by raybench: {VLLM_INSTEAD[name]}")
            if name.startswith("data_parallel"):
                raise ValueError(f"{name} is set by raybench: data parallel is several engines, resources.engines")
        if self.across_nodes and self.num_devices == 1:
            raise ValueError("across_nodes: one GPU is on one machine; expected tensor_parallel_size or pipeline_parallel_size above 1")
        if self.device == "mps":
            raise ValueError("vLLM runs on cuda or cpu; found device mps")
        return self


VLLM_INSTEAD: dict[str, str] = {
    "model": "the checkpoint of the model",
    "tokenizer": "`tokenizer` of the model",
    "revision": "`checkpoint: name@revision` or `revisions` of the model",
    "tokenizer_revision": "the tokenizer comes from a folder",
    "trust_remote_code": "consent is given by `trust_remote_code` of the model",
    "max_model_len": "use engine.max_length",
    "max_num_batched_tokens": "use engine.batch_tokens",
    "max_logprobs": "as many as scoring needs",
    "seed": "every request has its own; use the run's seed",
    "generation_config": "nothing of the checkpoint's generation_config reaches an answer; use `sampling`",
    "override_generation_config": "use `sampling`",
    "logprobs_mode": "log-probabilities are the model's own, in float32",
    "skip_tokenizer_init": "prompts are tokenized by raybench",
    "disable_log_stats": "raybench measures by itself",
    "worker_extension_cls": "raybench looks into the worker to verify swapped weights",
    "distributed_executor_backend": "use engine.across_nodes for an engine on several machines",
    "pooler_config": "use engine.pooling and engine.normalize",
    "runner": "it follows from the request kind",
    "convert": "it follows from the request kind",
    "enable_lora": "adapters are part of the model",
}
"""Options of vLLM that raybench sets itself, and what to use instead."""

ENGINES: dict[str, type[EngineConfig]] = {"fake": FakeConfig, "pytorch": PytorchConfig, "vllm": VllmConfig}


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
