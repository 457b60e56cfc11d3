"""Prompts of one (task, form), rendered once for all models and streamed shard by shard as Arrow tables."""

from __future__ import annotations

import hashlib
import inspect
import sys
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from raybench.core.errors import ConfigError, DataError
from raybench.core.fingerprint import digest
from raybench.core.sample_rows import samples_to_batch
from raybench.core.schema import REQUESTS
from raybench.core.task_config import DataConfig
from raybench.core.types import OPTION, Kind, Prompt, Sample
from raybench.core.version import VERSION
from raybench.tasks.ask import prompt_of, samples
from raybench.tasks.check import check
from raybench.tasks.fewshot import Examples, Pool, Sampler, prepare
from raybench.tasks.source import Located, identity, resolve
from raybench.tasks.task import Form, Task

WITHOUT_SHOTS = frozenset({Kind.CLASSIFY, Kind.TAG, Kind.SPAN, Kind.FILL, Kind.EMBED})
"""A head reads its input alone: in a table beside a prompted model, `shots` is of the prompted form, and the signature says shots:0."""

SHARD_SIZE = 256
GENERATE_SHARD_SIZE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedShard:
    """The samples [start, stop) of a task in dataset order, and what is asked about them."""

    start: int
    stop: int
    samples: pa.RecordBatch
    """schema.SAMPLES, one row a sample."""
    requests: pa.RecordBatch
    """schema.REQUESTS, one row a sample, or several adjacent ones (`option-0`, `option-1`; `uncond` comes last)."""
    cost: int
    """Characters that a model reads: prompts with description and examples, and continuations."""


@dataclass(frozen=True, kw_only=True)
class Rendering:
    """What `render` gives: names at once, tables when they are asked for."""

    task: Task
    kind: Kind
    num_shots: int
    sampler: Sampler
    seed: int
    limit: int | None
    shard_size: int
    located: Located
    """The rows."""
    pool: Located | None
    """The few-shot pool; None without examples."""
    data: str
    """Identity of the rows."""
    key: str
    """Digest of everything that determines the tables; equal keys, equal tables."""

    @property
    def form(self) -> Form:
        """The form that is rendered."""
        return self.task.forms[self.kind]

    @property
    def _has_uncond(self) -> bool:
        return self.form.has_unconditional and self.kind is Kind.LOGLIKELIHOOD

    @cached_property
    def shots(self) -> pa.RecordBatch:
        """All examples that requests refer to (schema.SHOTS), complete before the first shard."""
        return self._examples.table()

    def shards(self) -> Iterator[RenderedShard]:
        """Render shard by shard: [0, S), [S, 2S), ... in dataset order; a limit cuts after its first n samples.

        Raises:
            DataError: when a row cannot be asked about, or ids are not unique (found at the end).
        """
        examples = self._examples
        shot_chars = [len(s.question) + len(s.answer) + len(self.form.delimiter) + len(self.form.separator) for s in examples.shots]
        stream = self._samples()
        hashes = array("q")
        start = 0
        while chunk := list(islice(stream, self.shard_size)):
            prompts = [prompt_of(self.task, self.form, sample) for sample in chunk]
            check(self.task.name, self.kind, self.form, chunk, prompts)
            chosen = [examples.choose(start + i, s.id) for i, s in enumerate(chunk)] if self.num_shots else [[]] * len(chunk)
            try:
                cost = sum(_cost(p, self.form, sum(map(shot_chars.__getitem__, rows))) for p, rows in zip(prompts, chosen, strict=True))
                sample_rows, requests = samples_to_batch(chunk), _requests(chunk, prompts, chosen, self.kind, has_uncond=self._has_uncond)
            except (UnicodeEncodeError, ValueError, TypeError) as error:
                raise _unwritable(self.task, chunk, prompts, error) from error
            hashes.extend(hash(s.id) for s in chunk)
            yield RenderedShard(start=start, stop=start + len(chunk), samples=sample_rows, requests=requests, cost=cost)
            start += len(chunk)
        _refuse_duplicates(self, hashes)

    def _samples(self) -> Iterator[Sample]:
        return (sample for _, sample in islice(samples(self.task, self.located, self.task.source.split), self.limit))

    @cached_property
    def _examples(self) -> Examples:
        if self.pool is None:
            return Examples(shots=(), choose=lambda position, sample_id: [])
        source = self.task.fewshot.source or self.task.source
        # two names can mean the same rows: what decides is where they lie
        is_own = (self.pool.files, self.pool.hub, self.pool.where) == (self.located.files, self.located.hub, self.located.where) and (
            self.pool.hub is None or (self.pool.config, self.pool.split) == (self.located.config, self.located.split)
        )
        pool = Pool(task=self.task, form=self.form, located=self.pool, split=source.split, is_own=is_own)
        return prepare(pool, self.sampler, self.num_shots, seed=self.seed, asked=lambda: ((i, s.id) for i, s in enumerate(self._samples())))


def render(
    task: Task,
    kind: Kind,
    *,
    shots: int | None = None,
    sampler: Sampler | None = None,
    seed: int = 0,
    limit: int | None = None,
    shard_size: int | None = None,
    data: Mapping[str, DataConfig] | None = None,
) -> Rendering:
    """Prepare to render a task in one form; reads no rows yet, but names files by their content.

    Args:
        task: What is asked.
        kind: The form; a key of `task.forms`.
        shots: Few-shot examples; None: what the task says.
        sampler: How they are chosen; None: what the task says.
        seed: Of the run.
        limit: Only the first n samples; whole shards before it are the same as without it.
        shard_size: Samples of a shard; None: what the task says, otherwise 256, or 64 for `generate`.
        data: The `data:` map of the configuration.

    Raises:
        ConfigError: when the task has no such form, or the form takes no examples.
        DataError: when the rows cannot be found.
    """
    if kind not in task.forms:
        raise ConfigError(f"task '{task.name}' cannot be asked as '{kind}'. Its forms: {', '.join(task.forms)}.")
    num_shots = task.shots if shots is None else shots
    if kind in WITHOUT_SHOTS:
        num_shots = 0
    if num_shots and kind is Kind.ROLLING:
        raise ConfigError(
            f"task '{task.name}': {num_shots} shots, but a text whose likelihood is measured takes no examples. Set shots: 0."
        )
    if limit is not None and limit < 1:
        raise DataError(f"task '{task.name}': limit {limit} leaves 0 samples. Expected at least 1.")
    sampler = sampler or task.fewshot.sampler
    located = resolve(task.source, data or {})
    pool = resolve(task.fewshot.source or task.source, data or {}) if num_shots else None
    size = shard_size or task.shard_size or (GENERATE_SHARD_SIZE if kind is Kind.GENERATE else SHARD_SIZE)
    form, named = task.forms[kind], identity(located)
    examples = [num_shots, sampler, list(task.fewshot.ids), identity(pool), seed if sampler == "seeded" else None] if pool else None
    texts = [form.description, form.delimiter, form.separator, form.has_unconditional, list(form.labels)]
    code = [_source_sha256(task.to_sample), _source_sha256(form.to_prompt)]
    key = digest("prompts", VERSION, task.name, task.version, kind, texts, code, named, task.source.split, examples, limit, size)
    return Rendering(
        task=task, kind=kind, num_shots=num_shots, sampler=sampler, seed=seed, limit=limit, shard_size=size,
        located=located, pool=pool, data=named, key=key,
    )  # fmt: skip


def _cost(prompt: Prompt, form: Form, num_shot_chars: int) -> int:
    """Characters that a model reads for one sample; where options are questions, everything around them counts once an option."""
    around = num_shot_chars + len(form.description) + len(prompt.prefix)
    for texts in (prompt.continuations, prompt.turns):
        if texts:
            around += sum(map(len, texts))
    own = len(prompt.pair or "") + sum(map(len, prompt.words or ()))
    contexts = prompt.contexts or (prompt.text,)
    return sum(map(len, contexts)) + len(contexts) * around + own


def _requests(chunk: list[Sample], prompts: list[Prompt], chosen: list[list[int]], kind: Kind, *, has_uncond: bool) -> pa.RecordBatch:
    expand = _pairs if kind is Kind.CLASSIFY else partial(_rows, has_uncond=has_uncond)
    rows = [row for sample, prompt, shots in zip(chunk, prompts, chosen, strict=True) for row in expand(sample.id, prompt, shots)]
    columns = zip(*rows, strict=True)
    return pa.record_batch([pa.array(c, f.type) for c, f in zip(columns, REQUESTS, strict=True)], schema=REQUESTS)


def _pairs(sample_id: str, prompt: Prompt, shots: list[int]) -> Iterator[tuple[object, ...]]:
    """The requests of a sample for a classifier: its text or pair, or the text paired with each of the options."""
    options: list[tuple[str, str | None]] = [(f"{OPTION}{i}", option) for i, option in enumerate(prompt.continuations)]
    for name, pair in options or [("", prompt.pair)]:
        yield sample_id, name, shots, prompt.text, (), False, (), "", pair, None, None


def _rows(sample_id: str, prompt: Prompt, shots: list[int], *, has_uncond: bool) -> Iterator[tuple[object, ...]]:
    """The requests of one sample in the columns of schema.REQUESTS: the question or one an option, then the continuations on their own."""
    named = [(f"{OPTION}{i}", text) for i, text in enumerate(prompt.contexts)] or [("", prompt.text)]
    for name, text in named:
        yield (
            sample_id, name, shots, text, prompt.continuations, False, prompt.turns, prompt.prefix, prompt.pair, prompt.words, None,
        )  # fmt: skip
    if has_uncond:
        yield sample_id, "uncond", [], "", prompt.continuations, True, (), "", None, None, None


def _unwritable(task: Task, chunk: list[Sample], prompts: list[Prompt], error: Exception) -> DataError:
    """Which sample of a chunk cannot become a row."""
    for sample, prompt in zip(chunk, prompts, strict=True):
        try:
            samples_to_batch([sample])
            _requests([sample], [prompt], [[]], Kind.GENERATE, has_uncond=False)
        except UnicodeEncodeError as found:
            return DataError(
                f"task '{task.name}', sample '{sample.id!r}': a text has half a surrogate pair at character {found.start} and is no Unicode."
            )
        except (ValueError, TypeError) as found:
            return DataError(
                f"task '{task.name}', sample '{sample.id}': a value cannot be written down: {found}. Expected finite numbers, text and lists."
            )
    return DataError(f"task '{task.name}': {error}")


def _refuse_duplicates(rendering: Rendering, hashes: array[int]) -> None:
    """Ids are compared by eight bytes each, so that a million fit into memory; names are looked up only when two are equal."""
    values, counts = np.unique(np.frombuffer(hashes, dtype=np.int64), return_counts=True)
    if (counts == 1).all():
        return
    suspects = set(values[counts > 1].tolist())
    rows: dict[str, list[int]] = {}
    for number, sample in islice(samples(rendering.task, rendering.located, rendering.task.source.split), rendering.limit):
        if hash(sample.id) in suspects:
            rows.setdefault(sample.id, []).append(number)
    double = [f"'{name}' (rows {', '.join(map(str, found[:5]))})" for name, found in rows.items() if len(found) > 1]
    if double:
        raise DataError(
            f"task '{rendering.task.name}': sample ids of {rendering.located.place} occur more than once ({len(double)} of them; rows count from 0): "
            f"{', '.join(double[:5])}. Remove the repeated rows, or leave `sample_id` out (in Python: take the default id): "
            "then samples are named by split and row."
        )


def _source_sha256(function: Callable[..., object]) -> str | None:
    """Digest of the file that defines a function; None where there is none (an interactive session)."""
    while isinstance(function, partial):
        function = function.func
    owner = function if hasattr(function, "__module__") else type(function)
    module = sys.modules.get(getattr(owner, "__module__", "") or "")
    try:
        file = inspect.getsourcefile(module) if module else None
    except TypeError:
        file = None
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file and Path(file).is_file() else None
