"""What happens to one shard in an engine process: rows become requests, the engine answers, answers become rows. The same on a laptop and in an actor."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raybench.core.errors import InternalError
from raybench.core.fingerprint import seed_for
from raybench.core.pool import Measured, Work
from raybench.core.protocols import Answers, Engine
from raybench.core.schema import to_batch
from raybench.core.types import Asking, Message, Prediction, Request, Shot


def run_shard(engine: Engine, work: Work) -> tuple[pa.RecordBatch, Measured]:
    """Answer one shard.

    Returns:
        Content rows, one a sample, request and repeat, in the order of `work.requests`; and what was measured on the way.

    Raises:
        InternalError: when the engine does not answer 1:1 and in order.
    """
    started, begin = time.time(), time.perf_counter()
    requests = to_requests(work)
    predictions = engine.run(requests)
    check_one_to_one(requests, predictions)
    batch = to_batch(predictions, work.asking.kind)
    told = predictions if isinstance(predictions, Answers) else Answers(())
    measured = Measured(
        started=started,
        seconds=time.perf_counter() - begin,
        node=platform.node(),
        pid=os.getpid(),
        num_prompt_tokens=_total(batch, "num_prompt_tokens"),
        num_output_tokens=_total(batch, "num_output_tokens"),
        batch_tokens=told.batch_tokens,
        is_budget_halved=told.is_budget_halved,
        notices=told.notices,
        numerics=told.numerics,
    )
    return batch, measured


def _total(batch: pa.RecordBatch, column: str) -> int:
    return int(pc.sum(batch.column(column)).as_py() or 0)


def to_requests(work: Work) -> list[Request]:
    """The requests of a shard: each row `num_repeats` times in turn, with a seed of its own where something is drawn."""
    asking, table = work.asking, work.requests
    examples = [
        Shot(question=q, answer=a) for q, a in zip(work.shots["question"].to_pylist(), work.shots["answer"].to_pylist(), strict=True)
    ]
    shots = _shot_tuples(table.column("shots"), examples)
    draws = asking.sampling is not None and asking.sampling.temperature > 0
    columns = zip(
        table.column("sample_id").to_pylist(),
        table.column("request").to_pylist(),
        shots,
        table.column("prompt").to_pylist(),
        table.column("continuations").to_pylist(),
        table.column("is_bare").to_pylist(),
        _tuples(table.column("turns")),
        table.column("prefix").to_pylist(),
        _nullable(table.column("pair")),
        _nullable(table.column("words")),
        _nullable(table.column("messages")),
        strict=True,
    )
    return [
        Request(
            sample_id=sample_id,
            kind=asking.kind,
            request=name,
            repeat=repeat,
            description="" if is_bare else asking.description,
            shots=examples_of_row,
            prompt=prompt,
            messages=tuple(Message(**m) for m in messages or ()),
            is_bare=is_bare,
            delimiter=asking.delimiter,
            separator=asking.separator,
            continuations=tuple(continuations),
            turns=turns,
            prefix=prefix,
            pair=pair,
            words=None if words is None else tuple(words),
            labels=asking.labels,
            sampling=asking.sampling,
            keep_tokens=asking.keep_tokens,
            seed=seed_for(asking.seed, asking.task, sample_id, repeat, name or "answer") if draws else None,
        )
        for sample_id, name, examples_of_row, prompt, continuations, is_bare, turns, prefix, pair, words, messages in columns
        for repeat in range(asking.num_repeats)
    ]


def _tuples(column: pa.ListArray) -> list[tuple[str, ...]]:
    """The texts of each row; nothing is looked at where no row has any."""
    return [()] * len(column) if len(column.flatten()) == 0 else [tuple(texts) for texts in column.to_pylist()]


def _nullable(column: pa.Array) -> list[Any]:
    """The values of each row; nothing is looked at where all are null."""
    return [None] * len(column) if column.null_count == len(column) else list(column.to_pylist())


def _shot_tuples(column: pa.ListArray, examples: Sequence[Shot]) -> list[tuple[Shot, ...]]:
    """The examples of each row; rows with the same ones share a tuple."""
    if not examples:
        return [()] * len(column)
    known: dict[tuple[int, ...], tuple[Shot, ...]] = {}
    rows = []
    for numbers in column.to_pylist():
        key = tuple(numbers)
        if key not in known:
            known[key] = tuple(examples[i] for i in key)
        rows.append(known[key])
    return rows


def check_one_to_one(requests: Sequence[Request], predictions: Sequence[Prediction]) -> None:
    """Rows in = rows out, in order: the conservation law of every engine."""
    if len(requests) != len(predictions):
        raise InternalError(f"the engine was given {len(requests)} requests and answered {len(predictions)}.")
    for index, (request, answer) in enumerate(zip(requests, predictions, strict=True)):
        if request.sample_id != answer.sample_id or request.repeat != answer.repeat or request.request != answer.request:
            key = (answer.sample_id, answer.request, answer.repeat)
            raise InternalError(f"the engine answered {key} where {request.key} was asked (row {index} of the shard).")
        if (answer.output is None) == (answer.error_code is None):
            raise InternalError(f"the row {request.key} needs either an output or an error code, not both or neither.")


def make_work(shard: int, asking: Asking, requests: pa.RecordBatch, shots: pa.RecordBatch) -> Work:
    """A shard ready to travel: only the examples it refers to, numbered in the order of their first use."""
    column = requests.column("shots")
    numbers = column.flatten().to_numpy(zero_copy_only=False)
    if len(numbers) == 0:
        return Work(shard=shard, requests=requests, shots=shots.slice(0, 0), asking=asking)
    unique, first, inverse = np.unique(numbers, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    offsets = np.concatenate([[0], np.cumsum(column.value_lengths().to_numpy(zero_copy_only=False))]).astype(np.int32)
    renumbered = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(rank[inverse].astype(np.int32)))
    index = requests.schema.get_field_index("shots")
    columns = [renumbered if i == index else requests.column(i) for i in range(requests.num_columns)]
    return Work(
        shard=shard,
        requests=pa.record_batch(columns, schema=requests.schema),
        shots=shots.take(pa.array(unique[order])),
        asking=asking,
    )
