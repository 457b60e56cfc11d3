"""The configuration of a run: every field with its type, default, unit and meaning."""

from __future__ import annotations

import shlex
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from raybench.core.checkpoint import NAME
from raybench.core.mistakes import Strict
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


class SamplingConfig(Strict):
    """Overrides of a task's own sampling. `max_tokens` and stops belong to the task; set them only to depart from it."""

    max_tokens: int | None = Field(None, ge=1)
    """Most tokens of an answer."""
    stop: tuple[str, ...] | None = None
    """The answer ends before the first of these."""
    temperature: float | None = Field(None, ge=0)
    """0 is greedy."""
    top_p: float | None = Field(None, gt=0, le=1)
    """Smallest set of tokens whose probability reaches this."""
    top_k: int | None = Field(None, ge=1)
    """Only the k most probable tokens."""
    min_p: float | None = Field(None, ge=0, le=1)
    """Only tokens at least this likely relative to the most likely."""
    repetition_penalty: float | None = Field(None, gt=0)
    """Against tokens seen before."""
    num_beams: int | None = Field(None, ge=1)
    """Hypotheses of beam search; only encoder-decoders."""
    length_penalty: float | None = None
    """Beams: power of the length that divides a hypothesis's log-probability."""
    early_stopping: bool | None = None
    """Beams: stop at as many finished hypotheses as beams."""
    num_return_sequences: int | None = Field(None, ge=1)
    """Beams: the best n are kept."""
    no_repeat_ngram_size: int | None = Field(None, ge=0)
    """No n tokens in a row come twice in an answer; only encoder-decoders."""


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


class SourceConfig(Strict):
    """Where rows come from."""

    path: str
    """File (.jsonl, .csv, .tsv, .parquet, also .gz), folder, hub id, or package://module/file."""
    config: str | None = None
    """Configuration name of a hub data set."""
    split: str = "test"
    """Split of a hub data set, or key of `splits`."""
    revision: str | None = None
    """Commit of a hub data set; required for one."""
    splits: dict[str, str] = Field(default_factory=dict)
    """Split to file, relative to `path`; other splits are looked for by their names: <split>.parquet and its like."""


class DataConfig(Strict):
    """Where a hub data set lies on this machine or under which other name."""

    path: str
    """Folder, file, or another hub id."""
    splits: dict[str, str] = Field(default_factory=dict)
    """Split to file, relative to `path`; other splits are looked for by their names: <split>.parquet and its like."""
    revision: str | None = None
    """Commit, when `path` is a hub id."""
    rename: dict[str, str] = Field(default_factory=dict)
    """Column here to the name the task expects."""
    where: dict[str, str | int] = Field(default_factory=dict)
    """Only rows with these values; to use one file for several configurations."""


class TaskConfig(Strict):
    """A task by name, or one declared here."""

    name: str
    """Built-in task or group, package.module:TASK, or the name of a task declared by the fields below."""
    label: str | None = None
    """Name in tables; needed where a task stands twice, say with 0 and with 5 shots."""
    shots: int | None = Field(None, ge=0)
    """Few-shot examples; None: what the task says."""
    fewshot: Literal["seeded", "first_n"] | None = None
    """seeded: drawn per sample from the pool; first_n: the same first ones for all; None: what the task says."""
    form: str | None = None
    """Request kind; None: the first that the checkpoint serves."""
    limit: int | None = Field(None, ge=1)
    """Only the first n samples."""
    repeats: int | None = Field(None, ge=1)
    """Times that every sample is asked; None: what the task says."""
    shard_size: int | None = Field(None, ge=1)
    """Samples of one shard; part of the identity of a result."""
    metrics: tuple[str, ...] | None = None
    """Metric names, package.module:METRIC; None: what the task says."""
    keep_tokens: bool | None = None
    """Whether the log-probability of every token is kept with the answers; None: what the run says."""
    sampling: SamplingConfig = SamplingConfig()
    """Overrides of the task's sampling."""
    engine: dict[str, Any] = Field(default_factory=dict)
    """Overrides of the run's and the model's engine block."""
    resources: dict[str, Any] = Field(default_factory=dict)
    """Overrides of the run's and the model's resources."""

    source: SourceConfig | None = None
    """Declares a task here: its rows."""
    fewshot_source: SourceConfig | None = None
    """Where examples come from; None: the rows themselves, never the sample in question."""
    kind: Literal["generate", "loglikelihood", "rolling", "fill", "tag", "classify", "embed"] | None = None
    """Of a declared task."""
    words: str | None = None
    """Of a declared `tag` task: an expression that gives the words, such as '{{ words }}'; then `target` gives the tags, and there is no prompt."""
    labels: tuple[str, ...] | None = None
    """Of a declared `tag` or `classify` task: label names, in the order of the data's numbers where it has numbers; None: any tags, a regression."""
    prompt: str | None = None
    """Jinja template of the question; for `rolling` and `classify`, of the text; for `fill`, of the text with [MASK] at the place of a choice; for `embed`,
    of the text whose vector is compared with those of the choices."""
    pair: str | None = None
    """Template of the second text of `classify`, where a head reads pairs."""
    choices: list[str] | str | None = None
    """Options: a list of templates, or one expression that gives a list, such as '{{ choices }}'."""
    target: str | None = None
    """Template of the right answer: its text, or the index of the right option; may be left out for `classify`, which then gives no metric."""
    turns: list[str] | str | None = None
    """Of a declared generation: further user turns, each asked after the model's answer to the one before; templates, or one expression that gives a list."""
    prefix: str | None = None
    """Template of the beginning of the answer, which the model continues; not for `rolling`."""
    description: str = ""
    """Text before the examples."""
    delimiter: str = " "
    """Of a declared `generate` or `loglikelihood` task: stands between question and answer; empty for answers that begin at once (T5's sentinels)."""
    extract: str | dict[str, str] | None = None
    """How an answer is found in a generation: a name of `raybench list extractors`, or `regex:PATTERN`; a mapping gives several filters."""
    sample_id: str | None = None
    """Column with a unique id; None: split and row number."""
    cluster: str | None = None
    """Column that names what samples have in common."""

    @model_validator(mode="after")
    def _declared_or_named(self) -> TaskConfig:
        declared = {
            "kind",
            "words",
            "labels",
            "prompt",
            "pair",
            "choices",
            "target",
            "turns",
            "prefix",
            "extract",
            "fewshot_source",
            "sample_id",
            "cluster",
        }
        given = sorted(name for name in declared if getattr(self, name) is not None)
        if self.source is None and given:
            raise ValueError(
                f"{', '.join(given)}: only for a task declared here; add `source`, or leave them out to use the task '{self.name}'"
            )
        if self.delimiter != " " and (self.source is None or self.kind not in ("generate", "loglikelihood")):
            raise ValueError("delimiter: only for a task declared here, of kind generate or loglikelihood")
        if self.source is not None:
            missing = [n for n in ("kind", "words" if self.kind == "tag" else "prompt") if getattr(self, n) is None]
            if self.kind in ("loglikelihood", "embed") and self.choices is None:
                missing.append("choices")
            if (
                self.kind in ("generate", "loglikelihood", "tag", "embed") or (self.kind == "fill" and self.choices is not None)
            ) and self.target is None:
                missing.append("target")
            if missing:
                raise ValueError(f"a task with `source` also needs: {', '.join(missing)}")
            if not NAME.fullmatch(self.name):
                raise ValueError(f"'{self.name}' is no task name: letters, digits, '.', '_', '-', at most 80")
        return self


class LmEvalConfig(Strict):
    """For tasks of lm-evaluation-harness, named `lm-eval/<task, group, tag or pattern>`."""

    include_path: tuple[str, ...] = ()
    """Folders with task files of your own; they win over the harness's."""
    fewshot_seed: int = 1234
    """Of the draws of examples, one stream a task; the default is the harness's."""
    metadata: dict[str, Any] = Field(default_factory=dict)
    """Passed to all tasks; some, such as ruler, need {tokenizer: ..., max_seq_lengths: [...]}."""
    confirm_run_unsafe_code: bool = False
    """Consent to metrics that run code which the model has written, on this machine and without a sandbox."""

    @field_validator("include_path", mode="before")
    @classmethod
    def _one_folder(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


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
