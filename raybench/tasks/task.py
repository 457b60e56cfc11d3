"""What a task is: rows made into samples, and forms in which the samples are asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from raybench.core.types import Kind, Prompt, Sample, Sampling

Extractor = Callable[[str], str | None]
"""Finds the answer in a generated text; None where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where rows come from; `data:` in the configuration can send it elsewhere."""

    path: str
    """Hub id, local file or folder, or `package://module/file`."""
    config: str | None = None
    """Configuration name of a hub data set."""
    split: str = "test"
    """Split of a hub data set, or key of `splits`."""
    revision: str | None = None
    """Commit of a hub data set."""
    splits: Mapping[str, str] = field(default_factory=dict)
    """Split to file, relative to `path`."""
    where: Mapping[str, str | int] = field(default_factory=dict)
    """Only rows whose columns have these values (a subject of MMLU)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fewshot:
    """Where examples come from and how they are chosen."""

    source: Source | None = None
    """The pool; None: the task's own rows, never the sample in question."""
    sampler: Literal["seeded", "first_n", "fixed"] = "seeded"
    """seeded: drawn for each sample from hash(run seed, task, sample id); first_n: the pool's first; fixed: `ids`."""
    ids: tuple[str, ...] = ()
    """Sample ids in the pool, in order; only for `fixed`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One way to ask a task: as a generation, a choice between likelihoods, a text to be scored, a head's input."""

    to_prompt: Callable[[Sample], Prompt]
    """The question of a sample, and the answer it would show as an example."""
    metrics: tuple[str, ...]
    """Names of metrics; `raybench list metrics` shows them, package.module:METRIC brings your own."""
    description: str = ""
    """Text before the examples."""
    delimiter: str = " "
    """Between question and answer."""
    separator: str = "\n\n"
    """Between examples."""
    sampling: Sampling | None = None
    """Only for `generate`."""
    extract: Mapping[str, Extractor] = field(default_factory=dict)
    """Filters of a generation by name; several give several results. Empty: the text as it is."""
    labels: tuple[str, ...] = ()
    """Label names of `classify` and `tag`, in the order of the logits; empty: a regression, or whatever names a tagger has."""
    has_unconditional: bool = False
    """Whether options are also scored without the question, for mutual information."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A benchmark: its rows and the forms it can be asked in."""

    name: str
    """As on the command line: `gsm8k`, `mmlu/anatomy`."""
    version: str
    """Rises when a change alters numbers."""
    source: Source
    """Its rows."""
    to_sample: Callable[[Mapping[str, Any], str], Sample]
    """Makes a sample of a row and the id it has by default (`<split>-<row number>`); may take a better id from the row."""
    forms: Mapping[Kind, Form]
    """In order of preference: the first that a checkpoint serves is taken."""
    shots: int = 0
    """Few-shot examples unless the run says otherwise."""
    fewshot: Fewshot = Fewshot()
    """Where they come from."""
    repeats: int = 1
    """Times every sample is asked."""
    shard_size: int | None = None
    """Samples of one shard; None: 256, or 64 for `generate`."""
    about: str = ""
    """One line for `raybench list tasks`."""
    paper: str = ""
    """Where it was published."""
    licence: str = ""
    """Of the data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Several tasks under one name, and the rule that makes one number of theirs."""

    name: str
    members: tuple[str, ...]
    """Names of tasks or groups."""
    metric: str
    """The members' metric that is averaged; empty: only a name for several tasks, without a number."""
    of: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Metrics of a member where they are others than `metric`; of several their mean counts (GLUE, SuperGLUE)."""
    weights: Literal["samples", "equal"] = "samples"
    """samples: every sample counts the same; equal: every member counts the same."""
    version: str = "1"
    about: str = ""
    """One line for `raybench list tasks`."""
