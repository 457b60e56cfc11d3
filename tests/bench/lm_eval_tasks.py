"""Building the requests of a task of lm-evaluation-harness, 5 examples each: by its own build_all_requests, and streamed into a prompt set."""

from __future__ import annotations

import json
import multiprocessing
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from raybench.core.task_config import LmEvalConfig
from raybench.store.run_dir import RunDir
from raybench.tasks.harness.library import Library
from raybench.tasks.harness.requests import render_harness
from tests.bench.memory import anonymous_mb
from tests.bench.workload import PROMPT

SHOTS = 5


def write_task(folder: Path, count: int) -> None:
    """A multiple choice of four options about `count` documents."""
    with (folder / "rows.jsonl").open("w") as file:
        for i in range(count):
            row = {
                "question": f"{PROMPT}Words number {i}: {' '.join(f'w{i * 7 + k}' for k in range(7))}",
                "choices": [f"{i + k}" for k in range(4)],
            }
            file.write(json.dumps({**row, "answer": i % 4}) + "\n")
    task = {
        "task": "bench", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(folder / "rows.jsonl")}, "cache_dir": str(folder)},
        "output_type": "multiple_choice", "test_split": "test", "fewshot_split": "test", "num_fewshot": SHOTS,
        "doc_to_text": "Question: {{question}}\nAnswer:", "doc_to_choice": "{{choices}}", "doc_to_target": "answer",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }  # fmt: skip
    (folder / "bench.yaml").write_text(yaml.safe_dump(task))


def theirs(folder: Path) -> tuple[float, int]:
    """Seconds and requests."""
    from lm_eval.tasks import TaskManager

    task = TaskManager(include_path=str(folder), include_defaults=False).load(["bench"])["tasks"]["bench"]
    task.set_fewshot_seed(1234)
    begin = time.perf_counter()
    task.build_all_requests()
    return time.perf_counter() - begin, len(task.instances)


def ours(folder: Path) -> tuple[float, int]:
    """Seconds and requests, an option counted as one."""
    (task,) = Library(LmEvalConfig(include_path=(str(folder),))).find("lm-eval/bench").tasks
    rendering = render_harness(task, chat=None, shots=None, limit=None, shard_size=None, data={})
    store = RunDir.at(folder / "run")
    store.create()
    count = 0
    begin = time.perf_counter()
    with store.prompt_writer("bench") as writer:
        for shard in rendering.shards():
            writer.add(shard.samples, shard.requests, cost=shard.cost)
            count += len(shard.requests.column("continuations").flatten())
        writer.finish(rendering.shots, {})
    return time.perf_counter() - begin, count


def measured(build: Callable[[Path], tuple[float, int]], folder: Path, queue: multiprocessing.Queue) -> None:
    """Seconds, requests and peak of anonymous memory of this process."""
    peak, has_ended = [0.0], threading.Event()

    def watch() -> None:
        while not has_ended.wait(0.02):
            peak[0] = max(peak[0], anonymous_mb())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        seconds, count = build(folder)
    finally:
        has_ended.set()
        thread.join()
    queue.put((seconds, count, max(*peak, anonymous_mb())))


def main(count: int = 20_000) -> None:
    context = multiprocessing.get_context("spawn")
    for name, build in (("harness", theirs), ("raybench", ours)):
        with tempfile.TemporaryDirectory() as folder:
            write_task(Path(folder), count)
            queue = context.Queue()
            process = context.Process(target=measured, args=(build, Path(folder), queue))
            process.start()
            process.join()
            if process.exitcode:
                continue
            seconds, requests, peak = queue.get()
            print(f"{name}: {count:,} documents, {requests:,} requests in {seconds:.1f} s, peak {peak:.0f} MB anonymous", flush=True)
