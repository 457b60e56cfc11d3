"""Heads that learned something, on real GLUE rows: the whole of raybench against transformers' pipeline and a loop written here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from raybench.core.config_file import parse
from raybench.core.results import Result
from raybench.driver.run import Report, run
from tests.driver.runs import read_rows
from tests.trained_classifiers import MAX_LENGTH, RECIPES, trained_classifier

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("trained"), pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module", params=["sst2", "stsb"])
def head(request: pytest.FixtureRequest, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Name of the data, and a checkpoint that was trained on other rows of it."""
    cache = Path(os.environ["RAYBENCH_TEST_CACHE"]) if "RAYBENCH_TEST_CACHE" in os.environ else tmp_path_factory.getbasetemp().parent
    return request.param, trained_classifier(request.param, shared / "data", cache / "trained")


def bert(folder: Path) -> dict[str, Any]:
    return {"name": "bert", "checkpoint": str(folder), "engine": {"overlong": "truncate_right"}}


def evaluate(name: str, models: list[dict[str, Any]], held_out: Path, output: Path) -> Report:
    return run(
        parse(
            {
                "name": "trained",
                "output": str(output),
                "models": models,
                "tasks": [f"glue/{name}"],
                "engine": {"kind": "pytorch", "threads": 1},
                "data": {f"nyu-mll/glue:{name}": {"path": str(held_out.parent), "splits": {"validation": held_out.name}}},
                "pool": "local",
                "bootstrap": 200,
            }
        )
    )


def test_logits_are_those_of_transformers_and_metrics_those_of_their_definition(head: tuple[str, Path], tmp_path: Path) -> None:
    name, folder = head
    report = evaluate(name, [bert(folder)], folder / "held_out.parquet", tmp_path / "run")

    assert report.exit_code == 0, report.problems
    found = {row["sample_id"]: row["output"]["logits"] for row in read_rows(report.path)}
    rows = pq.read_table(folder / "held_out.parquet").to_pylist()
    expected = logits_of(folder, [tuple(row[c] for c in RECIPES[name].columns) for row in rows])
    for i, values in enumerate(expected):
        assert found[f"validation-{i}"] == pytest.approx(values, abs=1e-5)
    measured = {r.metric: r for r in report.results.results}
    if name == "sst2":
        # far from chance: by the binomial distribution 0.6 of 218 come by guessing once in 500 times
        assert value(measured["acc"]) == sum((b > a) == row["label"] for (a, b), row in zip(expected, rows, strict=True)) / len(rows)
        assert value(measured["acc"]) > 0.6
        assert pipeline_labels(folder, [row["sentence"] for row in rows]) == [RECIPES[name].labels[b > a] for a, b in expected]
    else:
        from scipy.stats import pearsonr, spearmanr

        # a correlation of values this close to each other moves with their last digits: on the answers as they are
        answers, truth = [found[f"validation-{i}"][0] for i in range(len(rows))], [row["label"] for row in rows]
        assert value(measured["pearson"]) == pytest.approx(pearsonr(answers, truth).statistic, abs=1e-9)
        assert value(measured["spearman"]) == pytest.approx(spearmanr(answers, truth).statistic, abs=1e-9)


def test_a_head_and_a_prompted_decoder_answer_the_same_samples_in_one_table(
    head: tuple[str, Path], tiny_llama: Path, tmp_path: Path
) -> None:
    name, folder = head
    table = pq.read_table(folder / "held_out.parquet").slice(0, 24)
    pq.write_table(table, tmp_path / "few.parquet")
    models = [bert(folder), {"name": "llama", "checkpoint": str(tiny_llama)}]

    report = evaluate(name, models, tmp_path / "few.parquet", tmp_path / "run")

    assert report.exit_code == 0, report.problems
    rows = read_rows(report.path)
    ids = {model: [row["sample_id"] for row in rows if row["model"] == model] for model in ("bert", "llama")}
    assert ids["bert"] == ids["llama"]
    assert len(ids["bert"]) == 24
    assert {r.model: r.form for r in report.results.results} == {"bert": "classify", "llama": "loglikelihood"}


def value(result: Result) -> float:
    assert result.estimate.value is not None
    return result.estimate.value


def logits_of(folder: Path, texts: list[tuple[str, ...]]) -> list[list[float]]:
    """One forward pass a text or pair."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        return [model(**tokenizer(*t, truncation=True, max_length=MAX_LENGTH, return_tensors="pt")).logits[0].tolist() for t in texts]


def pipeline_labels(folder: Path, texts: list[str]) -> list[str]:
    from transformers import pipeline

    return [answer["label"] for answer in pipeline("text-classification", model=str(folder), device="cpu")(texts)]
