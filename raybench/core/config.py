"""The configuration of a run: every field with its type, default, unit and meaning; loaded once, all mistakes reported together."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from raybench.core.checkpoint import NAME
from raybench.core.errors import ConfigError

_Loc = Sequence[int | str]
"""Where something stands in a configuration: keys and indices from the top."""

MAX_BYTES = 1_000_000
"""Largest configuration file that is read."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class EngineConfig(_Strict):
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


class Fault(_Strict):
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


class ResourcesConfig(_Strict):
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
    """Engine processes; auto: as many as fit."""

    @field_validator("engines", mode="before")
    @classmethod
    def _auto_or_positive(cls, value: Any) -> Any:
        if value != "auto" and (type(value) is not int or value < 1):
            raise ValueError("expected auto or a number of at least 1")
        return value


class SamplingConfig(_Strict):
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


class ModelConfig(_Strict):
    """One checkpoint, several revisions of a hub id, or a glob of checkpoint folders."""

    checkpoint: str = ""
    """Hub id (with @revision), folder, glob, GGUF file or package://module/file; empty only for the fake engine."""
    name: str | None = None
    """Name in tables; None: made from the checkpoint."""
    revisions: tuple[str, ...] = ()
    """Revisions of a hub id; each becomes a model of its own."""
    tokenizer: str | None = None
    """Where to take the tokenizer from, if not from the checkpoint."""
    chat_template: str = "none"
    """none: plain prompts; auto: the checkpoint's own template; otherwise a file with a Jinja template."""
    system_prompt: str | None = None
    """System message; needs a chat template."""
    fewshot_as_multiturn: bool = True
    """Under a chat template, examples are turns of their own; otherwise one user message."""
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


class SourceConfig(_Strict):
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
    """Split to file, relative to `path`."""


class DataConfig(_Strict):
    """Where a hub data set lies on this machine or under which other name."""

    path: str
    """Folder, file, or another hub id."""
    splits: dict[str, str] = Field(default_factory=dict)
    """Split to file, relative to `path`."""
    revision: str | None = None
    """Commit, when `path` is a hub id."""
    rename: dict[str, str] = Field(default_factory=dict)
    """Column here to the name the task expects."""
    where: dict[str, str | int] = Field(default_factory=dict)
    """Only rows with these values; to use one file for several configurations."""


class TaskConfig(_Strict):
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
    kind: Literal["generate", "loglikelihood", "rolling"] | None = None
    """Of a declared task."""
    prompt: str | None = None
    """Jinja template of the question; for `rolling`, of the text."""
    choices: list[str] | str | None = None
    """Options: a list of templates, or one expression that gives a list, such as '{{ choices }}'."""
    target: str | None = None
    """Template of the right answer: its text, or the index of the right option."""
    description: str = ""
    """Text before the examples."""
    extract: str | dict[str, str] | None = None
    """How an answer is found in a generation: a name of `raybench list extractors`, or `regex:PATTERN`; a mapping gives several filters."""
    sample_id: str | None = None
    """Column with a unique id; None: split and row number."""
    cluster: str | None = None
    """Column that names what samples have in common."""

    @model_validator(mode="after")
    def _declared_or_named(self) -> TaskConfig:
        declared = {"kind", "prompt", "choices", "target", "extract", "fewshot_source", "sample_id", "cluster"}
        given = sorted(name for name in declared if getattr(self, name) is not None)
        if self.source is None and given:
            raise ValueError(
                f"{', '.join(given)}: only for a task declared here; add `source`, or leave them out to use the task '{self.name}'"
            )
        if self.source is not None:
            missing = [n for n in ("kind", "prompt") if getattr(self, n) is None]
            if self.kind == "loglikelihood" and self.choices is None:
                missing.append("choices")
            if self.kind in ("generate", "loglikelihood") and self.target is None:
                missing.append("target")
            if missing:
                raise ValueError(f"a task with `source` also needs: {', '.join(missing)}")
            if not NAME.fullmatch(self.name):
                raise ValueError(f"'{self.name}' is no task name: letters, digits, '.', '_', '-', at most 80")
        return self


class RayConfig(_Strict):
    """How a Ray cluster is joined or started."""

    address: str | None = None
    """host:port of a running cluster; None: one is started on this machine and stopped at the end."""
    auth: Literal["token", "none"] = "token"
    """none: consent to join a cluster on the network without a token."""
    start_timeout_s: float = Field(1800.0, gt=0)
    """Longest time for an engine to become ready."""


class RunConfig(_Strict):
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
    """Run directory; None: runs/<name>."""
    seed: int = 0
    """Of few-shot draws, sampling and the bootstrap."""
    limit: int | None = Field(None, ge=1)
    """Only the first n samples of every task; the results are marked PARTIAL."""
    data: dict[str, DataConfig] = Field(default_factory=dict)
    """Hub id, or hub id:config, to a place on this machine."""
    on_broken_checkpoint: Literal["fail", "skip"] | None = None
    """None: fail for one model, skip for several."""
    max_row_errors: float = Field(0.0, ge=0)
    """Error rows that are accepted per model and task: below 1 a share, otherwise a count. More: exit code 4."""
    max_attempts: int = Field(3, ge=1)
    """Times a shard is tried before the run gives it up."""
    stall_timeout_s: float = Field(900.0, gt=0)
    """Seconds without progress after which an engine is replaced."""
    bootstrap: int = Field(10_000, ge=0)
    """Draws of the bootstrap; 0: none."""

    @field_validator("name")
    @classmethod
    def _safe(cls, value: str) -> str:
        if not NAME.fullmatch(value):
            raise ValueError("expected letters, digits, '.', '_', '-', not beginning with '.' or '-', at most 80")
        return value

    @field_validator("models", mode="before")
    @classmethod
    def _model_names(cls, value: Any) -> Any:
        return [{"checkpoint": v} if isinstance(v, str) else v for v in value] if isinstance(value, list | tuple) else value

    @field_validator("tasks", mode="before")
    @classmethod
    def _task_names(cls, value: Any) -> Any:
        return [{"name": v} if isinstance(v, str) else v for v in value] if isinstance(value, list | tuple) else value


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
        raise ConfigError("\n".join(f"engine.{line}" for line in _mistakes(error, model))) from error


def merge(base: Mapping[str, Any], *overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Engine blocks from general to special: fields override one by one, another `kind` begins afresh."""
    merged = dict(base)
    for override in overrides:
        other = override.get("kind", merged.get("kind")) != merged.get("kind")
        merged = dict(override) if other else {**merged, **override}
    return merged


def load(path: str | Path, settings: Sequence[str] = ()) -> RunConfig:
    """Read a YAML configuration.

    Args:
        path: The file.
        settings: `path=value` overrides; the value is YAML: `engine.dtype=bfloat16`, `tasks.0.shots=5`.

    Raises:
        ConfigError: with all mistakes of the file, each with its line.
    """
    file = Path(path)
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}. Expected a YAML file with a run configuration.") from error
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"{file}: {len(raw)} bytes; a configuration has at most {MAX_BYTES}.")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: not UTF-8 at byte {error.start}. Save it as UTF-8.") from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        value = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}" if mark else ""
        raise ConfigError(f"{file}{where}: not a usable YAML file: {getattr(error, 'problem', None) or error}.") from error
    except (ValueError, TypeError, RecursionError) as error:  # a date that is none, a list as a key, a thousand brackets
        raise ConfigError(f"{file}: not a usable YAML file: {error}.") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{file}: expected a mapping with name, models and tasks, found {type(value).__name__}.")
    return parse(override(value, settings), where=str(file), node=node)


def parse(value: Mapping[str, Any], *, where: str = "configuration", node: yaml.Node | None = None) -> RunConfig:
    """A configuration from plain data; every mistake in one ConfigError."""
    mistakes: list[str] = []
    try:
        config = RunConfig.model_validate(value)
    except ValidationError as error:
        mistakes += _mistakes(error, RunConfig, node)
        config = None
    mistakes += _block_mistakes(value, node)
    if mistakes or config is None:
        unique = list(dict.fromkeys(mistakes))
        head = f"{where}: {len(unique)} mistake{'s' if len(unique) > 1 else ''}"
        raise ConfigError(head + "".join(f"\n  {m}" for m in unique))
    return config


def override(value: Mapping[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """`value` with `path=value` settings applied; lists are indexed by number."""
    result = yaml.safe_load(yaml.safe_dump(dict(value)))
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals or not path:
            raise ConfigError(f"--set '{setting}': expected path=value, such as engine.dtype=bfloat16.")
        *parents, last = path.split(".")
        target = result
        for name in parents:
            if isinstance(target, list):
                target = _item(target, name, setting)
            elif isinstance(target, dict):
                if target.get(name) is None:
                    target[name] = {}
                target = target[name]
            else:
                raise ConfigError(f"--set '{setting}': '{name}' lies inside a plain value.")
        try:
            parsed = yaml.safe_load(text) if text else None
        except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
            raise ConfigError(
                f"--set '{setting}': what stands behind the '=' is no YAML value; put it in quotes to have it as text."
            ) from error
        if isinstance(target, list):
            _item(target, last, setting)
            target[int(last)] = parsed
        elif isinstance(target, dict):
            target[last] = parsed
        else:
            raise ConfigError(f"--set '{setting}': '{last}' lies inside a plain value; write the entry as a mapping in the file.")
    return dict(result)


def _item(target: list[Any], name: str, setting: str) -> Any:
    if not name.isdigit() or int(name) >= len(target):
        raise ConfigError(f"--set '{setting}': '{name}' is no index of a list of {len(target)}.")
    return target[int(name)]


def suggest(name: str, known: Any) -> str:
    """' Did you mean ...?' where a known name is close, otherwise nothing."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""


def _block_mistakes(value: Mapping[str, Any], node: yaml.Node | None) -> Iterator[str]:
    """Mistakes in the engine blocks of every (model, task) combination, and in the resource blocks of models and tasks."""

    def blocks(key: str, name: str) -> list[tuple[_Loc, Mapping[str, Any]]]:
        entries = value.get(key)
        return [
            ((key, i, name), e[name])
            for i, e in enumerate(entries if isinstance(entries, list | tuple) else [])
            if isinstance(e, dict) and isinstance(e.get(name), dict)
        ]

    base = value.get("engine") or {}
    if isinstance(base, dict):
        none: tuple[_Loc, Mapping[str, Any]] = ("engine",), {}
        for model_loc, model in [none, *blocks("models", "engine")]:
            for task_loc, task in [none, *blocks("tasks", "engine")]:
                try:
                    engine_config(merge(base, model, task))
                except ConfigError as error:
                    for line in error.message.splitlines():
                        text = line.removeprefix("engine.")
                        said = [loc for loc, block in ((task_loc, task), (model_loc, model)) if _first_word(text) in block]
                        yield _placed(text, said[0] if said else ("engine",), node)
    for loc, block in [*blocks("models", "resources"), *blocks("tasks", "resources")]:
        try:
            ResourcesConfig.model_validate(block)
        except ValidationError as error:
            yield from (_placed(text, loc, node) for text in _mistakes(error, ResourcesConfig))


def _placed(text: str, loc: _Loc, node: yaml.Node | None) -> str:
    """A mistake in a field of the block at `loc`, with its line and whole path; `text` begins with the field."""
    line = _line(node, (*loc, _first_word(text)))
    return f"{f'line {line}: ' if line else ''}{_path(loc)}.{text}"


def _first_word(text: str) -> str:
    return re.split(r"\W", text, maxsplit=1)[0]


def _path(loc: _Loc) -> str:
    return "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in loc).lstrip(".")


def _mistakes(error: ValidationError, model: type[BaseModel], node: yaml.Node | None = None) -> list[str]:
    lines = []
    for item in error.errors():
        loc = item["loc"]
        if item["type"] == "too_short" and item["input"]:
            continue  # the entries that are there have mistakes, which are told
        path = _path(loc)
        line = _line(node, loc)
        where = f"line {line}: " if line else ""
        if item["type"] == "extra_forbidden":
            owner = _owner(model, loc[:-1])
            known = list(owner.model_fields) if owner else []
            lines.append(f"{where}{path}: unknown key.{suggest(str(loc[-1]), known)} Known: {', '.join(known)}.")
        elif item["type"] == "missing":
            lines.append(f"{where}{path}: missing.")
        else:
            message = item["msg"].removeprefix("Value error, ")
            found = repr(item["input"])
            shown = "" if isinstance(item["input"], dict) else f", found {found[:60]}{'...' if len(found) > 60 else ''}"
            lines.append(f"{where}{path or 'configuration'}: {message}{shown}.")
    return lines


def _owner(model: type[BaseModel], loc: Sequence[int | str]) -> type[BaseModel] | None:
    """The configuration class that the path `loc` lies in."""
    current: Any = model
    is_mapping = False
    for part in loc:
        if isinstance(part, int):
            continue
        if is_mapping:  # the part is a key of the user's own, such as a data set under `data`
            is_mapping = False
            continue
        field = current.model_fields.get(part) if current is not None else None
        current = _class_in(field.annotation) if field else None
        is_mapping = field is not None and get_origin(field.annotation) is dict
    return current if isinstance(current, type) else None


def _class_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _class_in(argument)
        if found is not None:
            return found
    return None


def _line(node: yaml.Node | None, loc: Sequence[int | str]) -> int | None:
    """Line (from 1) of the deepest node on the path `loc`."""
    if node is None:
        return None
    for part in loc:
        if isinstance(node, yaml.MappingNode):
            hit = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if hit is None:
                break
            key, node = hit
            line = key.start_mark.line + 1
            if part == loc[-1]:
                return int(line)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
        else:
            break
    return int(node.start_mark.line + 1)


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses duplicate keys and aliases (an alias can blow a small file up)."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]  # types-PyYAML
            raise yaml.composer.ComposerError(None, None, "aliases (*name) are not allowed; write the value out", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key '{key.value}' stands twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)
