"""What Hypothesis draws: samples, requests, predictions and their tables."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from raybench.core.outputs import Classification, Embedding, Generation, Likelihoods, Output, Spans, Tags, TextLikelihood
from raybench.core.schema import REQUESTS
from raybench.core.types import ErrorCode, FinishReason, Kind, Message, Prediction, Request, Sample, Sampling, Shot

KINDS = st.sampled_from([Kind.GENERATE, Kind.LOGLIKELIHOOD, Kind.ROLLING])
"""Request kinds that the fake engine serves."""

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
"""Unicode without halves of surrogate pairs: empty, right to left, control characters, beyond the basic plane."""

IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)

LOGPROBS = st.floats(allow_nan=False, width=64)
"""Any double but NaN, signed zeros and infinities included."""

COUNTS = st.integers(0, 2**31 - 1)

JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    """A sample of any task."""
    choices = tuple(draw(st.lists(TEXTS, max_size=4)))
    return Sample(
        id=draw(IDS),
        fields=draw(st.dictionaries(TEXTS, JSON_VALUES, max_size=4)),
        choices=choices,
        label=draw(st.none() | st.integers(0, len(choices) - 1)) if choices else None,
        targets=tuple(draw(st.lists(TEXTS, max_size=3))),
        cluster=draw(st.none() | IDS),
    )


@st.composite
def outputs(draw: st.DrawFn, kind: Kind) -> Output:
    """An answer to a request of `kind`."""
    if kind is Kind.GENERATE:
        return Generation(
            text=draw(TEXTS),
            reasoning=draw(st.none() | TEXTS),
            turns=tuple(draw(st.lists(TEXTS, max_size=3))),
            alternatives=tuple(draw(st.lists(TEXTS, max_size=2))),
            token_logprobs=draw(st.none() | st.lists(LOGPROBS, max_size=4).map(tuple)),
        )
    if kind is Kind.CLASSIFY:
        return Classification(logits=tuple(draw(st.lists(LOGPROBS, min_size=1, max_size=4))), label=draw(st.none() | TEXTS))
    if kind is Kind.TAG:
        return Tags(labels=tuple(draw(st.lists(TEXTS, max_size=4))))
    if kind is Kind.EMBED:
        return Embedding(vector=tuple(draw(st.lists(st.floats(-8, 8, width=32), max_size=4))))
    if kind is Kind.SPAN:
        found = draw(st.lists(st.tuples(TEXTS, COUNTS, COUNTS, LOGPROBS), max_size=3))
        texts, starts, stops, scores = zip(*found, strict=True) if found else ((), (), (), ())
        return Spans(texts=texts, starts=starts, stops=stops, scores=scores, null_score=draw(LOGPROBS))
    if kind is Kind.ROLLING:
        kept = draw(st.none() | st.lists(LOGPROBS, max_size=4).map(tuple))
        return TextLikelihood(logprob=draw(LOGPROBS), num_tokens=draw(COUNTS), token_logprobs=kept)
    n = draw(st.integers(1, 5))
    return Likelihoods(
        logprobs=tuple(draw(st.lists(LOGPROBS, min_size=n, max_size=n))),
        is_greedy=tuple(draw(st.lists(st.booleans(), min_size=n, max_size=n))),
        num_tokens=tuple(draw(st.lists(COUNTS, min_size=n, max_size=n))),
        token_logprobs=draw(st.none() | st.lists(st.lists(LOGPROBS, max_size=3).map(tuple), min_size=n, max_size=n).map(tuple)),
    )


@st.composite
def predictions(draw: st.DrawFn, kind: Kind) -> Prediction:
    """An answer, or one time in a few the error that stands in its place."""
    key: dict[str, Any] = {"sample_id": draw(IDS), "request": draw(st.sampled_from(["", "uncond"])), "repeat": draw(st.integers(0, 99))}
    if draw(st.integers(0, 3)) == 0:
        code = draw(st.sampled_from(ErrorCode))
        return Prediction(**key, finish_reason=FinishReason.ERROR, error_code=code, error_message=draw(TEXTS))
    reason = draw(st.sampled_from([FinishReason.STOP, FinishReason.LENGTH])) if kind is Kind.GENERATE else FinishReason.SCORED
    return Prediction(
        **key,
        finish_reason=reason,
        num_prompt_tokens=draw(st.none() | COUNTS),
        num_output_tokens=draw(st.none() | COUNTS),
        num_truncated_tokens=draw(COUNTS),
        output=draw(outputs(kind)),
    )


@st.composite
def shards_of_predictions(draw: st.DrawFn) -> tuple[Kind, list[Prediction]]:
    """The rows of a shard, all of one kind."""
    kind = draw(st.sampled_from(Kind))
    return kind, draw(st.lists(predictions(kind), max_size=6))


@st.composite
def requests(draw: st.DrawFn) -> Request:
    """A question of any kind, as an engine gets it."""
    kind = draw(KINDS)
    shots = draw(st.lists(st.builds(Shot, question=TEXTS, answer=TEXTS), max_size=3)) if kind is not Kind.ROLLING else []
    return Request(
        sample_id=draw(IDS),
        kind=kind,
        repeat=draw(st.integers(0, 9)),
        description=draw(TEXTS),
        shots=tuple(shots),
        prompt=draw(TEXTS),
        continuations=tuple(draw(st.lists(TEXTS, min_size=1, max_size=4))) if kind is Kind.LOGLIKELIHOOD else (),
        sampling=draw(SAMPLINGS) if kind is Kind.GENERATE else None,
        seed=draw(st.none() | st.integers(0, 2**63 - 1)),
    )


SAMPLINGS = st.builds(
    Sampling,
    max_tokens=st.integers(1, 64),
    stop=st.lists(st.text(min_size=1, max_size=3), max_size=2).map(tuple),
    temperature=st.sampled_from([0.0, 0.7, 1.0]),
)

MESSAGES = st.builds(Message, role=st.sampled_from(["system", "user", "assistant"]), content=TEXTS)


@st.composite
def request_tables(draw: st.DrawFn) -> pa.RecordBatch:
    """Rows of schema.REQUESTS with unique keys."""
    ids = draw(st.lists(IDS, unique=True, max_size=6))
    n = len(ids)
    columns = [
        ids,
        [draw(st.sampled_from(["", "uncond"])) for _ in range(n)],
        [draw(st.lists(st.integers(0, 9), max_size=3)) for _ in range(n)],
        [draw(TEXTS) for _ in range(n)],
        [draw(st.lists(TEXTS, max_size=3)) for _ in range(n)],
        [draw(st.booleans()) for _ in range(n)],
        [draw(st.lists(TEXTS, max_size=2)) for _ in range(n)],
        [draw(TEXTS) for _ in range(n)],
        [draw(st.none() | TEXTS) for _ in range(n)],
        [draw(st.none() | st.lists(TEXTS, max_size=3)) for _ in range(n)],
        [draw(st.none() | st.lists(MESSAGES.map(asdict), max_size=3)) for _ in range(n)],
    ]
    return pa.record_batch([pa.array(c, f.type) for c, f in zip(columns, REQUESTS, strict=True)], schema=REQUESTS)
