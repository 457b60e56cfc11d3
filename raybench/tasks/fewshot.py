"""Few-shot examples: which ones a sample gets depends on the sample and the run's seed alone, never on limits, shards or workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Literal

import pyarrow as pa

from raybench.core.errors import DataError
from raybench.core.fingerprint import seed_for
from raybench.core.schema import SHOTS
from raybench.core.types import Sample, Shot
from raybench.tasks.ask import prompt_of, samples
from raybench.tasks.source import Located
from raybench.tasks.task import Form, Task

Sampler = Literal["seeded", "first_n", "fixed"]
WHOLE_POOL = 10_000
"""Pools up to this size are rendered whole; of larger ones only the examples that are drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """The rendered examples of one (task, form), and which of them a sample gets."""

    shots: tuple[Shot, ...]
    """Each rendered once; row numbers of the shots table."""
    choose: Callable[[int, str], list[int]]
    """From a sample's position in the data and its id to row numbers, in order."""

    def table(self) -> pa.RecordBatch:
        """The shots table (schema.SHOTS)."""
        columns = [pa.array([s.question for s in self.shots], pa.string()), pa.array([s.answer for s in self.shots], pa.string())]
        return pa.record_batch(columns, schema=SHOTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Where examples come from."""

    task: Task
    form: Form
    located: Located
    split: str
    """Of the default ids."""
    is_own: bool
    """Whether the samples in question are rows of the pool themselves; a sample is never its own example."""

    def samples(self) -> Iterator[Sample]:
        """The pool in order."""
        return (sample for _, sample in samples(self.task, self.located, self.split))

    def render(self, sample: Sample) -> Shot:
        """The question and the answer of an example.

        Raises:
            DataError: when the sample has no answer to show.
        """
        prompt = prompt_of(self.task, self.form, sample)
        if prompt.answer is None:
            raise DataError(
                f"task '{self.task.name}', sample '{sample.id}' of the few-shot pool {self.located.place}: it has no answer to show."
            )
        return Shot(question=prompt.text, answer=_prefixed(prompt.prefix, prompt.answer))

    def too_few(self, num_shots: int, found: int) -> DataError:
        """The error of a pool that is too small."""
        besides = " besides the sample itself" if self.is_own else ""
        return DataError(
            f"task '{self.task.name}': {num_shots} few-shot examples wanted, {self.located.place} has {found}{besides}. Ask for fewer shots."
        )


def prepare(pool: Pool, sampler: Sampler, num_shots: int, *, seed: int, asked: Callable[[], Iterator[tuple[int, str]]]) -> Examples:
    """Render the examples that are needed.

    Args:
        pool: Where they come from.
        sampler: How they are chosen.
        num_shots: Examples of each sample, at least 1.
        seed: Of the run; only for `seeded`.
        asked: Position and id of the samples in question, in order; used for large pools only.

    Raises:
        DataError: when the pool is too small, lacks an id, or an example cannot be rendered.
    """
    if sampler == "seeded":
        return _seeded(pool, num_shots, seed, asked)
    if sampler == "first_n":
        # lm-eval 0.4.13, api/samplers.py FirstNSampler: the document itself is taken out, then the first n remain
        chosen = list(islice(pool.samples(), num_shots + pool.is_own))
        own = list(range(len(chosen))) if pool.is_own else []
    else:
        chosen, own = _by_id(pool)
    shots = tuple(pool.render(sample) for sample in chosen)
    everything = list(range(len(chosen)))

    def choose(position: int, sample_id: str) -> list[int]:
        rows = [row for row in everything if own[row] != position] if own and position in own else everything
        if len(rows) < num_shots:
            raise pool.too_few(num_shots, len(rows))
        return rows[:num_shots]

    return Examples(shots=shots, choose=choose)


def _by_id(pool: Pool) -> tuple[list[Sample], list[int]]:
    """The samples of `fewshot.ids`, in that order, and their positions where the pool is the task's own."""
    ids = pool.task.fewshot.ids
    wanted, found = set(ids), dict[str, tuple[int, Sample]]()
    for position, sample in enumerate(pool.samples()):
        if sample.id in wanted:
            found[sample.id] = position, sample
            if len(found) == len(wanted):
                break
    if missing := [i for i in ids if i not in found]:
        raise DataError(f"task '{pool.task.name}': the few-shot pool {pool.located.place} has no sample {', '.join(map(repr, missing))}.")
    return [found[i][1] for i in ids], [found[i][0] for i in ids] if pool.is_own else []


def draw(size: int, num: int, seed: int, skip: int | None) -> list[int]:
    """`num` different positions below `size`, without `skip`, in random order: a function of the arguments alone."""
    if skip is None:
        return Random(seed).sample(range(size), num)
    return [position + (position >= skip) for position in Random(seed).sample(range(size - 1), num)]


def _seeded(pool: Pool, num_shots: int, seed: int, asked: Callable[[], Iterator[tuple[int, str]]]) -> Examples:
    stream = pool.samples()
    head = list(islice(stream, WHOLE_POOL + 1))
    is_whole = len(head) <= WHOLE_POOL
    size = len(head) + sum(1 for _ in stream)
    if size - pool.is_own < num_shots:
        raise pool.too_few(num_shots, size - pool.is_own)

    def positions(position: int, sample_id: str) -> list[int]:
        purpose_seed = seed_for(seed, pool.task.name, sample_id, 0, "shots")
        return draw(size, num_shots, purpose_seed, position if pool.is_own else None)

    if is_whole:
        return Examples(shots=tuple(pool.render(sample) for sample in head), choose=positions)
    # numbered by first use, so that the numbers under a limit are those without it
    rows: dict[int, int] = {}
    for position, sample_id in asked():
        for drawn in positions(position, sample_id):
            rows.setdefault(drawn, len(rows))
    shots: list[Shot | None] = [None] * len(rows)
    for drawn, sample in enumerate(pool.samples()):
        if drawn in rows:
            shots[rows[drawn]] = pool.render(sample)
    return Examples(shots=_filled(shots), choose=lambda position, sample_id: [rows[p] for p in positions(position, sample_id)])


def _filled(shots: Sequence[Shot | None]) -> tuple[Shot, ...]:
    filled = tuple(shot for shot in shots if shot is not None)
    assert len(filled) == len(shots), f"{len(shots) - len(filled)} drawn examples were not rendered"
    return filled


def _prefixed(prefix: str, answer: str) -> str:
    """The answer behind the prefix of its prompt, with a space unless there is white space (lm_eval 0.4.13 api/utils.py, maybe_delimit)."""
    if not prefix or not answer:
        return prefix or answer
    return prefix + answer if prefix[-1].isspace() or answer[0].isspace() else f"{prefix} {answer}"
