"""Predictions of SQuAD as the official evaluation scripts read them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raybench.core.config_file import parse
from raybench.driver.export import export
from raybench.driver.run import run
from tests.tiny_models import make_checkpoint
from tests.trained_readers import questions

ROWS = questions(12, seed=3)


@pytest.mark.parametrize("task", ["squad", "squad_v2"])
def test_the_script_gives_the_exported_answers_the_run_s_scores(task: str, tmp_path: Path) -> None:
    from transformers.data.metrics.squad_metrics import squad_evaluate

    rows = [row for row in ROWS if row["answers"]["text"] or task == "squad_v2"]  # in 1.1 every question has an answer
    (tmp_path / "validation.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = make_checkpoint(tmp_path / "reader", "bert", "AutoModelForQuestionAnswering", max_position_embeddings=512)
    path = tmp_path / "run"
    data = {f"rajpurkar/{task}": {"path": str(tmp_path), "splits": {"validation": "validation.jsonl"}}}
    keys: dict[str, Any] = {"name": "squad", "output": str(path), "models": [str(model)], "pool": "local", "bootstrap": 0, "data": data}
    assert run(parse({**keys, "tasks": [task], "engine": {"kind": "pytorch", "threads": 1}})).exit_code == 0

    done = export(path, task)

    answers = json.loads(done.file.read_text(encoding="utf-8"))
    examples = [SimpleNamespace(qas_id=row["id"], answers=[{"text": t} for t in row["answers"]["text"]]) for row in rows]
    expected = squad_evaluate(examples, answers)
    values = {r["metric"]: r["value"] for r in json.loads((path / "results.json").read_text())["results"]}
    assert (done.file.suffix, done.missing) == (".json", ())
    assert list(answers) == [row["id"] for row in rows]
    assert all(text in row["context"] for row, text in zip(rows, answers.values(), strict=True))
    assert all(answers.values()) or task == "squad_v2"
    assert values["squad2_f1" if task == "squad_v2" else "token_f1"] == pytest.approx(expected["f1"] / 100)
    assert values.get("squad2_noans", 0.0) == pytest.approx(expected.get("NoAns_exact", 0.0) / 100)
