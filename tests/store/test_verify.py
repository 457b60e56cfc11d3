from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raybench.core import schema
from raybench.core.sample_rows import samples_to_batch
from raybench.core.types import Sample
from raybench.store.run_dir import RunDir
from raybench.store.shard_mark import ShardMark
from raybench.store.verify import content_sha256, verify


@pytest.fixture
def full(run: RunDir, commit_shards: Callable[..., list[str]]) -> RunDir:
    """A run with something of everything; task a is compacted, task b is not."""
    for task in ("a", "b"):
        names = commit_shards(run, task, "m", num_shards=3)
    run.compact("a", "m", names)
    requests = pa.record_batch(
        [["s"], [""], [[0]], ["prompt " * 50], [[]], [False], [[]], [""], [None], [None], [None]], schema=schema.REQUESTS
    )
    with run.prompt_writer("p") as prompts:
        prompts.add(samples_to_batch([Sample(id="s", fields={})]), requests, cost=1)
        prompts.finish(pa.record_batch([["q"], ["a"]], schema=schema.SHOTS), {"key": "k"})
    with run.telemetry_writer() as telemetry:
        telemetry.append({"model": "m", "task": "a", "fingerprint": names[0], "attempt": 1})
    with run.event_log() as log:
        log.append("commit", time=0.0, fingerprint=names[0])
    with run.score_writer("a", "m", pa.schema([("x", pa.int64())])) as scores:
        scores.write(pa.record_batch([[1]], names=["x"]))
    run.documents.write_state({})
    run.documents.write_results({})
    return run


def test_a_whole_run_has_no_problems(full: RunDir) -> None:
    (full.path / ".tmp-1-x").write_text("")

    assert verify(full) == []


def flip(path: Path, offset: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[offset] ^= 1
    path.write_bytes(raw)


def first_page(path: Path) -> int:
    return int(pq.read_metadata(path).row_group(0).column(0).data_page_offset) + 40


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("manifest.json", lambda path: path.write_text("{")),
        ("state.json", lambda path: path.write_text("")),
        ("results.json", lambda path: path.write_text("[]")),
        ("predictions/a/m.parquet", lambda path: flip(path, first_page(path))),
        ("predictions/a/m.parquet", lambda path: path.write_bytes(path.read_bytes()[:-1])),
        (f"predictions/b/m/{1:032x}.parquet", lambda path: flip(path, first_page(path))),
        (f"predictions/b/m/{1:032x}.parquet", lambda path: path.write_bytes(b"")),
        ("prompts/p/requests.arrow", lambda path: flip(path, path.read_bytes().index(bytes.fromhex("04224d18")) + 12)),
        ("prompts/p/meta.json", lambda path: path.unlink()),
        ("telemetry/000001.parquet", lambda path: path.write_bytes(b"")),
        ("events/000001.jsonl", lambda path: path.write_bytes(path.read_bytes()[:-4])),
        ("scores/a/m.parquet", lambda path: path.write_bytes(path.read_bytes()[:-1])),
        ("predictions/b/m/notes.txt", lambda path: path.write_text("x")),
        ("core.1234", lambda path: path.write_text("x")),
    ],
)
def test_every_damaged_or_foreign_file_is_named(full: RunDir, name: str, damage: Callable[[Path], object]) -> None:
    damage(full.path / name)

    problems = verify(full)

    assert problems
    assert all(str(full.path / name.removesuffix("/requests.arrow").removesuffix("/meta.json")) in problem for problem in problems)


def test_a_leftover_of_a_killed_compaction_is_named(full: RunDir, commit_shards: Callable[..., list[str]]) -> None:
    source = full.shard_files("b", "m").path(f"{0:032x}")
    target = full.shard_files("a", "m").path(f"{0:032x}")
    target.parent.mkdir()
    target.write_bytes(source.read_bytes())

    assert [problem.split(": ")[1][:31] for problem in verify(full)] == ["left over from a compaction tha"]


def test_a_file_that_was_exchanged_for_another_good_one_is_found_by_the_event_log(
    run: RunDir, make_batch: Callable[..., pa.RecordBatch]
) -> None:
    batch = make_batch(0, 5)
    mark = ShardMark.of(batch, fingerprint="f", start=0, stop=5)
    committed = run.commit("a", "m", batch, mark)
    with run.event_log() as log:
        log.append("commit", time=0.0, task="a", model="m", fingerprint="f", sha256=committed.sha256)
    assert verify(run) == []
    run.shard_files("a", "m").path("f").unlink()

    run.commit("a", "m", batch, replace(mark, attempt=2))

    assert "sha256 differs" in verify(run)[0]


def test_the_digest_of_a_run_knows_neither_order_nor_attempts_nor_compaction(
    tmp_path: Path, make_batch: Callable[..., pa.RecordBatch]
) -> None:
    digests = set()
    for number, order in enumerate([(0, 1, 2), (2, 0, 1)]):
        run = RunDir(tmp_path / str(number))
        run.create()
        for k in order:
            batch = make_batch(8 * k, 8 * k + 8)
            run.commit("a", "m", batch, ShardMark.of(batch, fingerprint=f"f{k}", start=8 * k, stop=8 * k + 8, attempt=number + 1))
        digests.add(content_sha256(run))
        run.compact("a", "m", ["f0", "f1", "f2"])
        digests.add(content_sha256(run))

    assert len(digests) == 1
    other = make_batch(0, 8, salt="other")
    run.commit("b", "m", other, ShardMark.of(other, fingerprint="f0", start=0, stop=8))
    assert content_sha256(run) not in digests
