"""What a shard and its answer look like after the way between driver and actor: the same."""

from __future__ import annotations

import pyarrow as pa
import pytest

from raybench.core import schema
from raybench.core.outputs import Generation
from raybench.core.pool import Measured, Work
from raybench.core.types import Asking, ErrorCode, FinishReason, Kind, Prediction, Request
from raybench.driver.wire import pack_answer, pack_work, unpack_answer, unpack_work


def test_a_shard_arrives_as_it_was_sent() -> None:
    empty = {f.name: [] if pa.types.is_list(f.type) else False if pa.types.is_boolean(f.type) else "" for f in schema.REQUESTS}
    rows = [empty | {"sample_id": "测试-1", "shots": [0, 1], "prompt": "a\nb"}, empty | {"sample_id": "2", "continuations": ["x", " y"]}]
    requests = pa.RecordBatch.from_pylist(rows, schema=schema.REQUESTS)
    shots = pa.RecordBatch.from_pylist([{"question": "q", "answer": "a"}] * 2, schema=schema.SHOTS)
    work = Work(shard=7, requests=requests, shots=shots, asking=Asking(task="t", kind=Kind.LOGLIKELIHOOD, description="d"))

    assert unpack_work(pack_work(work)) == work


def test_a_slice_of_a_table_travels_alone() -> None:
    table = pa.RecordBatch.from_pylist([{"question": f"{i}" * 10_000, "answer": "a"} for i in range(10)], schema=schema.SHOTS)
    none = schema.REQUESTS.empty_table().to_batches()
    requests = none[0] if none else pa.RecordBatch.from_pylist([], schema=schema.REQUESTS)
    work = Work(shard=0, requests=requests, shots=table.slice(3, 1), asking=Asking(task="t", kind=Kind.GENERATE))

    packed = pack_work(work)

    assert unpack_work(packed) == work
    assert len(packed) < 20_000


@pytest.mark.parametrize("repeats", [1, 200_000], ids=["small", "large"])
def test_answers_and_error_rows_arrive_as_they_were_given(repeats: int) -> None:
    refused = Prediction.failed(Request(sample_id="2", kind=Kind.GENERATE), ErrorCode.OVERLONG, "too long")
    answers = [Prediction(sample_id="1", finish_reason=FinishReason.STOP, output=Generation(text="是" * repeats)), refused]
    batch = schema.to_batch(answers, Kind.GENERATE)
    measured = Measured(started=1.5, seconds=0.25, node="n", pid=3, num_prompt_tokens=10, num_output_tokens=20)

    packed = pack_answer(Kind.GENERATE, batch, measured)
    found, found_measured = unpack_answer(packed)

    assert isinstance(packed, tuple) == (repeats > 1)  # a large one has its rows in a buffer of their own
    assert found == batch
    assert schema.from_batch(found, Kind.GENERATE) == answers
    assert found_measured == measured
