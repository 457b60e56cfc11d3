"""Tables: what goes in comes out, and what cannot be written is refused by name."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raybench.core.errors import DataError
from raybench.core.outputs import Generation, Likelihoods
from raybench.core.schema import OUTPUTS, REQUESTS, TELEMETRY, from_batch, keys_of, predictions_schema, to_batch
from raybench.core.types import FinishReason, Kind, Prediction
from tests.strategies import request_tables, shards_of_predictions


def generated(text: str, *, sample_id: str = "s") -> Prediction:
    return Prediction(sample_id=sample_id, finish_reason=FinishReason.STOP, output=Generation(text=text))


@given(shards_of_predictions())
def test_predictions_come_back_from_their_rows_as_they_were(shard: tuple[Kind, list[Prediction]]) -> None:
    kind, predictions = shard

    batch = to_batch(predictions, kind)

    assert batch.schema.equals(predictions_schema(kind), check_metadata=True)
    batch.validate(full=True)
    # repr also tells 0.0 from -0.0
    assert repr(from_batch(batch, kind)) == repr(predictions)


@given(shards_of_predictions(), st.integers(0, 6), st.integers(0, 6))
def test_a_slice_of_rows_gives_that_slice_of_predictions(shard: tuple[Kind, list[Prediction]], start: int, length: int) -> None:
    kind, predictions = shard
    start = min(start, len(predictions))

    assert from_batch(to_batch(predictions, kind).slice(start, length), kind) == predictions[start : start + length]


@pytest.mark.parametrize("text", ["", " ", "\0", "x" * 5_000_000, "🜁" * 1000, "\u202ertl", "\r\n\x85\u2028"], ids=range(7))
def test_texts_of_all_sorts_are_kept_to_the_character(text: str) -> None:
    assert from_batch(to_batch([generated(text)], Kind.GENERATE), Kind.GENERATE) == [generated(text)]


def test_no_answer_and_an_empty_answer_are_two_things() -> None:
    failed = Prediction(sample_id="s", finish_reason=FinishReason.ERROR, error_code=None, error_message=None)

    found = from_batch(to_batch([generated(""), failed], Kind.GENERATE), Kind.GENERATE)

    assert found[0].output == Generation(text="")
    assert found[1].output is None


@pytest.mark.parametrize(
    "row",
    [
        generated("half \ud83d of a pair", sample_id="q-7"),
        generated("fine", sample_id="q-7\udc80"),
        Prediction(sample_id="q-7", finish_reason=FinishReason.ERROR, error_message="said \udfff"),
    ],
    ids=["text", "id", "message"],
)
def test_half_of_a_surrogate_pair_is_refused_with_the_sample_and_the_place(row: Prediction) -> None:
    with pytest.raises(
        DataError, match=r"sample '.*q-7.*': the text has a lone surrogate at character \d+ and is no Unicode text"
    ) as caught:
        to_batch([generated("before"), row, generated("after")], Kind.GENERATE)

    caught.value.message.encode()  # the message itself can be printed


def test_an_answer_of_the_wrong_kind_is_not_written() -> None:
    row = Prediction(
        sample_id="s", finish_reason=FinishReason.SCORED, output=Likelihoods(logprobs=(0.0,), is_greedy=(True,), num_tokens=(1,))
    )

    with pytest.raises(AttributeError):
        to_batch([row], Kind.GENERATE)


def test_every_request_kind_has_its_typed_output() -> None:
    assert list(OUTPUTS) == list(Kind)


@given(request_tables(), st.integers(1, 4))
def test_every_request_is_expected_once_a_repeat_in_order(table: pa.RecordBatch, num_repeats: int) -> None:
    ids, names, repeats = keys_of(table, num_repeats)

    rows = table.to_pylist()
    expected = [(r["sample_id"], r["request"], i) for r in rows for i in range(num_repeats)]
    assert list(zip(ids.to_pylist(), names.to_pylist(), repeats.to_pylist(), strict=True)) == expected
    assert (ids.type, names.type, repeats.type) == (pa.string(), pa.string(), pa.int32())


def test_content_holds_nothing_that_is_measured() -> None:
    measured = set(TELEMETRY.names) - {"model", "task", "fingerprint", "sample_id", "num_prompt_tokens", "num_output_tokens"}
    assert measured == {"attempt", "started", "seconds", "node", "pid"}
    for kind in OUTPUTS:
        assert not measured & set(predictions_schema(kind).names)


def test_an_engine_gets_no_column_with_an_answer() -> None:
    assert set(REQUESTS.names) == {
        "sample_id",
        "request",
        "shots",
        "prompt",
        "continuations",
        "is_bare",
        "turns",
        "prefix",
        "pair",
        "words",
        "messages",
    }


def test_a_row_s_kind_and_version_stand_in_the_schema() -> None:
    metadata = predictions_schema(Kind.ROLLING).metadata

    assert metadata == {b"raybench.kind": b"rolling", b"raybench.schema": b"1"}
    assert json.loads(metadata[b"raybench.schema"]) == 1
