from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raybench.core import schema
from raybench.core.errors import InternalError, RunError
from raybench.core.sample_rows import samples_from_batch, samples_to_batch
from raybench.core.types import Sample
from raybench.store.prompt_files import PromptWriter
from raybench.store.prompt_set import PromptSet

Row = tuple[str, str, Sequence[int]]
SHOTS = pa.record_batch([["q0", "q1", "q2"], ["a0", "a1", "a2"]], schema=schema.SHOTS)


def requests_of(rows: Sequence[Row]) -> pa.RecordBatch:
    ids, prompts, shots = zip(*rows, strict=True)
    n = len(rows)
    return pa.record_batch(
        [ids, [""] * n, shots, prompts, [["A", "B"]] * n, [False] * n, [[]] * n, [""] * n, [None] * n, [None] * n, [None] * n],
        schema=schema.REQUESTS,
    )


def write(
    path: Path, shards: Sequence[Sequence[Row]], *, shots: pa.RecordBatch = SHOTS, meta: Mapping[str, Any] | None = None
) -> PromptSet:
    with PromptWriter(path) as writer:
        for rows in shards:
            samples = samples_to_batch([Sample(id=name, fields={"n": name}) for name in dict.fromkeys(row[0] for row in rows)])
            writer.add(samples, requests_of(rows), cost=sum(len(row[1]) for row in rows))
        return writer.finish(shots, meta or {"key": "k"})


TWO = [[("a", "prompt a", [0, 1]), ("b", "prompt b", [])], [("c", "prompt c", [2]), ("c", "more", [0])]]


def test_a_set_is_read_back_by_shards(tmp_path: Path) -> None:
    write(tmp_path / "prompts" / "arc", TWO, meta={"key": "k", "task": "arc"})

    prompts = PromptSet.open(tmp_path / "prompts" / "arc")

    assert prompts.meta == {"key": "k", "task": "arc"}
    assert (prompts.num_samples, len(prompts.shards)) == (3, 2)
    assert prompts.shards.start.tolist() == [0, 2]
    assert prompts.shards.stop.tolist() == [2, 3]
    assert prompts.shards.num_requests.tolist() == [2, 2]
    assert prompts.shards.cost.tolist() == [16, 12]
    assert [prompts.requests(k).to_pylist() for k in range(2)] == [requests_of(rows).to_pylist() for rows in TWO]
    assert [sample.id for k in range(2) for sample in samples_from_batch(prompts.samples(k))] == ["a", "b", "c"]
    assert prompts.shots().equals(SHOTS)
    assert sorted(p.name for p in (tmp_path / "prompts").iterdir()) == ["arc"]
    assert sorted(p.name for p in (tmp_path / "prompts" / "arc").iterdir()) == [
        "meta.json",
        "requests.arrow",
        "samples.arrow",
        "shots.arrow",
    ]


def digests(path: Path, shards: Sequence[Sequence[Row]], shots: pa.RecordBatch = SHOTS) -> tuple[str, ...]:
    return write(path, shards, shots=shots).shards.digest


def test_a_shard_has_the_same_digest_whatever_other_shards_and_row_numbers_of_examples_there_are(tmp_path: Path) -> None:
    reordered = SHOTS.take(pa.array([2, 1, 0]))
    renumbered = [[(name, prompt, [2 - n for n in shots]) for name, prompt, shots in rows] for rows in TWO]

    whole = digests(tmp_path / "whole", TWO)

    assert digests(tmp_path / "limited", TWO[:1]) == whole[:1]
    assert digests(tmp_path / "renumbered", renumbered, reordered) == whole


@pytest.mark.parametrize(
    ("shards", "shots"),
    [
        ([[("a", "prompt A", [0, 1]), ("b", "prompt b", [])]], SHOTS),
        ([[("a", "prompt a", [1, 0]), ("b", "prompt b", [])]], SHOTS),
        ([[("a", "prompt a", [0]), ("b", "prompt b", [1])]], SHOTS),
        ([[("a", "prompt a", []), ("b", "prompt b", [])]], SHOTS),
        (TWO[:1], pa.record_batch([["q0", "q1"], ["a0", "other"]], schema=schema.SHOTS)),
        (TWO[:1], pa.record_batch([["q0", "q1a"], ["a0", "1"]], schema=schema.SHOTS)),
    ],
    ids=["prompt", "order of examples", "owner of an example", "no examples", "answer of an example", "border of an example"],
)
def test_whatever_a_shard_asks_is_in_its_digest(tmp_path: Path, shards: list[list[Row]], shots: pa.RecordBatch) -> None:
    assert digests(tmp_path / "other", shards, shots)[0] != digests(tmp_path / "one", TWO)[0]


def test_a_sample_without_requests_is_our_own_mistake(tmp_path: Path) -> None:
    with PromptWriter(tmp_path / "arc") as writer, pytest.raises(InternalError, match="shard 0: 2 samples, requests of 1"):
        writer.add(samples_to_batch([Sample(id="a", fields={}), Sample(id="b", fields={})]), requests_of([("a", "p", [])]), cost=1)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("row", [3, -1])
def test_an_example_that_does_not_exist_is_our_own_mistake(tmp_path: Path, row: int) -> None:
    with pytest.raises(InternalError, match="not among the 3"):
        write(tmp_path / "arc", [[("a", "p", [row])]])


def test_a_set_with_the_same_key_is_kept_and_one_with_another_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "arc", TWO)

    assert write(tmp_path / "arc", TWO).num_samples == 3
    with pytest.raises(RunError, match="other prompts already"):
        write(tmp_path / "arc", TWO, meta={"key": "other"})

    assert [p.name for p in tmp_path.iterdir()] == ["arc"]


@pytest.mark.parametrize("name", ["samples.arrow", "requests.arrow", "shots.arrow", "meta.json"])
@pytest.mark.parametrize("kind", ["missing", "empty", "half", "flipped"])
def test_damaged_prompts_are_never_asked(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / "arc"
    write(path, [[(f"s{i}", f"prompt {i} " * 9, [0]) for i in range(40)]])
    raw = bytearray((path / name).read_bytes())
    raw[len(raw) // 2 if name == "meta.json" else raw.index(bytes.fromhex("04224d18")) + 9] ^= (
        1  # LZ4 frames begin so (LZ4 Frame Format 1.6)
    )
    damaged = {"missing": None, "empty": b"", "half": raw[: len(raw) // 2], "flipped": raw}[kind]
    (path / name).unlink()
    if damaged is not None:
        (path / name).write_bytes(damaged)

    with pytest.raises(RunError, match=r"Delete this folder and run the same command again"):
        read_all(path)


def read_all(path: Path) -> None:
    prompts = PromptSet.open(path)
    prompts.shots()
    for k in range(len(prompts.shards)):
        prompts.samples(k)
        prompts.requests(k)


def test_prompts_of_a_newer_version_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "arc", TWO)
    meta = tmp_path / "arc" / "meta.json"
    meta.write_text(json.dumps(json.loads(meta.read_text()) | {"schema": 99}))

    with pytest.raises(RunError, match="schema version 99"):
        PromptSet.open(tmp_path / "arc")


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(st.lists(st.lists(st.tuples(text, st.lists(st.integers(0, 2), max_size=3)), min_size=1, max_size=4), max_size=4))
def test_any_prompts_come_back_unchanged(tmp_path: Path, shards: list[list[tuple[str, list[int]]]]) -> None:
    rows = [[(f"{k}-{i}", prompt, shots) for i, (prompt, shots) in enumerate(shard)] for k, shard in enumerate(shards)]

    prompts = write(tmp_path / f"{len(list(tmp_path.iterdir()))}", rows)

    assert [prompts.requests(k).to_pylist() for k in range(len(rows))] == [requests_of(shard).to_pylist() for shard in rows]


MEMORY = """
import re, sys
from pathlib import Path
import pyarrow as pa
from raybench.core import schema
from raybench.store.prompt_files import PromptWriter

def anonymous_mb():
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1000

before, peak = anonymous_mb(), 0.0
with PromptWriter(Path(sys.argv[1])) as writer:
    for start in range(0, 1_000_000, 5_000):
        n = 5_000
        ids = [f"test-{i}" for i in range(start, start + n)]
        samples = pa.record_batch([ids, ["{}"] * n, [[]] * n, [None] * n, [[]] * n, [None] * n], schema=schema.SAMPLES)
        prompts = [f"{i:010d}" * 20 for i in range(start, start + n)]
        requests = pa.record_batch([ids, [""] * n, [[0]] * n, prompts, [[]] * n, [False] * n, [[]] * n, [""] * n, [None] * n, [None] * n, [None] * n], schema=schema.REQUESTS)
        writer.add(samples, requests, cost=200 * n)
        peak = max(peak, anonymous_mb())
    prompts = writer.finish(pa.record_batch([["q"], ["a"]], schema=schema.SHOTS), {"key": "k"})
    peak = max(peak, anonymous_mb())
for k in range(0, len(prompts.shards), 10):
    prompts.requests(k)
    peak = max(peak, anonymous_mb())
print(prompts.num_samples, peak - before)
"""


@pytest.mark.slow
def test_a_million_prompts_are_written_and_read_within_a_hundred_megabytes(tmp_path: Path) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("anonymous memory is read from /proc")

    done = subprocess.run([sys.executable, "-c", MEMORY, str(tmp_path / "p")], capture_output=True, text=True, check=True)

    num_samples, growth_mb = done.stdout.split()
    assert num_samples == "1000000"
    assert float(growth_mb) < 100
