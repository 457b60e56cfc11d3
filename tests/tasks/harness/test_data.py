"""What a task makes of its rows depends on the rows and the seed alone, not on what `datasets` keeps from before."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from raybench.core.task_config import LmEvalConfig
from raybench.tasks.harness.construct import construct
from raybench.tasks.harness.library import Library

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.xdist_group("harness")]
TASK = """
task: shuffled
dataset_path: json
dataset_kwargs: {data_files: {test: ROWS}}
test_split: test
process_docs: !function code.process_docs
doc_to_text: "{{question}}"
doc_to_target: "{{options[0]}}"
"""
CODE = """
import random


def process_docs(rows):
    return rows.map(lambda row: {"options": random.sample(row["options"], 4)})
"""
"""As GPQA's code does (lm_eval/tasks/gpqa)."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"question": str(i), "options": list("abcd")}) + "\n" for i in range(12)))
    (tmp_path / "shuffled.yaml").write_text(TASK.replace("ROWS", str(rows)))
    (tmp_path / "code.py").write_text(CODE)
    return tmp_path


def by_harness(folder: Path, seed: int) -> list[Any]:
    """Its documents, as the harness itself makes them after such a seed."""
    from lm_eval.tasks import TaskManager

    random.seed(seed)
    task = TaskManager(include_path=str(folder), include_defaults=False).load(["shuffled"])["tasks"]["shuffled"]
    return list(task.eval_docs)


def test_options_that_the_harness_has_shuffled_with_another_seed_are_shuffled_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "first")
    expected = by_harness(folder, seed=0)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "second")
    assert by_harness(folder, seed=7) != expected
    (task,) = Library(LmEvalConfig(include_path=(str(folder),))).find("lm-eval/shuffled").tasks

    made, _ = construct(task, {}, shots=None)

    assert list(made.eval_docs) == expected
