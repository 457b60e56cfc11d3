"""Runs of the same questions on one Ray actor and on several: what differs in the default mode, what equality costs."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from raybench.core.config_file import parse
from raybench.driver.recheck import recheck
from raybench.driver.run import run
from raybench.report.noise import noise_line, wilson
from raybench.store.run_dir import RunDir
from tests.bench.vllm_subject import Subject, arc, write_rows
from tests.driver.runs import Together, content_rows, read_rows

SHARD_SIZE = 25


def flips(subject: Subject, num_items: int, num_actors: int, num_rechecked: int) -> None:
    """Decisions that differ between one actor and several, in the default mode."""
    with tempfile.TemporaryDirectory() as folder:
        runs = {n: _run(subject, Path(folder), num_items, n) for n in (1, num_actors)}
        one, several = ({r["sample_id"]: r["output"]["logprobs"] for r in read_rows(runs[n])} for n in (1, num_actors))
        flipped = [i for i in one if _best(one[i]) != _best(several[i])]
        drift = max(abs(a - b) for i in one for a, b in zip(one[i], several[i], strict=True))
        (found,) = recheck(runs[1], num_samples=num_rechecked)
    _, most = wilson(found.num_flipped, found.num_decisions)
    print(f"flips: {len(one)} questions, 1 actor and {num_actors}, bfloat16")
    print(f"  {len(flipped)} decisions differ ({len(flipped) / len(one):.2%}), log-probabilities by {drift:.3f} nats at most")
    print(f"  {noise_line(found)}")
    print(f"  inside the noise floor (at most {most:.2%}): {'yes' if len(flipped) / len(one) <= most else 'NO'}")


def deterministic(subject: Subject, num_items: int, num_actors: int) -> None:
    """Equal rows on one actor and on several, and the time that it takes on one."""
    with tempfile.TemporaryDirectory() as folder:
        default = _run(subject, Path(folder), num_items, 1)
        alone, shared = (_run(subject, Path(folder), num_items, n, deterministic=True) for n in (1, num_actors))
        seconds = {name: _seconds(path) for name, path in (("default", default), ("deterministic", alone), ("shared", shared))}
        is_equal = content_rows(alone) == content_rows(shared)
    cost = seconds["deterministic"] / seconds["default"] - 1
    print(f"deterministic: {num_items} questions; equal rows on 1 actor and on {num_actors}: {'yes' if is_equal else 'NO'}")
    print(
        f"  1 actor, without its start: default {seconds['default']:.1f} s, deterministic {seconds['deterministic']:.1f} s: {cost:+.0%}; "
        f"{num_actors} actors on the same cores {seconds['shared']:.1f} s"
    )


def _run(subject: Subject, folder: Path, num_items: int, num_actors: int, **engine: Any) -> Path:
    rows = write_rows(folder / "rows.jsonl", arc()[:num_items])
    cache = {"kv_cache_memory_bytes": 1 << 29} if subject.device == "cpu" else {}
    output = folder / f"run-{num_actors}{'-deterministic' if engine else ''}"
    config = {
        "name": "actors",
        "models": [{"checkpoint": subject.uri, "name": "model", "chat_template": "none"}],
        "tasks": [
            {
                "name": "arc", "source": {"path": str(rows)}, "kind": "loglikelihood", "prompt": "Question: {{ question }}\nAnswer:",
                "choices": "{{ choices }}", "target": "{{ label }}", "sample_id": "id", "metrics": ["acc"], "shard_size": SHARD_SIZE,
            }
        ],
        "engine": {"kind": "vllm", **subject.engine_block(threads=1), **cache, **engine},
        "resources": {"engines": num_actors, "cpus_per_engine": 0.1, "gpus_per_engine": 0 if subject.device == "cpu" else 1},
        "pool": "ray",
        "bootstrap": 0,
        "output": str(output),
    }  # fmt: skip
    report = run(parse(config), pool=Together(num_actors))
    if report.exit_code:
        raise SystemExit(f"{output}: {report.problems}")
    return output


def _seconds(path: Path) -> float:
    """From the begin of the first shard to the end of the last."""
    rows = RunDir.open(path).telemetry().to_pylist()
    return float(max(r["started"] + r["seconds"] for r in rows) - min(r["started"] for r in rows))


def _best(logprobs: list[float]) -> int:
    return max(range(len(logprobs)), key=logprobs.__getitem__)
