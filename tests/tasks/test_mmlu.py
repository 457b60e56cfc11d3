"""MMLU: prompts and categories are lm-eval's, and one file serves all 57 subjects."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import jinja2
import pyarrow.parquet as pq
import pytest
import yaml

from raybench.core.types import Kind
from raybench.tasks.mmlu import CATEGORIES, GROUPS, TASKS
from raybench.tasks.prompts import render


@pytest.fixture(scope="module")
def harness() -> Path:
    """Folder of lm-eval 0.4.13 with its MMLU tasks."""
    spec = importlib.util.find_spec("lm_eval")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("lm-eval is not installed")
    return Path(spec.submodule_search_locations[0]) / "tasks" / "mmlu" / "default"


def test_subjects_categories_and_descriptions_are_those_of_the_harness(harness):
    theirs = {}
    for file in harness.glob("mmlu_*.yaml"):
        entry = yaml.safe_load(file.read_text())
        theirs[entry["dataset_name"]] = (entry["tag"].removeprefix("mmlu_").removesuffix("_tasks"), entry["description"])

    ours = {s: (category, description(s)) for category, subjects in CATEGORIES.items() for s in subjects}

    assert ours == theirs
    assert len(TASKS) == 57


def description(subject: str) -> str:
    return next(t for t in TASKS if t.name == f"mmlu/{subject}").forms[Kind.LOGLIKELIHOOD].description


def test_five_shot_prompts_are_those_of_the_harness_template(harness, shared, data, asked):
    config = yaml.safe_load((harness / "_default_template_yaml").read_text())
    template = jinja2.Environment(keep_trailing_newline=True).from_string(config["doc_to_text"])
    folder = shared / "data" / "mmlu"
    test, dev = (pq.read_table(folder / f"{split}.parquet").to_pylist() for split in ("test", "dev"))
    for subject in ("abstract_algebra", "world_religions"):
        examples = [r for r in dev if r["subject"] == subject][:5]
        shown = "".join(f"{template.render(**r)} {'ABCD'[r['answer']]}\n\n" for r in examples)
        expected = [description(subject) + shown + template.render(**r) for r in test if r["subject"] == subject]
        task = next(t for t in TASKS if t.name == f"mmlu/{subject}")

        found = asked(render(task, Kind.LOGLIKELIHOOD, shots=5, data=data))

        assert [context for context, _ in found] == expected
        assert all(continuations == [" A", " B", " C", " D"] for _, continuations in found)


def test_ids_number_the_rows_of_the_unfiltered_file(shared, data):
    subjects = pq.read_table(shared / "data" / "mmlu" / "test.parquet")["subject"].to_pylist()
    task = next(t for t in TASKS if t.name == "mmlu/anatomy")

    shards = list(render(task, Kind.LOGLIKELIHOOD, data=data).shards())

    ids = [i for shard in shards for i in shard.samples["id"].to_pylist()]
    assert ids == [f"test-{row}" for row, subject in enumerate(subjects) if subject == "anatomy"]


def test_the_whole_group_is_four_categories_weighted_by_samples():
    whole = next(g for g in GROUPS if g.name == "mmlu")
    assert whole.members == ("mmlu/stem", "mmlu/humanities", "mmlu/social_sciences", "mmlu/other")
    assert whole.weights == "samples"


def test_no_examples_are_the_default_as_in_the_harness():
    assert {t.shots for t in TASKS} == {0}
