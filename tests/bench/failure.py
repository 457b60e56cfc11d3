"""What an actor killed in the middle of 200 shards costs, against the same run undisturbed."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import threading
import time
from pathlib import Path

import ray

from raybench.driver.run import run
from tests.bench.workload import config, write_rows

SHARDS, ENGINES, SHARD_S, START_S = 200, 2, 0.25, 1.0


def events_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for file in sorted(path.glob("events/*.jsonl")) for line in file.open() if line.endswith("\n")]


def measure(folder: Path, rows: Path, *, kill: bool) -> tuple[float, int]:
    plan = config(folder, rows, pool="ray", engines=ENGINES, shard_size=8, shard_s=SHARD_S, start_s=START_S)

    def killer() -> None:
        while True:
            events = events_of(Path(plan.output or ""))
            if sum(e["event"] == "commit" for e in events) >= SHARDS // 2:
                os.kill(int(next(e["pid"] for e in events if e["event"] == "engine_started")), signal.SIGKILL)  # type: ignore[call-overload]
                return
            time.sleep(0.1)

    if kill:
        threading.Thread(target=killer, daemon=True).start()
    report = run(plan, new=True)
    events = events_of(report.path)
    first = next(float(e["time"]) for e in events if e["event"] == "run")  # type: ignore[arg-type]
    last = max(float(e["time"]) for e in events if e["event"] == "commit")  # type: ignore[arg-type]
    return last - first, sum(e["event"] == "engine_started" for e in events)


def main() -> None:
    ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = write_rows(folder, SHARDS * 8)
        calm, _ = measure(folder / "calm", rows, kill=False)
        killed, started = measure(folder / "killed", rows, kill=True)
        print(
            f"{SHARDS} shards of {SHARD_S:g} s on {ENGINES} actors that take {START_S:g} s to load: {calm:.1f} s undisturbed, {killed:.1f} s with one "
            f"killed half-way ({started} engine starts): {killed - calm:+.1f} s, {100 * (killed - calm) / calm:+.1f} % (aim: 5 % and one start)"
        )
    ray.shutdown()
