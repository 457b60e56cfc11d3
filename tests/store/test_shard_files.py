from __future__ import annotations

import hashlib
import multiprocessing
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raybench.core.errors import InternalError
from raybench.core.fingerprint import batch_digest
from raybench.core.outputs import Generation, Likelihoods, Output, TextLikelihood
from raybench.core.schema import keys_of, predictions_schema, to_batch
from raybench.core.types import ErrorCode, FinishReason, Kind, Prediction
from raybench.store.run_dir import RunDir
from raybench.store.shard_files import ShardFiles
from raybench.store.shard_mark import ShardMark, keys_digest
from raybench.store.shard_reader import DamagedShard

NAME = "ab" * 16


def commit_one(run: RunDir, batch: pa.RecordBatch, **extra: Any) -> Path:
    run.commit("gsm8k", "m", batch, ShardMark.of(batch, fingerprint=NAME, start=0, stop=batch.num_rows, **extra))
    return run.path / "predictions" / "gsm8k" / "m" / f"{NAME}.parquet"


def test_a_shard_comes_back_with_its_mark(run: RunDir, make_batch: Callable[..., pa.RecordBatch]) -> None:
    batch = make_batch(0, 20)
    mark = ShardMark.of(
        batch, fingerprint=NAME, start=0, stop=20, attempt=3, batch_tokens=4096, is_budget_halved=True, isolated=("test-3", "ü")
    )

    committed = run.commit("gsm8k", "m", batch, mark)

    info = run.scan("gsm8k", "m").shards[NAME]
    data = info.path.read_bytes()
    assert info.mark == mark
    assert committed.is_new
    assert (committed.num_bytes, committed.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert info.num_bytes == len(data)
    read = run.read("gsm8k", "m", NAME)
    assert read.equals(batch)
    assert read.schema.equals(batch.schema, check_metadata=True)
    assert batch_digest(read) == batch_digest(batch)


def test_the_keys_of_a_mark_are_those_that_the_requests_promise(make_batch: Callable[..., pa.RecordBatch]) -> None:
    batch = make_batch(0, 3)
    requests = pa.record_batch([batch.column("sample_id"), batch.column("request")], names=["sample_id", "request"])

    mark = ShardMark.of(batch, fingerprint=NAME, start=0, stop=3)

    assert mark.ids_digest == keys_digest(*keys_of(requests, 1))
    assert mark.ids_digest != keys_digest(*keys_of(requests.slice(0, 2), 1))


def test_the_first_attempt_stays_and_a_second_copy_changes_nothing(run: RunDir, make_batch: Callable[..., pa.RecordBatch]) -> None:
    path = commit_one(run, make_batch(0, 5))
    before = path.read_bytes()
    other = make_batch(0, 5, salt="other")

    again = run.commit("gsm8k", "m", other, ShardMark.of(other, fingerprint=NAME, start=0, stop=5, attempt=2))

    assert not again.is_new
    assert path.read_bytes() == before
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name]


@pytest.mark.parametrize("change", [{"num_rows": 4}, {"content_digest": "0" * 32}], ids=["a row is missing", "a row is another"])
def test_rows_that_are_not_those_of_the_mark_are_refused(
    run: RunDir, make_batch: Callable[..., pa.RecordBatch], change: dict[str, Any]
) -> None:
    batch = make_batch(0, 5)
    mark = replace(ShardMark.of(batch, fingerprint=NAME, start=0, stop=5), **change)

    with pytest.raises(InternalError, match=NAME):
        run.commit("gsm8k", "m", batch, mark)

    assert run.scan("gsm8k", "m").shards == {}


def test_a_table_that_is_no_predictions_is_refused(run: RunDir, make_batch: Callable[..., pa.RecordBatch]) -> None:
    bare = make_batch(0, 5).replace_schema_metadata(None)

    with pytest.raises(InternalError, match="not predictions of any kind"):
        run.commit("gsm8k", "m", bare, ShardMark.of(bare, fingerprint=NAME, start=0, stop=5))


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "a b", "x" * 81, "m.parquet", "a\n"])
def test_names_that_are_not_safe_in_a_file_system_are_refused(run: RunDir, name: str) -> None:
    with pytest.raises(InternalError, match="no file-safe name"):
        run.shard_files("task", name)


@pytest.mark.parametrize("size", [lambda n: 0, lambda n: 1, lambda n: 8, lambda n: n // 2, lambda n: n - 1])
def test_a_truncated_file_is_found_by_the_scan_and_moved_aside(
    run: RunDir, make_batch: Callable[..., pa.RecordBatch], size: Callable[[int], int]
) -> None:
    batch = make_batch(0, 20)
    path = commit_one(run, batch)
    data = path.read_bytes()
    path.write_bytes(data[: size(len(data))])

    found = run.scan("gsm8k", "m")

    assert found.shards == {}
    assert [damaged.path for damaged in found.damaged] == [path]
    assert not path.exists()
    assert (run.path / "damaged" / "gsm8k" / "m" / f"{NAME}.parquet.1").stat().st_size == size(len(data))
    assert commit_one(run, batch).exists()
    assert run.read("gsm8k", "m", NAME).equals(batch)


def test_a_reader_without_the_lock_moves_nothing(run: RunDir, make_batch: Callable[..., pa.RecordBatch]) -> None:
    path = commit_one(run, make_batch(0, 5))
    path.write_bytes(b"")

    found = RunDir.open(run.path).scan("gsm8k", "m")

    assert len(found.damaged) == 1
    assert path.exists()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.data())
def test_no_flipped_bit_ever_changes_what_is_read(run: RunDir, make_batch: Callable[..., pa.RecordBatch], data: st.DataObject) -> None:
    batch = make_batch(0, 20, kind=data.draw(st.sampled_from([Kind.GENERATE, Kind.LOGLIKELIHOOD])))
    files = ShardFiles(run.path / "predictions", "flip", "m")
    files.path(NAME).unlink(missing_ok=True)
    mark = ShardMark.of(batch, fingerprint=NAME, start=0, stop=20)
    files.commit(batch, mark)
    raw = bytearray(files.path(NAME).read_bytes())
    bit = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[bit // 8] ^= 1 << (bit % 8)
    files.path(NAME).write_bytes(raw)

    found = files.scan().shards

    assert found == {} or found[NAME].mark == mark
    with suppress(DamagedShard):
        assert files.read(NAME).equals(batch)


def flip(path: Path, offset: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[offset] ^= 4
    path.write_bytes(raw)


def test_a_flipped_bit_in_the_pages_is_found_by_reading(run: RunDir, make_batch: Callable[..., pa.RecordBatch]) -> None:
    path = commit_one(run, make_batch(0, 200))
    chunk = pq.read_metadata(path).row_group(0).column(0)
    flip(path, chunk.data_page_offset + chunk.total_compressed_size - 5)

    assert NAME in run.scan("gsm8k", "m").shards
    with pytest.raises(DamagedShard, match="Run the same command again") as caught:
        run.read("gsm8k", "m", NAME)

    assert run.discard("gsm8k", "m", caught.value.fingerprint) == [NAME]
    assert run.scan("gsm8k", "m").shards == {}


def test_a_flipped_bit_in_the_mark_is_found_by_the_scan(run: RunDir, make_batch: Callable[..., pa.RecordBatch]) -> None:
    path = commit_one(run, make_batch(0, 20))
    flip(path, path.read_bytes().index(b'"stop":[20]') + 8)

    assert [damaged.reason for damaged in run.scan("gsm8k", "m").damaged] == ["it cannot be decoded: the mark in its footer was changed"]


def test_a_shard_under_another_name_is_not_taken_for_it(run: RunDir, make_batch: Callable[..., pa.RecordBatch]) -> None:
    path = commit_one(run, make_batch(0, 5))
    path.rename(path.with_name(f"{'cd' * 16}.parquet"))

    found = run.scan("gsm8k", "m")

    assert found.shards == {}
    assert NAME in found.damaged[0].reason


def test_a_foreign_parquet_file_is_no_shard(run: RunDir, make_batch: Callable[..., pa.RecordBatch]) -> None:
    path = commit_one(run, make_batch(0, 5))
    pq.write_table(pa.table({"x": [1]}), path)

    assert [damaged.reason for damaged in run.scan("gsm8k", "m").damaged] == ["it cannot be decoded: its footer has no mark of raybench"]


def test_unfinished_files_are_not_looked_at(run: RunDir, make_batch: Callable[..., pa.RecordBatch]) -> None:
    path = commit_one(run, make_batch(0, 5))
    path.with_name(f".tmp-1-{path.name}").write_bytes(b"half")

    found = run.scan("gsm8k", "m")

    assert (set(found.shards), found.damaged) == ({NAME}, ())


def test_a_shard_that_was_never_committed_is_named(run: RunDir) -> None:
    with pytest.raises(DamagedShard, match="there is no file of it") as caught:
        run.read("gsm8k", "m", NAME)

    assert caught.value.fingerprint == NAME


def _race(path: Path, barrier: Any, wins: Any, number: int) -> None:
    batch = to_batch(
        [Prediction(sample_id="a", finish_reason=FinishReason.STOP, output=Generation(text=f"writer {number}"))], Kind.GENERATE
    )
    mark = ShardMark.of(batch, fingerprint=NAME, start=0, stop=1)
    barrier.wait()
    if RunDir(path).commit("gsm8k", "m", batch, mark).is_new:
        wins.put(number)


def test_of_two_processes_that_commit_the_same_shard_one_wins(run: RunDir) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, wins = context.Barrier(2), context.Queue()
    writers = [context.Process(target=_race, args=(run.path, barrier, wins, number)) for number in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    winner = wins.get(timeout=10)
    assert wins.empty()
    assert [o["text"] for o in run.read("gsm8k", "m", NAME).column("output").to_pylist()] == [f"writer {winner}"]


def test_a_reader_during_commits_sees_whole_shards_only(run: RunDir, commit_shards: Callable[..., list[str]]) -> None:
    finished = threading.Event()
    problems: list[str] = []

    def look() -> None:
        reader = RunDir.open(run.path)
        while not finished.is_set():
            found = reader.scan("gsm8k", "m")
            problems.extend(damaged.reason for damaged in found.damaged)
            problems.extend(name for name in found.shards if reader.read("gsm8k", "m", name).num_rows != 8)

    thread = threading.Thread(target=look)
    thread.start()
    names = commit_shards(run, "gsm8k", "m", num_shards=40)
    run.compact("gsm8k", "m", names)
    finished.set()
    thread.join()

    assert problems == []


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
outputs: dict[Kind, st.SearchStrategy[Output]] = {
    Kind.GENERATE: st.builds(Generation, text=text),
    Kind.LOGLIKELIHOOD: st.integers(0, 4).flatmap(
        lambda n: st.builds(
            Likelihoods,
            logprobs=st.tuples(*[st.floats(width=64, allow_nan=False)] * n),
            is_greedy=st.tuples(*[st.booleans()] * n),
            num_tokens=st.tuples(*[st.integers(0, 2**31 - 1)] * n),
        )
    ),
    Kind.ROLLING: st.builds(TextLikelihood, logprob=st.floats(allow_nan=False), num_tokens=st.integers(0, 2**31 - 1)),
}


def predictions(kind: Kind) -> st.SearchStrategy[list[Prediction]]:
    key = {"sample_id": text, "request": text, "repeat": st.integers(0, 9)}
    count = st.none() | st.integers(0, 2**31 - 1)
    answered = st.builds(
        Prediction, **key, finish_reason=st.sampled_from(FinishReason), num_prompt_tokens=count, num_output_tokens=count,
        output=outputs[kind],
    )  # fmt: skip
    failed = st.builds(
        Prediction, **key, finish_reason=st.just(FinishReason.ERROR), error_code=st.sampled_from(ErrorCode), error_message=text
    )
    return st.lists(answered | failed, min_size=1, max_size=12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.data())
def test_any_predictions_come_back_unchanged_single_and_compacted(run: RunDir, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(sorted(outputs)))
    batches = [to_batch(rows, kind) for rows in data.draw(st.lists(predictions(kind), min_size=1, max_size=3))]
    files = ShardFiles(run.path / "predictions", "any", "m")
    files.compacted.unlink(missing_ok=True)
    names = [f"{k:032x}" for k in range(len(batches))]
    for name, batch in zip(names, batches, strict=True):
        files.commit(batch, ShardMark.of(batch, fingerprint=name, start=0, stop=1))

    single = list(files.iterate(names))
    run.compact("any", "m", names)
    compacted = list(files.iterate(names))

    for batch, one, other in zip(batches, single, compacted, strict=True):
        # not `equals` alone: it takes 0.0 for -0.0, the digest does not
        assert one.equals(batch)
        assert batch_digest(one) == batch_digest(other) == batch_digest(batch)
        assert other.schema.equals(predictions_schema(kind), check_metadata=True)
