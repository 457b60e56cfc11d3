"""The tables: which columns there are, which of them are content, and how answers become rows and come back (samples: sample_rows.py).

Content is hashed, compared and byte-identical between runs: what the model saw and answered. Measured columns (seconds, node, pid,
attempt) live in the telemetry table and are never hashed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import repeat as always
from operator import attrgetter
from typing import Any

import pyarrow as pa

from raybench.core.errors import DataError
from raybench.core.outputs import Classification, Embedding, Generation, Likelihoods, Output, Spans, Tags, TextLikelihood
from raybench.core.types import ErrorCode, FinishReason, Kind, Prediction

VERSION = 1
"""Of the run directory's tables; a reader refuses a higher one."""

SAMPLES = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("fields", pa.string(), nullable=False),  # JSON object
        pa.field("choices", pa.list_(pa.string()), nullable=False),
        pa.field("label", pa.int32()),
        pa.field("targets", pa.list_(pa.string()), nullable=False),
        pa.field("cluster", pa.string()),
    ]
)

SHOTS = pa.schema([pa.field("question", pa.string(), nullable=False), pa.field("answer", pa.string(), nullable=False)])
"""Few-shot examples of one (task, form), each rendered once; requests refer to them by row number."""

MESSAGE = pa.struct([pa.field("role", pa.string(), nullable=False), pa.field("content", pa.string(), nullable=False)])
"""One turn of a conversation."""

REQUESTS = pa.schema(
    [
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("request", pa.string(), nullable=False),
        pa.field("shots", pa.list_(pa.int32()), nullable=False),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("continuations", pa.list_(pa.string()), nullable=False),
        pa.field("is_bare", pa.bool_(), nullable=False),  # neither description nor chat template
        pa.field("turns", pa.list_(pa.string()), nullable=False),
        pa.field("prefix", pa.string(), nullable=False),
        pa.field("pair", pa.string()),  # second text of `classify`, passage of `span`
        pa.field("words", pa.list_(pa.string())),  # of `tag`
        pa.field("messages", pa.list_(MESSAGE)),  # a whole conversation in place of shots, prompt and prefix
    ]
)

_KEY = [
    pa.field("sample_id", pa.string(), nullable=False),
    pa.field("request", pa.string(), nullable=False),
    pa.field("repeat", pa.int32(), nullable=False),
    pa.field("finish_reason", pa.string(), nullable=False),
    pa.field("num_prompt_tokens", pa.int32()),
    pa.field("num_output_tokens", pa.int32()),
    pa.field("num_truncated_tokens", pa.int32(), nullable=False),
    pa.field("error_code", pa.string()),
    pa.field("error_message", pa.string()),
]

OUTPUTS: dict[Kind, pa.StructType] = {
    Kind.GENERATE: pa.struct(
        [
            pa.field("text", pa.string()),
            pa.field("reasoning", pa.string()),
            pa.field("turns", pa.list_(pa.string())),  # empty where there was one turn only
            pa.field("alternatives", pa.list_(pa.string())),  # empty but for beams
            pa.field("token_logprobs", pa.list_(pa.float64())),
        ]
    ),
    Kind.LOGLIKELIHOOD: pa.struct(
        [
            pa.field("logprobs", pa.list_(pa.float64())),
            pa.field("is_greedy", pa.list_(pa.bool_())),
            pa.field("num_tokens", pa.list_(pa.int32())),
            pa.field("token_logprobs", pa.list_(pa.list_(pa.float64()))),
        ]
    ),
    Kind.ROLLING: pa.struct(
        [
            pa.field("logprob", pa.float64()),
            pa.field("num_tokens", pa.int32()),
            pa.field("token_logprobs", pa.list_(pa.float64())),
        ]
    ),
    Kind.CLASSIFY: pa.struct([pa.field("logits", pa.list_(pa.float64())), pa.field("label", pa.string())]),
    Kind.TAG: pa.struct([pa.field("labels", pa.list_(pa.string()))]),
    Kind.SPAN: pa.struct(
        [
            pa.field("texts", pa.list_(pa.string())),
            pa.field("starts", pa.list_(pa.int32())),
            pa.field("stops", pa.list_(pa.int32())),
            pa.field("scores", pa.list_(pa.float64())),
            pa.field("null_score", pa.float64()),
        ]
    ),
    Kind.FILL: pa.struct(
        [
            pa.field("logprobs", pa.list_(pa.float64())),
            pa.field("is_greedy", pa.list_(pa.bool_())),
            pa.field("num_tokens", pa.list_(pa.int32())),
            pa.field("token_logprobs", pa.list_(pa.list_(pa.float64()))),
        ]
    ),
    Kind.EMBED: pa.struct([pa.field("vector", pa.list_(pa.float32()))]),
}
"""One typed struct a request kind; a shard has one kind."""

TELEMETRY = pa.schema(
    [
        pa.field("model", pa.string(), nullable=False),
        pa.field("task", pa.string(), nullable=False),
        pa.field("fingerprint", pa.string(), nullable=False),
        pa.field("sample_id", pa.string()),  # null: the row is about the whole shard
        pa.field("attempt", pa.int32(), nullable=False),
        pa.field("started", pa.float64()),
        pa.field("seconds", pa.float64()),
        pa.field("node", pa.string()),
        pa.field("pid", pa.int64()),
        pa.field("num_prompt_tokens", pa.int64()),
        pa.field("num_output_tokens", pa.int64()),
    ]
)


def predictions_schema(kind: Kind) -> pa.Schema:
    """Content columns of a shard of `kind`."""
    return pa.schema([*_KEY, pa.field("output", OUTPUTS[kind])], metadata={"raybench.kind": kind.value, "raybench.schema": str(VERSION)})


def to_batch(predictions: Sequence[Prediction], kind: Kind) -> pa.RecordBatch:
    """Predictions as content rows, in order.

    Raises:
        DataError: when a text cannot be written as UTF-8 (a lone surrogate); names the row.
    """
    schema = predictions_schema(kind)
    columns: list[list[Any]] = [
        [p.sample_id for p in predictions],
        [p.request for p in predictions],
        [p.repeat for p in predictions],
        [p.finish_reason for p in predictions],
        [p.num_prompt_tokens for p in predictions],
        [p.num_output_tokens for p in predictions],
        [p.num_truncated_tokens for p in predictions],
        [p.error_code for p in predictions],
        [p.error_message for p in predictions],
    ]
    try:
        arrays = [pa.array(values, field.type) for values, field in zip(columns, _KEY, strict=True)]
        arrays.append(_outputs_to_array([p.output for p in predictions], OUTPUTS[kind]))
    except UnicodeEncodeError as error:
        raise DataError(_surrogate_message(predictions)) from error
    return pa.record_batch(arrays, schema=schema)


def _outputs_to_array(outputs: list[Output | None], kind: pa.StructType) -> pa.StructArray:
    fields = list(kind)
    if None not in outputs:
        return pa.StructArray.from_arrays([pa.array(list(map(attrgetter(f.name), outputs)), f.type) for f in fields], fields=fields)
    children = [pa.array([None if o is None else getattr(o, f.name) for o in outputs], f.type) for f in fields]
    return pa.StructArray.from_arrays(children, fields=fields, mask=pa.array([o is None for o in outputs], pa.bool_()))


def _surrogate_message(predictions: Sequence[Prediction]) -> str:
    for p in predictions:
        try:
            repr((p.sample_id, p.output, p.error_message)).encode()
            for text in (p.sample_id, p.error_message or "", *_texts(p.output)):
                text.encode()
        except UnicodeEncodeError as error:
            return f"sample '{p.sample_id!r}': the text has a lone surrogate at character {error.start} and is no Unicode text."
    return "a text has a lone surrogate and is no Unicode text."


def _texts(output: Output | None) -> tuple[str, ...]:
    return (output.text, output.reasoning or "", *output.turns, *output.alternatives) if isinstance(output, Generation) else ()


def from_batch(batch: pa.RecordBatch, kind: Kind) -> list[Prediction]:
    """The predictions of content rows, in order; inverse of `to_batch`."""
    ids, requests, repeats, reasons, prompts, outputs, truncated, codes, messages = (batch.column(i).to_pylist() for i in range(len(_KEY)))
    return [
        Prediction(
            sample_id=i,
            request=q,
            repeat=r,
            finish_reason=_REASONS[f],
            num_prompt_tokens=p,
            num_output_tokens=o,
            num_truncated_tokens=t,
            error_code=None if c is None else _CODES[c],
            error_message=m,
            output=out,
        )
        for i, q, r, f, p, o, t, c, m, out in zip(
            ids, requests, repeats, reasons, prompts, outputs, truncated, codes, messages,
            _outputs_from_array(batch.column(len(_KEY)), kind), strict=True,
        )
    ]  # fmt: skip


_REASONS = {r.value: r for r in FinishReason}
_CODES = {c.value: c for c in ErrorCode}


def _outputs_from_array(array: pa.StructArray, kind: Kind) -> Iterator[Output | None]:
    present = array.is_valid().to_pylist()
    children = [array.field(i).to_pylist() for i in range(array.type.num_fields)]
    for valid, *values in zip(present, *children, strict=True):
        if not valid:
            yield None
            continue
        if kind in _HEADS:
            yield _HEADS[kind](values)
            continue
        tokens = values[-1]
        if kind is Kind.GENERATE:
            kept = None if tokens is None else tuple(tokens)
            yield Generation(
                text=values[0], reasoning=values[1], turns=tuple(values[2]), alternatives=tuple(values[3]), token_logprobs=kept
            )
        elif kind in (Kind.LOGLIKELIHOOD, Kind.FILL):
            yield Likelihoods(
                logprobs=tuple(values[0]),
                is_greedy=tuple(values[1]),
                num_tokens=tuple(values[2]),
                token_logprobs=None if tokens is None else tuple(map(tuple, tokens)),
            )
        else:
            yield TextLikelihood(logprob=values[0], num_tokens=values[1], token_logprobs=None if tokens is None else tuple(tokens))


_HEADS: dict[Kind, Callable[[Sequence[Any]], Output]] = {
    Kind.CLASSIFY: lambda v: Classification(logits=tuple(v[0]), label=v[1]),
    Kind.TAG: lambda v: Tags(labels=tuple(v[0])),
    Kind.SPAN: lambda v: Spans(texts=tuple(v[0]), starts=tuple(v[1]), stops=tuple(v[2]), scores=tuple(v[3]), null_score=v[4]),
    Kind.EMBED: lambda v: Embedding(vector=tuple(v[0])),
}
"""Children of an output struct, in its order, to the output of the kind."""


def keys_of(requests: pa.RecordBatch, num_repeats: int) -> tuple[pa.Array, pa.Array, pa.Array]:
    """The (sample_id, request, repeat) columns that answering `requests` must give: each row `num_repeats` times in turn."""
    ids, names = requests.column("sample_id"), requests.column("request")
    if num_repeats > 1:
        index = pa.array([i for i in range(requests.num_rows) for _ in range(num_repeats)], pa.int32())
        ids, names = ids.take(index), names.take(index)
    repeats = pa.array([r for _ in always(None, requests.num_rows) for r in range(num_repeats)], pa.int32())
    return ids, names, repeats
