"""Samples a second with an instant fake engine: what the driver itself costs."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

from raybench.core.pool import Done, Event, Work
from raybench.driver.pool import LocalPool
from raybench.driver.run import run
from raybench.driver.wire import Packed, pack_answer, pack_work, unpack_answer
from tests.bench.workload import config, write_rows


class Recording(LocalPool):
    """Keeps every answer as an actor would send it."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[int, Packed] = {}

    def _run(self, number: int, work: Work) -> Event:
        event = super()._run(number, work)
        assert isinstance(event, Done)
        self.answers[work.shard] = pack_answer(work.asking.kind, event.batch, event.measured)
        return event


class Elsewhere(LocalPool):
    """Engines that cost this machine nothing: shards are packed as for an actor, and what comes back was recorded before."""

    def __init__(self, answers: dict[int, Packed]) -> None:
        super().__init__()
        self._answers = answers

    def _run(self, number: int, work: Work) -> Event:
        pack_work(work)
        batch, measured = unpack_answer(self._answers[work.shard])
        return Done(engine=number, shard=work.shard, batch=batch, measured=measured)


def measure_driver(count: int, characters: int, shard_size: int) -> None:
    """Gather and commit alone, as with engines on other machines."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = write_rows(folder, count)
        wanted = config(folder, rows, num_characters=characters, shard_size=shard_size)
        recording = Recording()
        run(wanted, pool=recording)
        report = run(wanted, new=True, pool=Elsewhere(recording.answers))
        gathered = _gathered_s(report.path)
        print(
            f"driver alone, {count:,} samples, answers of {characters} characters, shards of {shard_size}: "
            f"{count / gathered:,.0f} samples/s, {count * characters / gathered / 1e6:.0f} MB/s"
        )


def _gathered_s(run_dir: Path) -> float:
    """Seconds between the first shard that is given out and the last commit."""
    events = [json.loads(line) for path in sorted((run_dir / "events").glob("*.jsonl")) for line in path.open()]
    first = next(e["time"] for e in events if e["event"] == "run")
    return float(max(e["time"] for e in events if e["event"] == "commit") - first)


def measure(pool: str, engines: int, count: int, characters: int, shard_size: int = 256) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = write_rows(folder, count)
        begin = time.perf_counter()
        report = run(config(folder, rows, pool=pool, engines=engines, num_characters=characters, concurrency=2, shard_size=shard_size))
        total = time.perf_counter() - begin
        gathered = _gathered_s(report.path)
        print(
            f"{pool}, {engines} engine{'s' if engines > 1 else ''}, {count:,} samples, answers of {characters} characters, shards of {shard_size}: "
            f"gathered and committed {count / gathered:,.0f} samples/s, {count * characters / gathered / 1e6:.0f} MB/s; "
            f"everything with planning and scoring {count / total:,.0f} samples/s ({total:.1f} s)"
        )


def main() -> None:
    measure("local", 1, 200_000, 24)
    measure("ray", 1, 200_000, 24)
    measure("ray", 2, 200_000, 24)
    measure("ray", 2, 600_000, 24)
    measure("ray", 2, 100_000, 2_000)
    measure("ray", 2, 100_000, 2_000, 1024)
    measure_driver(200_000, 24, 256)
    measure_driver(50_000, 2_000, 256)
    measure_driver(50_000, 2_000, 1024)
    print("aims: gather 60,000 samples/s and 200 MB/s with 2 kB answers; everything 20,000 samples/s")
