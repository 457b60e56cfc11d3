"""GLUE and SuperGLUE: their official lists, the real data in both forms, and test splits whose labels are hidden."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from raybench.core.config_file import parse
from raybench.core.sample_rows import samples_from_batch
from raybench.core.task_config import DataConfig
from raybench.core.types import Kind
from raybench.driver.run import run
from raybench.tasks import glue, super_glue
from raybench.tasks.prompts import render
from raybench.tasks.registry import expand, get_task
from raybench.tasks.task import Task

ROWS = Path(__file__).resolve().parents[1] / "parity" / "rows" / "labelled"

# class names in the order of their numbers: the loaders of huggingface/datasets 2.14, datasets/glue/glue.py and datasets/super_glue/super_glue.py
LABELS = {
    "glue/cola": ("unacceptable", "acceptable"),
    "glue/sst2": ("negative", "positive"),
    "glue/mrpc": ("not_equivalent", "equivalent"),
    "glue/qqp": ("not_duplicate", "duplicate"),
    "glue/stsb": (),
    "glue/mnli_matched": ("entailment", "neutral", "contradiction"),
    "glue/mnli_mismatched": ("entailment", "neutral", "contradiction"),
    "glue/qnli": ("entailment", "not_entailment"),
    "glue/rte": ("entailment", "not_entailment"),
    "glue/wnli": ("not_entailment", "entailment"),
    "glue/test/ax": ("entailment", "neutral", "contradiction"),
    "boolq": ("False", "True"),
    "super_glue/cb": ("entailment", "contradiction", "neutral"),
    "super_glue/copa": (),
    "super_glue/multirc": ("False", "True"),
    "super_glue/record": ("False", "True"),
    "super_glue/rte": ("entailment", "not_entailment"),
    "super_glue/wic": ("False", "True"),
    "super_glue/wsc": ("False", "True"),
    "super_glue/test/axb": ("entailment", "not_entailment"),
    "super_glue/test/axg": ("entailment", "not_entailment"),
}
# name, folder of the data, rows, first split; rows per label counted with pyarrow
REAL = [
    ("glue/cola", "nyu-mll/glue:cola", "glue_cola", 1043),
    ("glue/sst2", "nyu-mll/glue:sst2", "glue_sst2", 872),
    ("glue/stsb", "nyu-mll/glue:stsb", "glue_stsb", 1500),
    ("glue/mnli_matched", "nyu-mll/glue:mnli", "glue_mnli", 9815),
    ("glue/rte", "nyu-mll/glue:rte", "glue_rte", 277),
    ("glue/qqp", "nyu-mll/glue:qqp", "glue_qqp", 100),
    ("boolq", "aps/super_glue:boolq", "super_glue_boolq", 3270),
    ("super_glue/cb", "aps/super_glue:cb", "super_glue_cb", 56),
    ("super_glue/multirc", "aps/super_glue:multirc", "super_glue_multirc", 4848),
    ("super_glue/record", "aps/super_glue:record", "super_glue_record", 64),
    ("super_glue/rte", "aps/super_glue:rte", "super_glue_rte", 277),
    ("super_glue/wsc", "aps/super_glue:wsc.fixed", "super_glue_wsc", 104),
]


def task_of(name: str) -> Task:
    task = get_task(name)
    assert isinstance(task, Task)
    return task


@pytest.mark.parametrize("name", LABELS)
def test_labels_have_the_order_of_the_data(name: str) -> None:
    assert task_of(name).forms[Kind.CLASSIFY].labels == LABELS[name]


def test_glue_is_nine_tasks_and_super_glue_eight() -> None:
    groups = {g.name: g for g in (*glue.GROUPS, *super_glue.GROUPS)}

    assert [len(groups[name].members) for name in ("glue", "super_glue")] == [9, 8]
    # the sites take eleven and ten files
    assert [len(expand([name]).tasks) for name in ("glue/test", "super_glue/test")] == [11, 10]
    assert all(set(group.of) <= set(group.members) for group in groups.values())


@pytest.mark.parametrize(("name", "source", "folder", "count"), REAL, ids=[r[0] for r in REAL])
def test_every_real_row_becomes_a_question_and_an_input_of_a_head(name: str, source: str, folder: str, count: int, shared: Path) -> None:
    place = shared / "data" / folder
    (file,) = place.glob("*.parquet")
    data = {source: DataConfig(path=str(place), splits={task_of(name).source.split: file.name})}
    rows = pq.read_table(file).to_pylist()

    for kind in (Kind.CLASSIFY, Kind.LOGLIKELIHOOD):
        shards = list(render(task_of(name), kind, data=data).shards())

        samples = [s for shard in shards for s in samples_from_batch(shard.samples)]
        assert len(samples) == len(rows) == count
        assert [right_of(s) for s in samples] == [right_in(row) for row in rows]
        assert {r["sample_id"] for shard in shards for r in shard.requests.to_pylist()} == {s.id for s in samples}


@pytest.mark.parametrize("form", ["classify", "loglikelihood"])
def test_real_rows_run_from_end_to_end(form: str, shared: Path, tmp_path: Path) -> None:
    files = {name: (source, next((shared / "data" / folder).glob("*.parquet"))) for name, source, folder, _ in REAL}
    config = {
        "name": "real",
        "models": ["m"],
        "tasks": [{"name": name, "form": form, "limit": 24, "shard_size": 7} for name in files],
        "engine": {"kind": "fake"},
        "pool": "local",
        "data": {source: {"path": str(f.parent), "splits": {task_of(n).source.split: f.name}} for n, (source, f) in files.items()},
        "output": str(tmp_path / "run"),
        "bootstrap": 20,
    }

    report = run(parse(config))

    assert report.exit_code == 0, report.problems
    found = {(r.task, r.metric): r.estimate for r in report.results.results}
    assert set(found) == {(name, metric) for name in files for metric in task_of(name).forms[Kind(form)].metrics}
    assert all(estimate.value is not None for estimate in found.values())
    # whole questions of MultiRC, samples elsewhere
    questions = {(i["paragraph"], i["question"]) for i in pq.read_table(files["super_glue/multirc"][1]).slice(0, 24)["idx"].to_pylist()}
    assert {key: e.num_samples for key, e in found.items() if e.num_samples != 24} == {("super_glue/multirc", "multirc_em"): len(questions)}


def right_of(sample: Any) -> Any:
    return sample.label if sample.label is not None else sample.targets


def right_in(row: Mapping[str, Any]) -> Any:
    if "answers" in row:
        return tuple(sorted(set(row["answers"])))
    return row["label"] if isinstance(row["label"], int) else (str(row["label"]),)


def requests_of(name: str, kind: Kind, rows: str, **more: Any) -> list[dict[str, Any]]:
    task = task_of(name)
    splits = {task.source.split: f"{rows}.jsonl"}
    data = {f"{task.source.path}:{task.source.config}": DataConfig(path=str(ROWS), splits=splits)}
    return [row for shard in render(task, kind, data=data, **more).shards() for row in shard.requests.to_pylist()]


def test_a_head_reads_the_texts_of_a_pair() -> None:
    (first, *_) = requests_of("glue/mnli_matched", Kind.CLASSIFY, "mnli")

    assert (first["prompt"], first["pair"]) == ("Two boys row a boat across the lake.", "The boys are on the water.")


def test_a_head_reads_every_option_of_copa_and_record_with_its_context() -> None:
    copa = requests_of("super_glue/copa", Kind.CLASSIFY, "copa", limit=1)
    record = requests_of("super_glue/record", Kind.CLASSIFY, "record", limit=1)

    assert [(r["request"], r["prompt"], r["pair"]) for r in copa] == [
        ("option-0", "The candle went out. What was the cause of this?", "The wind blew through the window."),
        ("option-1", "The candle went out. What was the cause of this?", "The room was warm."),
    ]
    # four entities, of which one stands twice
    assert [r["pair"] for r in record] == [
        f"The old ferry goes back to {name}, where it will be taken apart." for name in ("Bergen", "Brill", "Olsen")
    ]
    assert len({r["prompt"] for r in record}) == 1


def test_hidden_labels_and_absent_ones_are_no_labels(tmp_path: Path) -> None:
    hidden = {"sentence1": "A man eats.", "sentence2": "A man is eating."}

    graded = [glue.graded_sample({**hidden, **more}, "s") for more in ({"label": -1.0}, {}, {"label": 3.75})]
    labelled = [glue.PARTS["rte"].what.to_sample({**hidden, **more}, "s") for more in ({"label": -1}, {}, {"label": 1})]  # type: ignore[union-attr]

    assert [s.targets for s in graded] == [(), (), ("3.75",)]
    assert [s.label for s in labelled] == [None, None, 1]


def test_an_example_of_similarity_shows_the_nearest_grade() -> None:
    shown = [glue.graded_prompt(glue.graded_sample({"sentence1": "a", "sentence2": "b", "label": x}, "s")).answer for x in (0.4, 2.5, 5.0)]

    assert shown == ["0", "3", "5"]


def test_questions_about_one_passage_of_multirc_are_a_cluster() -> None:
    rows = [{"paragraph": p, "question": "q", "answer": "a", "label": 1} for p in ("x", "y", "x")]

    clusters = Counter(super_glue.multirc_sample(row, "s").cluster for row in rows)

    assert sorted(clusters.values()) == [1, 2]
