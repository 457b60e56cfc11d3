"""Task files for the harness and for raybench alike, over small rows, and both programs run on them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

import raybench
from raybench.core.pool import Pool
from raybench.core.results import Results
from tests.parity.programs import Harness

DRAWS = 20
"""Of the bootstrap, in both programs."""


def write_task(folder: Path, name: str, rows: Sequence[dict[str, Any]] | Path, **fields: Any) -> None:
    """A task file that reads local rows; `fields` are the harness's own."""
    file = rows if isinstance(rows, Path) else folder / f"{name}.jsonl"
    if not isinstance(rows, Path):
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    kind = "parquet" if file.suffix == ".parquet" else "json"
    given = {"task": name, "dataset_path": kind, "dataset_kwargs": {"data_files": {"test": str(file)}}, "test_split": "test", **fields}
    write_yaml(folder / f"{name}.yaml", given)


def write_yaml(path: Path, fields: dict[str, Any]) -> None:
    """A file with the harness's `!function` tags, written as strings that begin with `!function `."""
    text = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, width=1000)
    path.write_text(re.sub(r"'!function ([\w.]+)'", r"!function \1", text))


def theirs(harness: Harness, checkpoint: Path, folder: Path, tasks: list[str], **options: Any) -> dict[str, Any]:
    """What lm_eval.simple_evaluate gives, samples included."""
    import lm_eval
    import torch
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(folder), include_defaults=False)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DISABLE_MULTIPROC", "1")  # its bootstrap would fork a process with threads; the draws are the same
            found = lm_eval.simple_evaluate(
                model=harness.model(checkpoint), tasks=list(tasks), task_manager=manager, bootstrap_iters=DRAWS, log_samples=True, **options
            )
    finally:
        torch.set_num_threads(threads)
    return dict(found)


def ours(run: Path, checkpoint: Path, folder: Path, tasks: Sequence[Any], *, pool: Pool | None = None, **changes: Any) -> raybench.Report:
    """A run of raybench on the same task files, in this process or in a pool; `changes` are fields of the configuration, `model` those of its model."""
    config = {
        "name": "harness",
        "output": str(run),
        "models": [{"checkpoint": str(checkpoint), "name": "model", "chat_template": "none", **changes.pop("model", {})}],
        "tasks": [f"lm-eval/{t}" if isinstance(t, str) else t for t in tasks],
        "lm_eval": {"include_path": [str(folder)]},
        "engine": {"kind": "pytorch", "dtype": "float32", "threads": 1},
        "pool": "ray" if pool else "local",
        "bootstrap": DRAWS,
        **changes,
    }
    return raybench.run(raybench.parse_config(config), pool=pool)


def numbers(results: Results) -> dict[tuple[str, str], tuple[float | None, float | None]]:
    """(task or group, metric) to value and standard error."""
    return {(r.task.removeprefix("lm-eval/"), r.metric): (r.estimate.value, r.estimate.stderr) for r in results.results}


def expected_numbers(found: dict[str, Any]) -> dict[tuple[str, str], tuple[float, float | None]]:
    """The same of the harness's results, under our names of filters."""
    expected: dict[tuple[str, str], tuple[float, float | None]] = {}
    for task, metrics in {**found["results"], **found.get("groups", {})}.items():
        for key, value in metrics.items():
            metric, comma, name = key.partition(",")
            if comma and not metric.endswith("_stderr"):
                error = metrics[f"{metric}_stderr,{name}"]
                label = metric if name == "none" else f"{metric}[{name}]"
                expected[(task, label)] = (float(value), None if error == "N/A" else float(error))
    return expected


def logged(run: Path, task: str) -> list[dict[str, Any]]:
    """Lines of the harness's sample file that raybench wrote."""
    (file,) = (run / "lm-eval" / "model").glob(f"samples_{task}_*.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


def compare(found: raybench.Report, expected: dict[str, Any]) -> None:
    """Every metric and standard error, what the file in its layout says, and every answer: log-probabilities within 1e-3, texts and what filters made of them equal."""
    assert found.exit_code == 0, found.problems
    wanted = expected_numbers(expected)
    got = numbers(found.results)
    assert set(got) == set(wanted)
    for key, (value, error) in wanted.items():
        assert got[key] == (pytest.approx(value, rel=1e-4), None if error is None else pytest.approx(error, rel=1e-3, abs=1e-9)), key
    (file,) = (found.path / "lm-eval" / "model").glob("results_*.json")
    written = json.loads(file.read_text())
    for part in ("versions", "n-shot", "higher_is_better", "n-samples"):
        assert written[part] == json.loads(json.dumps(expected[part])), part
    assert {task: set(metrics) for task, metrics in written["results"].items()} == {t: set(m) for t, m in expected["results"].items()}
    for task, samples in expected["samples"].items():
        lines = logged(found.path, task)
        assert len(lines) == len(samples) > 0
        by_key = {(line["doc_id"], line["filter"]): line for line in lines}
        for sample in samples:
            line = by_key[(sample["doc_id"], sample["filter"])]
            assert [line["doc"], line["doc_hash"], line["target_hash"]] == [
                json.loads(json.dumps(sample["doc"])),
                sample["doc_hash"],
                sample["target_hash"],
            ]
            same(line["resps"], sample["resps"])
            same(line["filtered_resps"], sample["filtered_resps"])


def same(found: Any, expected: Any) -> None:
    """Nested answers: numbers are near, everything else is equal. The harness writes all of them as text."""
    if isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            same(one, other)
    elif isinstance(expected, float):
        assert float(found) == pytest.approx(expected, abs=1e-3)
    else:
        assert found == str(expected)
