from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raybench.core.errors import InternalError, RunError
from raybench.core.types import Kind
from raybench.store import compaction
from raybench.store.run_dir import RunDir
from raybench.store.shard_mark import ShardMark
from raybench.store.shard_reader import DamagedShard
from raybench.store.verify import content_sha256, verify


def contents(run: RunDir, names: list[str]) -> list[list[dict[str, object]]]:
    return [batch.to_pylist() for batch in run.iterate("gsm8k", "m", names)]


def test_compaction_changes_the_files_and_nothing_else(run: RunDir, commit_shards: Callable[..., list[str]]) -> None:
    names = commit_shards(run, "gsm8k", "m", num_shards=5)
    before, digest = contents(run, names), content_sha256(run)
    marks = {name: info.mark for name, info in run.scan("gsm8k", "m").shards.items()}

    assert run.compact("gsm8k", "m", names[::-1])

    found = run.scan("gsm8k", "m").shards
    assert contents(run, names) == before
    assert run.read("gsm8k", "m", names[2]).to_pylist() == before[2]
    assert content_sha256(run) == digest
    assert {name: info.mark for name, info in found.items()} == marks
    assert list(found) == names[::-1]  # plan order becomes file order
    assert sorted(p.name for p in (run.path / "predictions" / "gsm8k").iterdir()) == ["m.parquet"]
    assert verify(run) == []


def test_row_groups_end_with_a_shard_and_are_found_again(
    run: RunDir, commit_shards: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "ROW_GROUP_ROWS", 20)
    names = commit_shards(run, "gsm8k", "m", num_shards=7, size=8, kind=Kind.LOGLIKELIHOOD)
    before = contents(run, names)

    run.compact("gsm8k", "m", names)

    metadata = pq.read_metadata(run.path / "predictions" / "gsm8k" / "m.parquet")
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [24, 24, 8]
    assert contents(run, names) == before
    assert contents(run, names[::-1]) == before[::-1]


def test_compacting_again_is_nothing_to_do(run: RunDir, commit_shards: Callable[..., list[str]]) -> None:
    names = commit_shards(run, "gsm8k", "m", num_shards=3)

    assert run.compact("gsm8k", "m", names)
    assert not run.compact("gsm8k", "m", names)


def test_a_missing_shard_stops_the_compaction(run: RunDir, commit_shards: Callable[..., list[str]]) -> None:
    names = commit_shards(run, "gsm8k", "m", num_shards=3)

    with pytest.raises(InternalError, match="1 of 4 shards are missing"):
        run.compact("gsm8k", "m", [*names, "f" * 32])

    assert set(run.scan("gsm8k", "m").shards) == set(names)


def test_a_compacted_file_of_another_plan_is_kept(run: RunDir, commit_shards: Callable[..., list[str]]) -> None:
    names = commit_shards(run, "gsm8k", "m", num_shards=3)
    run.compact("gsm8k", "m", names)

    with pytest.raises(RunError, match="holds 3 shards, 2 of the 2 of this plan"):
        run.compact("gsm8k", "m", names[:2])

    assert set(run.scan("gsm8k", "m").shards) == set(names)


def test_a_damaged_shard_stops_the_compaction_and_is_named(run: RunDir, commit_shards: Callable[..., list[str]]) -> None:
    names = commit_shards(run, "gsm8k", "m", num_shards=3)
    path = run.shard_files("gsm8k", "m").path(names[1])
    raw = bytearray(path.read_bytes())
    raw[40] ^= 1
    path.write_bytes(raw)

    with pytest.raises(DamagedShard) as caught:
        run.compact("gsm8k", "m", names)

    assert caught.value.fingerprint == names[1]
    assert sorted(p.name for p in (run.path / "predictions" / "gsm8k").iterdir()) == ["m"]


def test_a_late_second_copy_does_not_reopen_a_compacted_task(
    run: RunDir, commit_shards: Callable[..., list[str]], make_batch: Callable[..., pa.RecordBatch]
) -> None:
    names = commit_shards(run, "gsm8k", "m", num_shards=2)
    run.compact("gsm8k", "m", names)
    batch = make_batch(0, 8)

    late = run.commit("gsm8k", "m", batch, ShardMark.of(batch, fingerprint=names[0], start=0, stop=8))

    assert not late.is_new
    assert not run.shard_files("gsm8k", "m").folder.exists()


def test_a_damaged_shard_of_a_compacted_file_is_replaced_without_the_others(
    run: RunDir, commit_shards: Callable[..., list[str]], make_batch: Callable[..., pa.RecordBatch], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "ROW_GROUP_ROWS", 8)
    names = commit_shards(run, "gsm8k", "m", num_shards=4)
    before = contents(run, names)
    run.compact("gsm8k", "m", names)
    path = run.shard_files("gsm8k", "m").compacted
    chunk = pq.read_metadata(path).row_group(2).column(0)
    raw = bytearray(path.read_bytes())
    raw[chunk.data_page_offset + chunk.total_compressed_size - 3] ^= 1
    path.write_bytes(raw)

    with pytest.raises(DamagedShard) as caught:
        contents(run, names)
    assert caught.value.fingerprint == names[2]
    assert run.discard("gsm8k", "m", names[2]) == [names[2]]

    assert set(run.scan("gsm8k", "m").shards) == {names[0], names[1], names[3]}
    batch = make_batch(16, 24)
    run.commit("gsm8k", "m", batch, ShardMark.of(batch, fingerprint=names[2], start=16, stop=24))
    assert run.compact("gsm8k", "m", names)
    assert contents(run, names) == before
    assert [p.name for p in (run.path / "damaged" / "gsm8k" / "m").iterdir()] == ["m.parquet.1"]


def test_the_likelihoods_of_mmlu_take_less_than_a_megabyte_and_a_half(run: RunDir) -> None:
    from raybench.core.outputs import Likelihoods
    from raybench.core.schema import to_batch
    from raybench.core.types import FinishReason, Prediction

    # 14,042 test questions in 57 subjects with 4 options (Hendrycks et al. 2021, table 1 of the data set's README)
    rows, subjects = 14_042, 57
    num_bytes = 0
    for subject in range(subjects):
        size = rows // subjects + (subject < rows % subjects)
        batch = to_batch(
            [
                Prediction(
                    sample_id=f"test-{i}", finish_reason=FinishReason.SCORED, num_prompt_tokens=300 + i % 97,
                    # the golden ratio fills all bits of the mantissa, as logarithms do
                    output=Likelihoods(
                        logprobs=tuple(-((i * 4 + k + 1) * 0.6180339887498949 % 9) for k in range(4)), is_greedy=(True, False, False, False),
                        num_tokens=(1, 1, 1, 1),
                    ),
                )
                for i in range(size)
            ],
            Kind.LOGLIKELIHOOD,
        )  # fmt: skip
        run.commit(f"mmlu-{subject}", "m", batch, ShardMark.of(batch, fingerprint="a" * 32, start=0, stop=size))
        run.compact(f"mmlu-{subject}", "m", ["a" * 32])
        num_bytes += run.shard_files(f"mmlu-{subject}", "m").compacted.stat().st_size

    assert num_bytes < 1_500_000
