"""The configuration of tasks and of the data they are asked of; the fields of the run itself are in config.py."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from raybench.core.checkpoint import NAME
from raybench.core.mistakes import Strict


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
