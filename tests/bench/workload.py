"""Configurations for measurements: declared tasks on generated rows, and the fake engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from raybench.core.config import RunConfig
from raybench.core.config_file import parse

PROMPT = "Sort the words and say how many letters the longest one has; think before you answer, and give the number alone at the end. "


def write_rows(folder: Path, count: int) -> Path:
    """`count` questions of about 200 bytes with a target."""
    path = folder / f"rows-{count}.jsonl"
    with path.open("w") as file:
        for index in range(count):
            text = f"{PROMPT}Words number {index}: {' '.join(f'w{index * 7 + k}' for k in range(7))}"[:200].ljust(200, ".")
            file.write(json.dumps({"question": text, "target": str(index % 10)}) + "\n")
    return path


def config(
    folder: Path,
    rows: Path,
    *,
    pool: str = "local",
    engines: int = 1,
    tasks: int = 1,
    models: int = 1,
    shard_size: int = 256,
    **engine: Any,
) -> RunConfig:
    """A run of the fake engine over `rows`."""
    return parse(
        {
            "name": "bench",
            "output": str(folder / "run"),
            "models": [{"checkpoint": f"model-{i:03}"} for i in range(models)],
            "tasks": [
                {
                    "name": f"task-{i:03}",
                    "source": {"path": str(rows)},
                    "kind": "generate",
                    "prompt": "{{ question }}",
                    "target": "{{ target }}",
                    "metrics": ["exact_match"],
                    "shard_size": shard_size,
                    "sampling": {"max_tokens": 100_000},
                }
                for i in range(tasks)
            ],
            "engine": {"kind": "fake", **engine},
            "pool": pool,
            "resources": {"engines": engines, "cpus_per_engine": 1 if engines <= 2 else 0.05},
        }
    )
