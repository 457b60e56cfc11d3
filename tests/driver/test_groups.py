"""Overall scores of GLUE and SuperGLUE: the published means of published scores."""

from __future__ import annotations

import pytest

from raybench.core.config_file import parse
from raybench.core.results import Estimate, Result
from raybench.driver.catalog import open_catalog
from raybench.driver.groups import group_results

# BERT-large on the GLUE leaderboard (24 layers, 16 heads, 1024 hidden): 80.5
GLUE = {
    "glue/cola": {"matthews": 60.5}, "glue/sst2": {"acc": 94.9}, "glue/mrpc": {"f1": 89.3, "acc": 85.4},
    "glue/stsb": {"pearson": 87.6, "spearman": 86.5}, "glue/qqp": {"f1": 72.1, "acc": 89.3}, "glue/mnli_matched": {"acc": 86.7},
    "glue/mnli_mismatched": {"acc": 85.9}, "glue/qnli": {"acc": 92.7}, "glue/rte": {"acc": 70.1}, "glue/wnli": {"acc": 65.1},
}  # fmt: skip
# BERT in table 3 of the SuperGLUE paper (arXiv:1905.00537): 69.0
SUPER_GLUE = {
    "boolq": {"acc": 77.4}, "super_glue/cb": {"f1_macro": 75.7, "acc": 83.6}, "super_glue/copa": {"acc": 70.6},
    "super_glue/multirc": {"f1": 70.0, "multirc_em": 24.1}, "super_glue/record": {"record_f1": 72.0, "record_em": 71.3},
    "super_glue/rte": {"acc": 71.7}, "super_glue/wic": {"acc": 69.6}, "super_glue/wsc": {"acc": 64.4},
}  # fmt: skip


def result(task: str, metric: str, value: float | None, stderr: float | None = 0.01) -> Result:
    estimate = Estimate(value=value, stderr=stderr, num_samples=100, num_errors=0)
    return Result(model="m", task=task, form="classify", metric=metric, estimate=estimate, higher_is_better=True, signature=f"task:{task}")


def overall(group: str, values: dict[str, dict[str, float]]) -> dict[str, Result]:
    catalog = open_catalog(parse({"name": "s", "models": ["m"], "tasks": [group]}))
    results = [result(task, metric, value / 100) for task, found in values.items() for metric, value in found.items()]
    return {r.task: r for r in group_results(catalog, ["m"], results)}


@pytest.mark.parametrize(
    ("group", "values", "published"), [("glue", GLUE, 80.5), ("super_glue", SUPER_GLUE, 69.0)], ids=["glue", "super_glue"]
)
def test_the_overall_score_is_the_published_one(group: str, values: dict[str, dict[str, float]], published: float) -> None:
    found = overall(group, values)[group]

    assert found.metric == "score"
    assert round(100 * (found.estimate.value or 0.0), 1) == published


def test_mnli_is_one_task_and_its_halves_count_the_same() -> None:
    assert overall("glue", GLUE)["glue/mnli"].estimate.value == pytest.approx((0.867 + 0.859) / 2, abs=1e-12)


def test_the_error_of_two_metrics_of_one_task_does_not_shrink_as_if_they_were_independent() -> None:
    one = overall("glue", GLUE)["glue"].estimate.stderr

    # nine tasks with 0.01 each, MNLI's halves 0.01 / sqrt(2) together
    assert one == pytest.approx((8 * 0.01**2 + 0.01**2 / 2) ** 0.5 / 9, rel=1e-9)


def test_a_score_without_one_of_its_metrics_is_withheld() -> None:
    values = {**GLUE, "glue/mrpc": {"acc": 85.4}}

    found = overall("glue", values)["glue"]

    assert found.estimate.value is None
    assert found.withheld == "1 of 9 members have no value, the first: glue/mrpc"


def test_a_group_without_a_number_has_no_row() -> None:
    catalog = open_catalog(parse({"name": "s", "models": ["m"], "tasks": ["glue/test"]}))

    assert group_results(catalog, ["m"], [result("glue/test/cola", "matthews", 0.5)]) == []
