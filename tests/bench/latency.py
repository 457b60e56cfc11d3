"""32 real actors with fixed latencies on this machine: share of the ideal time, after all have started."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from raybench.driver.run import run
from tests.bench.workload import config, write_rows

ENGINES, SHARDS, SHARD_S = 32, 1920, 1.0


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = write_rows(folder, SHARDS * 8)
        report = run(config(folder, rows, pool="ray", engines=ENGINES, shard_size=8, shard_s=SHARD_S))
        events = [json.loads(line) for path in sorted((report.path / "events").glob("*.jsonl")) for line in path.open()]
        started = sorted(e["time"] for e in events if e["event"] == "engine_started")
        commits = sorted(e["time"] for e in events if e["event"] == "commit")
        after = [t for t in commits if t > started[-1]]
        # what 32 engines could do at best between the last start and the last commit
        ideal = len(after) * SHARD_S / ENGINES
        print(
            f"{len(started)} actors, shards of {SHARD_S:g} s: {len(after)} shards in {after[-1] - started[-1]:.1f} s after the last start, "
            f"ideal {ideal:.1f} s: {100 * ideal / (after[-1] - started[-1]):.1f} % (aim: 95); all actors up after {started[-1] - started[0]:.1f} s"
        )
