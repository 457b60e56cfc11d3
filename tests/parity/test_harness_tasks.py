"""Tasks of the harness give in raybench what lm_eval.simple_evaluate gives: values, answers, metrics, standard errors. Expected values: lm-eval 0.4.13."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lm_eval.tasks
import pytest

from tests.parity.harness_tasks import compare, ours, theirs, write_task, write_yaml
from tests.parity.programs import ROWS, Harness, read_rows
from tests.parity.test_tasks import CASES

# reading the harness's index takes seconds, once a process
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.xdist_group("harness")]
HOME = Path(lm_eval.tasks.__file__).parent

ARC = {
    "doc_to_text": "Question: {{question}}\nAnswer:",
    "doc_to_target": "{{choices.label.index(answerKey)}}",
    "doc_to_choice": "{{choices.text}}",
    "output_type": "multiple_choice",
    "fewshot_split": "test",
}
BOOL = {
    "doc_to_text": "{{passage}}\n{{question}}?",
    "doc_to_target": "label",
    "doc_to_choice": ["no", "yes"],
    "output_type": "multiple_choice",
}
SUMS = {"doc_to_text": "Q: {{question}}\nA:", "doc_to_target": "{{answer.split('####')[-1].strip()}}", "output_type": "generate_until"}
PLAIN = [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True, "ignore_case": True}]
CODE = """
import random


def gather(resps, docs):
    longest = max(len(r) for rs in resps for r in rs)  # looks at all documents at once
    return [[r.ljust(longest) for r in rs] for rs in resps]


def worth(doc, results):
    return {"letters": len(results[0]), "pair": (doc["question"], results[0]), "chance": random.random() * 0}


def total(items):
    return float(sum(len(q) * len(a) for q, a in items))
"""
"""A user's own filter, metrics and aggregation."""


def write_all(folder: Path) -> list[str]:
    """15 of the harness's own task files on local rows, and 7 of a user's own with what these leave out."""
    for name, case in CASES.items():
        splits = dict.fromkeys(("training_split", "validation_split", "dataset_name"))
        own = {"include": str(HOME / case.file), **splits, "fewshot_split": "test", **case.overrides}
        own |= {} if case.shots else {"num_fewshot": 0, "fewshot_split": None}
        write_task(folder, f"own_{name.replace('/', '_')}", case.rows, **own)
    arc, sums = read_rows(ROWS / "arc_easy.jsonl"), read_rows(ROWS / "gsm8k.jsonl")

    def metrics(*names: str, by: str = "mean") -> list[dict[str, Any]]:
        return [{"metric": m, "aggregation": by, "higher_is_better": True} for m in names]

    write_task(
        folder, "mutual", arc, **ARC, metric_list=metrics("acc", "acc_mutual_info", "acc_bytes"), repeats=2, tag=["twins", "own_tag"]
    )
    write_task(
        folder,
        "corpus",
        read_rows(ROWS / "boolq.jsonl"),
        **BOOL,
        metric_list=metrics("acc") + metrics("f1", by="f1") + metrics("mcc", by="matthews_corrcoef"),
        tag="twins",
    )
    write_task(
        folder,
        "brier",
        [row for row in arc if len(row["choices"]["text"]) == 4],
        **ARC,
        description="Choose for {{id}}.\n",
        metric_list=[{"metric": "brier_score", "aggregation": "brier_score", "higher_is_better": False}],
    )
    short = {"until": ["\n"], "max_gen_toks": 12, "do_sample": False}
    voted = [{"name": "first", "filter": [{"function": "take_first"}]}]
    voted += [
        {
            "name": "voted",
            "filter": [{"function": "regex", "regex_pattern": "[a-z0-9]"}, {"function": "majority_vote"}, {"function": "take_first"}],
        }
    ]
    write_task(folder, "voted", sums, **SUMS, generation_kwargs=short, repeats=3, filter_list=voted, metric_list=PLAIN)
    (folder / "code.py").write_text(CODE)
    gathered = [{"name": "padded", "filter": [{"function": "custom", "filter_fn": "!function code.gather"}, {"function": "take_first"}]}]
    own = [*metrics("letters"), {"metric": "pair", "aggregation": "!function code.total", "higher_is_better": False}, *metrics("chance")]
    write_task(
        folder,
        "coded",
        sums,
        **SUMS,
        generation_kwargs=short,
        process_results="!function code.worth",
        filter_list=gathered,
        metric_list=own,
    )
    write_task(
        folder,
        "prefixed",
        sums,
        **SUMS,
        generation_kwargs=short,
        gen_prefix="The answer is",
        num_fewshot=1,
        fewshot_split="test",
        metric_list=PLAIN,
    )
    bleu = [{"metric": "bleu", "aggregation": "bleu", "higher_is_better": True}]
    write_task(folder, "bleu", sums, **SUMS, generation_kwargs=short, metric_list=bleu)
    weighed = [{"metric": "acc", "weight_by_size": True}]
    write_yaml(folder / "inner.yaml", {"group": "inner", "task": ["mutual", "corpus"], "aggregate_metric_list": weighed})
    equal = [{"metric": "acc", "weight_by_size": False, "filter_list": "none"}]
    outer = ["inner", {"group": "inline", "task": ["own_piqa", "own_boolq"], "aggregate_metric_list": weighed}]
    write_yaml(folder / "outer.yaml", {"group": "outer", "task": outer, "aggregate_metric_list": equal, "metadata": {"version": 2.0}})
    return [f"own_{n.replace('/', '_')}" for n in CASES if n not in ("piqa", "boolq")] + [
        "brier",
        "voted",
        "coded",
        "prefixed",
        "bleu",
        "outer",
    ]


@pytest.fixture(scope="module")
def all_tasks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    folder = tmp_path_factory.mktemp("harness-tasks")
    return folder, write_all(folder)


def test_all_kinds_of_tasks_give_what_the_harness_gives(
    all_tasks: Any, checkpoints: dict[str, Path], harness: Harness, tmp_path: Path
) -> None:
    folder, tasks = all_tasks

    found = ours(tmp_path / "run", checkpoints["llama"], folder, tasks, limit=6)

    compare(found, theirs(harness, checkpoints["llama"], folder, tasks, limit=6))
