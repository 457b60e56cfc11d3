"""MNLI from heads with three labels, whose order differs between published checkpoints: the same answers, and the accuracy of a loop over transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from raybench.core.config_file import parse
from raybench.core.errors import ConfigError
from raybench.driver.run import run
from tests.driver.runs import read_rows
from tests.tiny_models import label_names, make_checkpoint

ROWS = Path(__file__).resolve().parents[1] / "parity" / "rows" / "labelled" / "mnli.jsonl"
NAMES = ("entailment", "neutral", "contradiction")
"""In the order of the data's numbers (huggingface/datasets 2.14, datasets/glue/glue.py)."""
COUNT = 16

# names in the order of the logits, and a label_map where they say nothing
HEADS = {
    "data": (NAMES, {}),
    "bart": (("contradiction", "neutral", "entailment"), {}),  # facebook/bart-large-mnli, config.json
    "roberta": (("CONTRADICTION", "NEUTRAL", "ENTAILMENT"), {}),  # FacebookAI/roberta-large-mnli, config.json
    "unnamed": (("LABEL_0", "LABEL_1", "LABEL_2"), {"LABEL_0": "contradiction", "LABEL_1": "entailment", "LABEL_2": "neutral"}),
}


def make_head(folder: Path, names: tuple[str, ...], meant: list[str]) -> Path:
    """The same BERT each time, the rows of its output layer in the order of `names`."""
    import torch
    from transformers import AutoModelForSequenceClassification

    make_checkpoint(folder, "bert", "AutoModelForSequenceClassification", max_position_embeddings=512, **label_names(names))
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    order = [NAMES.index(name) for name in meant]
    with torch.no_grad():
        for weights in (model.classifier.weight, model.classifier.bias):
            weights.copy_(weights[order].clone())
    model.save_pretrained(folder)
    return folder


def configure(output: Path, models: list[dict[str, Any]], matched: Path) -> dict[str, Any]:
    return {
        "name": "mnli", "output": str(output), "models": models, "tasks": ["glue/mnli"], "limit": COUNT, "pool": "local", "bootstrap": 20,
        "engine": {"kind": "pytorch", "threads": 1, "overlong": "truncate_right"},
        "data": {"nyu-mll/glue:mnli": {"path": "/", "splits": {"validation_matched": str(matched), "validation_mismatched": str(ROWS)}}},
    }  # fmt: skip


def test_heads_with_any_order_of_labels_give_the_same_answers(shared: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    matched = shared / "data" / "glue_mnli" / "validation_matched.parquet"
    models = []
    for name, (names, label_map) in HEADS.items():
        meant = [label_map.get(n, n).lower() for n in names]
        models.append({"name": name, "checkpoint": str(make_head(tmp_path / name, names, meant)), "label_map": label_map})

    report = run(parse(configure(tmp_path / "run", models, matched)))

    assert (report.exit_code, report.problems) == (0, ())
    answers = {
        name: {(r["task"], r["sample_id"]): r["output"]["logits"] for r in read_rows(report.path) if r["model"] == name} for name in HEADS
    }
    net, tokenizer = (
        AutoModelForSequenceClassification.from_pretrained(tmp_path / "bart").eval(),
        AutoTokenizer.from_pretrained(tmp_path / "bart"),
    )
    right: dict[str, list[bool]] = {}
    for task, rows in {
        "glue.mnli_matched": pq.read_table(matched).slice(0, COUNT).to_pylist(),
        "glue.mnli_mismatched": [json.loads(line) for line in ROWS.read_text().splitlines()],
    }.items():
        for i, row in enumerate(rows):
            with torch.no_grad():
                logits = net(**tokenizer(row["premise"], row["hypothesis"], return_tensors="pt")).logits[0].tolist()
            by_name = {net.config.id2label[k]: value for k, value in enumerate(logits)}
            for found in answers.values():
                assert found[task, f"validation_{task[10:]}-{i}"] == pytest.approx([by_name[name] for name in NAMES], abs=1e-5)
            right.setdefault(task.replace(".", "/"), []).append(max(by_name, key=lambda name: by_name[name]) == NAMES[row["label"]])
    shares = {task: sum(found) / len(found) for task, found in right.items()}
    shares["glue/mnli"] = sum(shares.values()) / 2
    assert {(r.model, r.task): r.estimate.value for r in report.results.results} == {
        (name, task): pytest.approx(share, abs=1e-12) for name in HEADS for task, share in shares.items()
    }


@pytest.mark.parametrize(
    ("names", "label_map", "message"),
    [
        (("LABEL_0", "LABEL_1", "LABEL_2"), {}, r"labels \(LABEL_0, LABEL_1, LABEL_2\) are not, one to one"),
        (("entailment", "not_entailment"), {}, r"labels \(entailment, not_entailment\) are not, one to one, the task's \(entailment, neutral, contradiction\)"),
        (NAMES, {"neutral": "contradiction"}, "are not, one to one"),
    ],
)  # fmt: skip
def test_heads_whose_labels_are_not_those_of_mnli_are_refused(
    names: tuple[str, ...], label_map: dict[str, str], message: str, tmp_path: Path
) -> None:
    folder = make_checkpoint(tmp_path / "head", "bert", "AutoModelForSequenceClassification", **label_names(names))

    with pytest.raises(ConfigError, match=message):
        run(parse(configure(tmp_path / "run", [{"name": "m", "checkpoint": str(folder), "label_map": label_map}], ROWS)))
    assert not list((tmp_path / "run").rglob("*.parquet"))
