"""Peak anonymous memory of the driver for 10,000 and for 1,000,000 samples."""

from __future__ import annotations

import multiprocessing
import tempfile
import threading
import time
from pathlib import Path

from raybench.driver.run import run
from tests.bench.workload import config, write_rows


def anonymous_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return float(line.split()[1]) / 1000
    return 0.0


def worker(count: int, queue: multiprocessing.Queue) -> None:
    peak, running = 0.0, True

    def watch() -> None:
        nonlocal peak
        while running:
            peak = max(peak, anonymous_mb())
            time.sleep(0.02)

    thread = threading.Thread(target=watch)
    thread.start()
    with tempfile.TemporaryDirectory() as name:
        begin = time.perf_counter()
        run(config(Path(name), write_rows(Path(name), count)))
        seconds = time.perf_counter() - begin
    running = False
    thread.join()
    queue.put((peak, seconds))


def main() -> None:
    context = multiprocessing.get_context("spawn")
    found = {}
    for count in (10_000, 1_000_000):
        queue = context.Queue()
        process = context.Process(target=worker, args=(count, queue))
        process.start()
        found[count], seconds = queue.get()
        process.join()
        print(f"{count:,} samples: peak {found[count]:.0f} MB anonymous (driver and fake engine in one process), {seconds:.1f} s")
    print(f"difference {found[1_000_000] - found[10_000]:.0f} MB (aim: 300)")
