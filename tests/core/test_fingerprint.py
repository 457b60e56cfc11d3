"""Digests that follow the values and nothing else; seeds that follow the sample and nothing else."""

from __future__ import annotations

import io
import random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from raybench.core.fingerprint import DIGEST_LENGTH, batch_digest, canonical_json, digest, seed_for
from raybench.core.schema import to_batch
from raybench.core.types import Kind, Prediction
from tests.strategies import JSON_VALUES, TEXTS, shards_of_predictions

COLUMNS: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "text": (pa.string(), st.none() | TEXTS),
    "wide": (pa.large_string(), st.none() | TEXTS),
    "raw": (pa.binary(), st.none() | st.binary(max_size=8)),
    "count": (pa.int32(), st.none() | st.integers(-(2**31), 2**31 - 1)),
    "nats": (pa.float64(), st.none() | st.floats(allow_nan=False)),
    "flag": (pa.bool_(), st.none() | st.booleans()),
    "texts": (pa.list_(pa.string()), st.none() | st.lists(st.none() | TEXTS, max_size=3)),
    "output": (
        pa.struct([pa.field("logprobs", pa.list_(pa.float64())), pa.field("text", pa.string())]),
        st.none() | st.fixed_dictionaries({"logprobs": st.lists(st.floats(allow_nan=False), max_size=3), "text": st.none() | TEXTS}),
    ),
}
ROWS = st.lists(st.fixed_dictionaries({name: values for name, (_, values) in COLUMNS.items()}), min_size=1, max_size=5)


def table_of(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    return pa.record_batch({name: pa.array([r[name] for r in rows], kind) for name, (kind, _) in COLUMNS.items()})


def through_parquet(batch: pa.RecordBatch) -> pa.RecordBatch:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_batches([batch]), sink, use_compliant_nested_type=False)
    # without the option, as the store has it too, the items of a list come back under another name, and names count
    return pq.read_table(io.BytesIO(sink.getvalue())).combine_chunks().to_batches()[0]


def through_ipc(batch: pa.RecordBatch) -> pa.RecordBatch:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return pa.ipc.open_stream(sink.getvalue()).read_next_batch()


@given(ROWS, ROWS, st.integers(0, 5))
def test_equal_values_have_one_digest_whatever_the_buffers(rows: list[dict[str, Any]], before: list[dict[str, Any]], after: int) -> None:
    batch = table_of(rows)
    expected = batch_digest(batch)

    sliced = table_of([*before, *rows, *before[:after]]).slice(len(before), len(rows))

    assert batch_digest(sliced) == expected
    assert batch_digest(through_ipc(batch)) == expected
    assert batch_digest(through_ipc(sliced)) == expected
    assert batch_digest(through_parquet(batch)) == expected
    assert batch_digest(batch.take(pa.array(range(len(rows))))) == expected


@given(shards_of_predictions())
def test_answers_keep_their_digest_through_files(shard: tuple[Kind, list[Prediction]]) -> None:
    kind, predictions = shard
    assume(predictions)
    batch = to_batch(predictions, kind)

    assert batch_digest(through_ipc(batch)) == batch_digest(batch)
    assert batch_digest(through_parquet(batch)) == batch_digest(batch)


def test_a_null_bitmap_that_says_nothing_changes_nothing() -> None:
    plain = pa.array([1, 2, 3], pa.int32())
    values = plain.buffers()[1]
    with_bitmap = pa.Array.from_buffers(pa.int32(), 3, [pa.py_buffer(b"\x07"), values])
    assert with_bitmap.buffers()[0] is not None

    assert batch_digest(pa.record_batch({"x": with_bitmap})) == batch_digest(pa.record_batch({"x": plain}))


def test_what_lies_under_a_null_is_no_value() -> None:
    data = pa.py_buffer(b"abc")
    offsets = pa.py_buffer(b"\0\0\0\0\1\0\0\0\3\0\0\0")
    hidden = pa.Array.from_buffers(pa.string(), 2, [pa.py_buffer(b"\x01"), offsets, data])
    assert hidden.to_pylist() == ["a", None]

    assert batch_digest(pa.record_batch({"x": hidden})) == batch_digest(pa.record_batch({"x": pa.array(["a", None])}))


@given(ROWS, st.data())
def test_any_other_value_gives_another_digest(rows: list[dict[str, Any]], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(rows) - 1))
    name = data.draw(st.sampled_from(list(COLUMNS)))
    value = data.draw(COLUMNS[name][1])
    changed = [dict(r) for r in rows]
    changed[index][name] = value
    assume(repr(value) != repr(rows[index][name]))  # 0.0 and -0.0 are two values

    assert batch_digest(table_of(changed)) != batch_digest(table_of(rows))


def test_moving_a_character_over_a_border_gives_another_digest() -> None:
    def of(*texts: str) -> str:
        return batch_digest(pa.record_batch({"x": pa.array(texts)}))

    assert len({of("ab", "c"), of("a", "bc"), of("abc", ""), of("abc")}) == 4


def test_names_types_and_order_of_columns_are_part_of_the_digest() -> None:
    x, y = pa.array([1], pa.int32()), pa.array([2], pa.int32())
    variants = [
        pa.record_batch({"x": x, "y": y}),
        pa.record_batch({"y": y, "x": x}),
        pa.record_batch({"a": x, "y": y}),
        pa.record_batch({"x": x.cast(pa.int64()), "y": y}),
    ]

    assert len({batch_digest(v) for v in variants}) == len(variants)


# half of the first 8 bytes of a sha256, from coreutils: printf '%s' '[0,"gsm8k","test-0",0,"answer"]' | sha256sum
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((0, "gsm8k", "test-0", 0, "answer"), 7478387943717375649),
        ((1, "gsm8k", "test-0", 0, "answer"), 7466899791492689557),
        ((0, "gsm8k", "test-0", 1, "answer"), 8261768994988433882),
        ((0, "mmlu/anatomy", "ü-1", 0, "shots"), 864497241191912206),
    ],
)
def test_seeds_are_what_they_have_always_been(arguments: tuple[int, str, str, int, str], expected: int) -> None:
    assert seed_for(*arguments) == expected


def test_a_seed_depends_on_each_of_its_parts_and_not_on_the_order_of_work() -> None:
    keys = [(s, t, i, r, p) for s in (0, 1) for t in ("a", "b") for i in ("x", "y") for r in (0, 1) for p in ("shots", "answer")]
    forwards = {k: seed_for(*k) for k in keys}
    shuffled = random.Random(0).sample(keys, len(keys))

    assert {k: seed_for(*k) for k in shuffled} == forwards
    assert len(set(forwards.values())) == len(keys)
    assert all(0 <= s < 2**63 for s in forwards.values())


def test_parts_of_a_seed_do_not_run_into_each_other() -> None:
    assert seed_for(0, "ab", "c", 0, "x") != seed_for(0, "a", "bc", 0, "x")


def test_digests_are_what_they_have_always_been() -> None:
    # coreutils: printf '%s' '["a",1]' | sha256sum
    assert digest("a", 1) == "135f17a475a61afdeeaf3759ad2e45ad"
    assert len(digest()) == DIGEST_LENGTH


@given(st.dictionaries(TEXTS, JSON_VALUES, max_size=5))
def test_the_order_of_keys_changes_no_digest(value: dict[str, Any]) -> None:
    backwards = dict(reversed(list(value.items())))

    assert canonical_json(backwards) == canonical_json(value)
    assert digest(backwards) == digest(value)


def test_a_number_that_json_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest(float("nan"))


def test_a_lone_surrogate_has_a_digest_of_its_own() -> None:
    assert digest("\ud800") != digest("\udfff") != digest("?")
