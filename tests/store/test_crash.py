"""A kill -9 before every single file operation: afterwards everything is readable, and the same call finishes the work."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from raybench.store.run_dir import RunDir
from raybench.store.shard_reader import DamagedShard
from raybench.store.verify import content_sha256, verify

pytestmark = pytest.mark.slow

SCRIPT = r"""
import os, shutil, signal, sys
from pathlib import Path
import pyarrow as pa
from raybench.core import schema
from raybench.core.schema import to_batch
from raybench.core.types import FinishReason, Kind, Prediction
from raybench.core.outputs import Generation
from raybench.store import compaction
from raybench.store.run_dir import RunDir
from raybench.store.shard_mark import ShardMark

NAMES = [f"{k:032x}" for k in range(3)]
compaction.ROW_GROUP_ROWS = 4

def commit(run):
    for k, name in enumerate(NAMES):
        rows = [Prediction(sample_id=f"s{i}", finish_reason=FinishReason.STOP, output=Generation(text=f"answer {i}")) for i in range(4 * k, 4 * k + 4)]
        batch = to_batch(rows, Kind.GENERATE)
        run.commit("t", "m", batch, ShardMark.of(batch, fingerprint=name, start=4 * k, stop=4 * k + 4))

def compact(run):
    run.compact("t", "m", NAMES)

def damage(run):
    path = run.shard_files("t", "m").compacted
    raw = bytearray(path.read_bytes())
    raw[40] ^= 1
    path.write_bytes(raw)

def discard(run):
    run.discard("t", "m", NAMES[0])

def documents(run):
    run.write_manifest({"name": "new"})
    run.documents.write_state({"status": "complete"})
    with run.score_writer("t", "m", pa.schema([("x", pa.int64())])) as writer:
        writer.write(pa.record_batch([[1, 2]], names=["x"]))

def prompts(run):
    with run.prompt_writer("p") as writer:
        for k in range(2):
            samples = pa.record_batch([[f"s{k}"], ["{}"], [[]], [None], [[]], [None]], schema=schema.SAMPLES)
            requests = pa.record_batch([[f"s{k}"], [""], [[0]], ["prompt"], [[]], [False], [[]], [""], [None], [None], [None]], schema=schema.REQUESTS)
            writer.add(samples, requests, cost=1)
        writer.finish(pa.record_batch([["q"], ["a"]], schema=schema.SHOTS), {"key": "k"})

BEFORE = {"commit": [], "compact": [commit], "discard": [commit, compact, damage], "documents": [], "prompts": []}

def kill_before(number):
    count = 0
    def wrap(call):
        def counted(*args, **kwargs):
            nonlocal count
            count += 1
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)
        return counted
    for name in ("open", "write", "fsync", "link", "unlink", "replace", "rename", "rmdir", "mkdir", "ftruncate"):
        setattr(os, name, wrap(getattr(os, name)))

def forked(*steps):
    pid = os.fork()
    if pid == 0:
        try:
            for step in steps:
                step()
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1]

scenario, folder = sys.argv[1], Path(sys.argv[2])

def prepare():
    run = RunDir(folder / "before")
    run.create()
    if scenario != "documents":
        run.write_manifest({"name": "new"})
    for step in BEFORE[scenario]:
        step(run)

assert forked(prepare) == 0
for number in range(1, 500):
    target = folder / f"{number:03d}"
    shutil.copytree(folder / "before", target)
    status = forked(lambda: kill_before(number), lambda: globals()[scenario](RunDir(target)))
    if status != signal.SIGKILL:
        assert status == 0, status
        break
shutil.rmtree(folder / "before")
"""


def killed_runs(scenario: str, folder: Path) -> list[RunDir]:
    """One run directory for every point at which `scenario` was killed; the last one ended by itself."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, scenario, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    runs = [RunDir(path) for path in sorted(folder.iterdir())]
    assert len(runs) > 10, "the operations are counted"
    return runs


def finish(scenario: str, run: RunDir) -> None:
    """The same call once more, in a new process, without a kill."""
    body = SCRIPT.split("scenario, folder = ")[0] + "globals()[sys.argv[1]](RunDir(Path(sys.argv[2])))"
    subprocess.run([sys.executable, "-c", body, scenario, str(run.path)], check=True)


NAMES = [f"{k:032x}" for k in range(3)]


def answers(run: RunDir, names: list[str]) -> list[str]:
    return [row["output"]["text"] for batch in run.iterate("t", "m", names) for row in batch.to_pylist()]


def whole(run: RunDir) -> list[str]:
    """Shards that are there, each of them readable."""
    found = run.scan("t", "m")
    assert found.damaged == ()
    for name, info in found.shards.items():
        assert answers(run, [name]) == [f"answer {i}" for i in range(info.mark.start, info.mark.stop)]
    return sorted(found.shards)


def test_a_kill_during_commits_leaves_whole_shards_or_none(tmp_path: Path) -> None:
    runs = killed_runs("commit", tmp_path)

    counts = [len(whole(run)) for run in runs]

    assert counts == sorted(counts)
    assert set(counts) == {0, 1, 2, 3}
    assert all(verify(run) == [] for run in runs)
    for run in (runs[0], runs[len(runs) // 2]):
        finish("commit", run)
        assert content_sha256(run) == content_sha256(runs[-1])


def test_a_kill_during_compaction_loses_no_shard(tmp_path: Path) -> None:
    runs = killed_runs("compact", tmp_path)
    expected = [f"answer {i}" for i in range(12)]

    for run in runs:
        assert whole(run) == NAMES
        assert answers(run, NAMES) == expected
        assert content_sha256(run) == content_sha256(runs[-1])

    is_compacted = [run.shard_files("t", "m").compacted.exists() for run in runs]
    assert is_compacted == sorted(is_compacted)
    for run in runs:
        run.compact("t", "m", NAMES)
        assert sorted(p.name for p in (run.path / "predictions" / "t").iterdir() if not p.name.startswith(".tmp-")) == ["m.parquet"]
        assert verify(run) == []


def test_a_kill_while_a_damaged_file_is_given_up_loses_only_the_damaged_shard(tmp_path: Path) -> None:
    runs = killed_runs("discard", tmp_path)

    for run in runs:
        assert answers(run, NAMES[1:]) == [f"answer {i}" for i in range(4, 12)]
        with pytest.raises(DamagedShard):
            answers(run, NAMES[:1])
        run.discard("t", "m", NAMES[0])
        assert whole(run) == NAMES[1:]


def test_a_kill_during_documents_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    runs = killed_runs("documents", tmp_path)

    seen = set()
    for run in runs:
        manifest = run.manifest() if (run.path / "manifest.json").exists() else {}
        has_scores = (run.path / "scores" / "t" / "m.parquet").exists()
        seen.add(json.dumps([manifest, run.documents.state(), run.scores("t", "m").num_rows if has_scores else 0]))

    new, state = {"name": "new"}, {"status": "complete"}
    assert seen == {json.dumps(x) for x in ([{}, {}, 0], [new, {}, 0], [new, state, 0], [new, state, 2])}


def test_a_kill_while_prompts_are_written_leaves_a_whole_set_or_none(tmp_path: Path) -> None:
    runs = killed_runs("prompts", tmp_path)

    def prompts_of(run: RunDir) -> list[str]:
        prompts = run.prompts("p")
        return [] if prompts is None else [prompts.requests(k).column("prompt")[0].as_py() for k in range(len(prompts.shards))]

    assert {tuple(prompts_of(run)) for run in runs} == {(), ("prompt", "prompt")}
    assert prompts_of(runs[0]) == []
    assert all(verify(run) == [] for run in runs)
    half = runs[len(runs) // 2]
    assert half.stale()
    finish("prompts", half)
    assert prompts_of(half) == ["prompt", "prompt"]
