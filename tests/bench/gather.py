"""Samples a second with an instant fake engine: what the driver itself costs."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

from raybench.driver.run import run
from tests.bench.workload import config, write_rows


def measure(pool: str, engines: int, count: int, characters: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = write_rows(folder, count)
        begin = time.perf_counter()
        report = run(config(folder, rows, pool=pool, engines=engines, num_characters=characters, concurrency=2))
        total = time.perf_counter() - begin
        events = [json.loads(line) for path in sorted((report.path / "events").glob("*.jsonl")) for line in path.open()]
        first = next(e["time"] for e in events if e["event"] == "run")
        last = max(e["time"] for e in events if e["event"] == "commit")
        gathered = last - first
        start = sum(e.get("seconds", 0.0) for e in events if e["event"] == "engine_started")
        print(
            f"{pool}, {engines} engine{'s' if engines > 1 else ''}, {count:,} samples, answers of {characters} characters: "
            f"gathered and committed {count / gathered:,.0f} samples/s, {count * characters / gathered / 1e6:.0f} MB/s; "
            f"everything with planning and scoring {count / total:,.0f} samples/s ({total:.1f} s, engine start {start:.1f} s)"
        )


def main() -> None:
    measure("local", 1, 200_000, 24)
    measure("ray", 1, 200_000, 24)
    measure("ray", 2, 200_000, 24)
    measure("ray", 2, 100_000, 2_000)
    print("aims: gather 60,000 samples/s and 200 MB/s with 2 kB answers; everything 20,000 samples/s")
