"""The configuration of a run: every field with its type, default, unit and meaning; tasks and data are in task_config.py."""

from __future__ import annotations

import shlex
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from raybench.core.checkpoint import NAME
from raybench.core.mistakes import Strict
from raybench.core.task_config import DataConfig, LmEvalConfig, SamplingConfig, TaskConfig
from raybench.core.types import Kind


class ResourcesConfig(Strict):
    """What one engine process occupies, and how many there are. Never changes a number."""

    gpus_per_engine: float | None = Field(None, ge=0)
    """GPUs of one engine, whole or a fraction below 1; None: 1 where the machine has GPUs, otherwise 0."""
    cpus_per_engine: float | None = Field(None, ge=0)
    """CPUs that Ray reserves for one engine; None: the engine's threads without a GPU, otherwise 1."""
    memory_gb: float | None = Field(None, gt=0)
    """Memory that Ray reserves for one engine, in GB."""
    custom: dict[str, float] = Field(default_factory=dict)
    """Custom Ray resources of one engine."""
    engines: Literal["auto"] | int = "auto"
    """Engine processes at most; auto: as many as fit."""
    min_engines: int = Field(1, ge=1)
    """Where so many cannot be started, the run ends as incomplete; above that it goes on with as many as there are."""

    @field_validator("engines", mode="before")
    @classmethod
    def _auto_or_positive(cls, value: Any) -> Any:
        if value != "auto" and (type(value) is not int or value < 1):
            raise ValueError("expected auto or a number of at least 1")
        return value

    @model_validator(mode="after")
    def _least_is_not_above_most(self) -> ResourcesConfig:
        if self.engines != "auto" and self.min_engines > self.engines:
            raise ValueError(f"min_engines is {self.min_engines}, engines at most {self.engines}")
        return self


class ModuleConfig(Strict):
    """A plain PyTorch module: see `checkpoint` of a model."""

    factory: str
    """package.module:function, which gives a torch.nn.Module. Its forward(input_ids, attention_mask) gives logits; see docs in engines/pytorch_module.py."""
    kinds: tuple[Kind, ...] = Field(min_length=1)
    """What it can be asked: generate, loglikelihood and rolling (next-token logits), fill (masked-token logits), classify, tag, embed."""
    labels: tuple[str, ...] = ()
    """Names of its logits, in order, for classify and tag; empty: a regression."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the factory."""

    @field_validator("factory")
    @classmethod
    def _importable(cls, value: str) -> str:
        module, colon, name = value.partition(":")
        if not colon or not name.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
            raise ValueError("expected package.module:function")
        return value

    @field_validator("kinds")
    @classmethod
    def _one_meaning(cls, value: tuple[Kind, ...]) -> tuple[Kind, ...]:
        left_to_right = {Kind.GENERATE, Kind.LOGLIKELIHOOD, Kind.ROLLING}
        if Kind.SPAN in value:
            raise ValueError(
                "a plain module is not asked for spans; expected generate, loglikelihood, rolling, fill, classify, tag or embed"
            )
        if not (set(value) <= left_to_right or len(value) == 1):
            raise ValueError("its logits mean one thing: generate, loglikelihood and rolling go together, any other kind stands alone")
        return value


class ModelConfig(Strict):
    """One checkpoint, several revisions of a hub id, or a glob of checkpoint folders."""

    checkpoint: str = ""
    """Hub id (with @revision), folder, glob, GGUF file, package://module/file, or s3://bucket/folder and the like; empty only for the fake engine. For a plain PyTorch module:
    {factory: package.module:function, state: weights.pt or .safetensors, tokenizer: folder, kinds: [...]}, with `labels` and `arguments`."""
    module: ModuleConfig | None = None
    """Set from such a `checkpoint`, which is then the state file."""
    name: str | None = None
    """Name in tables; None: made from the checkpoint."""
    revisions: tuple[str, ...] = ()
    """Revisions of a hub id; each becomes a model of its own."""
    tokenizer: str | None = None
    """Where to take the tokenizer from, if not from the checkpoint."""
    adapter: str | None = Field(None, min_length=1)
    """Folder of a LoRA adapter on this checkpoint; on engine pytorch it needs the package peft."""
    chat_template: str = "none"
    """none: plain prompts; auto: the checkpoint's own template; otherwise a file with a Jinja template."""
    system_prompt: str | None = None
    """System message; needs a chat template."""
    fewshot_as_multiturn: bool = True
    """Under a chat template, examples are turns of their own; otherwise one user message."""
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Further variables of the chat template, such as {enable_thinking: false}; needs a chat template."""
    think_end: str | None = Field(None, min_length=1)
    """What ends a reasoning trace, such as </think>; what stands before it is split off the answer, and stop strings count only after it."""
    label_map: dict[str, str] = Field(default_factory=dict)
    """The checkpoint's label name to the task's, such as {LABEL_0: negative, LABEL_1: positive}; names that are equal need none."""
    engine: dict[str, Any] = Field(default_factory=dict)
    """Overrides of the run's engine block; another `kind` replaces the block."""
    resources: dict[str, Any] = Field(default_factory=dict)
    """Overrides of the run's resources."""
    sampling: SamplingConfig = SamplingConfig()
    """Overrides of every task's sampling."""
    forms: dict[str, str] = Field(default_factory=dict)
    """Task name to the form this model is asked in."""
    allow_pickle: bool = False
    """Consent to load pickled weights of this checkpoint."""
    trust_remote_code: bool = False
    """Consent to run Python code of this checkpoint."""

    @model_validator(mode="before")
    @classmethod
    def _plain_module(cls, value: Any) -> Any:
        if not isinstance(value, dict) or not isinstance(value.get("checkpoint"), dict):
            return value
        parts = dict(value["checkpoint"])
        missing = [name for name in ("factory", "state", "tokenizer", "kinds") if name not in parts]
        if missing:
            raise ValueError(f"checkpoint of a plain module: missing {', '.join(missing)}")
        rest = {k: v for k, v in value.items() if k != "checkpoint"}
        return {**rest, "checkpoint": parts.pop("state"), "tokenizer": parts.pop("tokenizer"), "module": parts}


class RayConfig(Strict):
    """How a Ray cluster is joined or started."""

    address: str | None = None
    """host:port of a running cluster; None: one is started on this machine and stopped at the end."""
    auth: Literal["token", "none"] = "token"
    """none: consent to join a cluster on the network without a token."""
    autoscaling: bool = False
    """The cluster grows: ask for `resources.engines` engines, a number, although no node has room for them yet; an autoscaler takes that as demand."""
    start_timeout_s: float = Field(1800.0, gt=0)
    """Longest time for an engine to become ready."""


class RunConfig(Strict):
    """A run: models x tasks, one plan."""

    name: str
    """Name of the run and, by default, of its directory."""
    models: tuple[ModelConfig, ...] = Field(min_length=1)
    """What is evaluated."""
    tasks: tuple[TaskConfig, ...] = Field(min_length=1)
    """What it is asked."""
    engine: dict[str, Any] = Field(default_factory=dict)
    """Engine block: see the engine's own fields."""
    resources: ResourcesConfig = ResourcesConfig()
    """What an engine occupies."""
    sampling: SamplingConfig = SamplingConfig()
    """Overrides of every task's sampling."""
    pool: Literal["auto", "local", "ray"] = "auto"
    """local: in this process, without Ray; auto: ray when an address is given or more than one engine is asked for."""
    ray: RayConfig = RayConfig()
    """The cluster."""
    output: str | None = None
    """Run directory, or s3://bucket/folder or gs://bucket/folder; None: runs/<name>."""
    seed: int = 0
    """Of few-shot draws, sampling and the bootstrap."""
    limit: int | None = Field(None, ge=1)
    """Only the first n samples of every task; the results are marked PARTIAL."""
    data: dict[str, DataConfig] = Field(default_factory=dict)
    """Hub id, or hub id:config, to a place on this machine."""
    lm_eval: LmEvalConfig = LmEvalConfig()
    """For tasks of lm-evaluation-harness."""
    on_broken_checkpoint: Literal["fail", "skip"] | None = None
    """None: fail for one model, skip for several."""
    max_row_errors: float = Field(0.0, ge=0)
    """Error rows that are accepted per model and task: below 1 a share, otherwise a count. More: exit code 4."""
    max_attempts: int = Field(3, ge=1)
    """Times a shard is tried before the run gives it up."""
    stall_timeout_s: float = Field(900.0, gt=0)
    """Seconds without progress after which an engine is replaced."""
    keep_tokens: bool = False
    """Whether the log-probability of every token is kept with the answers; runs become larger."""
    bootstrap: int = Field(10_000, ge=0)
    """Draws of the bootstrap; 0: none."""
    on_finish: tuple[str, ...] = ()
    """Command that is run at the end, however the run ended: words, or one string that is split into words; no shell reads it. {path}, {exit_code}
    and {summary} in a word are replaced. It stands in the manifest: a secret belongs into a script that it calls."""

    @field_validator("name")
    @classmethod
    def _safe(cls, value: str) -> str:
        if not NAME.fullmatch(value):
            raise ValueError("expected letters, digits, '.', '_', '-', not beginning with '.' or '-', at most 80")
        return value

    @field_validator("on_finish", mode="before")
    @classmethod
    def _as_words(cls, value: Any) -> Any:
        return shlex.split(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _grows_to_a_number(self) -> RunConfig:
        if self.ray.autoscaling and (self.ray.address is None or self.pool == "local"):
            raise ValueError("ray.autoscaling: only for a cluster that is joined (ray.address, or --address)")
        if self.ray.autoscaling and self.resources.engines == "auto":
            raise ValueError("ray.autoscaling: set resources.engines to a number; without one a cluster would grow to its limit")
        return self

    @field_validator("models", mode="before")
    @classmethod
    def _model_names(cls, value: Any) -> Any:
        return [{"checkpoint": v} if isinstance(v, str) else v for v in value] if isinstance(value, list | tuple) else value

    @field_validator("tasks", mode="before")
    @classmethod
    def _task_names(cls, value: Any) -> Any:
        return [{"name": v} if isinstance(v, str) else v for v in value] if isinstance(value, list | tuple) else value
