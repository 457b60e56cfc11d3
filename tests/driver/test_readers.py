"""Taggers and readers from a checkpoint to a number: trained in seconds, and the real Rampart; against loops over transformers, seqeval and SQuAD's script."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest

from raybench.core.config import RunConfig
from raybench.core.config_file import parse
from raybench.driver.run import run
from raybench.tasks.conll2003 import LABELS
from tests.driver.runs import read_rows, results_of
from tests.trained_readers import trained_reader, trained_tagger

Rows = list[dict[str, Any]]
ENGINE = {"kind": "pytorch", "threads": 1, "doc_stride": 16, "max_length": 64, "overlong": "truncate_right"}
"""Windows so short that most passages need several, and some sentences are cut."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(os.environ.get("RAYBENCH_TEST_CACHE", tmp_path_factory.getbasetemp().parent)) / "trained"


@pytest.fixture(scope="module")
def tagger(shared: Path, cache: Path) -> Path:
    return trained_tagger(shared / "data", cache)


@pytest.fixture(scope="module")
def reader(cache: Path) -> Path:
    return trained_reader(cache)


def configure(output: Path, model: Path, task: dict[str, Any], **model_keys: Any) -> RunConfig:
    return parse(
        {
            "name": "readers",
            "output": str(output),
            "models": [{"name": "model", "checkpoint": str(model), **model_keys}],
            "tasks": [{"name": task["name"], "limit": task.get("limit"), "shard_size": 24}],
            "data": {task["hub"]: {"path": str(task["path"]), "splits": task.get("splits", {})}},
            "engine": ENGINE,
            "pool": "local",
            "bootstrap": 50,
        }
    )


CONLL = {"name": "conll2003", "hub": "eriktks/conll2003"}
SQUAD_V2 = {"name": "squad_v2", "hub": "rajpurkar/squad_v2"}


def evaluate(path: Path, model: Path, task: dict[str, Any], **model_keys: Any) -> tuple[dict[str, float], Rows]:
    """Values by metric, and the stored rows."""
    report = run(configure(path, model, task, **model_keys))
    assert report.exit_code == 0
    found = json.loads(results_of(path))["results"]
    values = {r["metric"]: r["value"] for r in found}
    return values, read_rows(path)


def tags_by_loop(model: Path, sentences: list[list[str]], rename: Callable[[str], str] = str) -> list[list[str]]:
    """One sentence after the other through transformers alone: the first piece of a word speaks for it, O beyond 64 tokens."""
    import torch
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    tokenizer, net = AutoTokenizer.from_pretrained(model), AutoModelForTokenClassification.from_pretrained(model).float().eval()
    every = []
    for words in sentences:
        encoded = tokenizer(words, is_split_into_words=True, truncation=True, max_length=64, return_tensors="pt")
        with torch.no_grad():
            best = net(**encoded).logits[0].argmax(-1).tolist()
        tags = ["O"] * len(words)
        for place, word in reversed(list(enumerate(encoded.word_ids(0)))):
            if word is not None:
                tags[word] = rename(net.config.id2label[best[place]])
        every.append(tags)
    return every


def test_a_trained_tagger_finds_names_as_a_loop_and_seqeval_count_them(tagger: Path, tmp_path: Path) -> None:
    from seqeval.metrics import classification_report

    held_out = pq.read_table(tagger / "held_out.parquet").to_pylist()[:300]
    true = [[LABELS[tag] for tag in row["ner_tags"]] for row in held_out]

    values, rows = evaluate(tmp_path / "run", tagger, {**CONLL, "path": tagger, "splits": {"test": "held_out.parquet"}, "limit": 300})

    answered = {row["sample_id"]: row["output"]["labels"] for row in rows}
    expected = tags_by_loop(tagger, [row["tokens"] for row in held_out])
    assert [answered[f"test-{i}"] for i in range(300)] == expected
    report = classification_report(true, expected, output_dict=True, zero_division=0)
    assert values["seqeval_f1"] == pytest.approx(report["micro avg"]["f1-score"], abs=1e-12)
    assert values["seqeval_precision"] == pytest.approx(report["micro avg"]["precision"], abs=1e-12)
    assert values["seqeval_f1@LOC"] == pytest.approx(report["LOC"]["f1-score"], abs=1e-12)
    assert values["seqeval_f1"] > 0.4  # by chance there would be next to none


def test_a_trained_reader_answers_as_squad_s_script_counts(reader: Path, tmp_path: Path) -> None:
    from transformers.data.metrics.squad_metrics import squad_evaluate

    held_out = [json.loads(line) for line in (reader / "held_out.jsonl").read_text().splitlines()]

    values, rows = evaluate(tmp_path / "run", reader, {**SQUAD_V2, "path": reader, "splits": {"validation": "held_out.jsonl"}})

    answers = {}
    for row in rows:
        output = row["output"]
        score, text = next((s, t) for s, t in zip(output["scores"], output["texts"], strict=True) if t)
        answers[row["sample_id"]] = "" if output["null_score"] > score else text
    examples = [SimpleNamespace(qas_id=r["id"], answers=[{"text": t} for t in r["answers"]["text"]]) for r in held_out]
    expected = squad_evaluate(examples, answers)
    names = {"squad2_exact": "exact", "squad2_f1": "f1", "squad2_hasans_exact": "HasAns_exact", "squad2_noans": "NoAns_exact"}
    assert {name: values[name] for name in names} == pytest.approx({name: expected[theirs] / 100 for name, theirs in names.items()})
    assert values["squad2_hasans_exact"] > 0.7
    assert values["squad2_noans"] > 0.7


RAMPART = {
    **{f"{b}-GIVEN_NAME": f"{b}-PER" for b in "BI"}, "B-SURNAME": "I-PER", "I-SURNAME": "I-PER",
    **{f"{b}-{kind}": f"{b}-LOC" for b in "BI" for kind in ("CITY", "STATE")},
}  # fmt: skip
"""What its labels are in CoNLL-2003; a surname behind a given name continues it. All others are no names there."""


def test_the_real_rampart_finds_persons_in_the_news(shared: Path, tmp_path: Path) -> None:
    from seqeval.metrics import classification_report

    model = shared / "models" / "rampart-pii-ner"
    names = json.loads((model / "config.json").read_text())["id2label"].values()
    label_map = {name: RAMPART.get(name, "O") for name in names}
    sentences = pq.read_table(shared / "data" / "conll2003" / "test.parquet").to_pylist()[:100]

    real = {**CONLL, "path": shared / "data" / "conll2003", "limit": 100}
    values, rows = evaluate(tmp_path / "run", model, real, label_map=label_map)

    answered = {row["sample_id"]: row["output"]["labels"] for row in rows}
    expected = tags_by_loop(model, [row["tokens"] for row in sentences], label_map.__getitem__)
    assert [answered[f"test-{i}"] for i in range(100)] == expected
    report = classification_report(
        [[LABELS[tag] for tag in row["ner_tags"]] for row in sentences], expected, output_dict=True, zero_division=0
    )
    assert values["seqeval_f1@PER"] == pytest.approx(report["PER"]["f1-score"], abs=1e-12)
    assert values["seqeval_f1@PER"] > 0.4
