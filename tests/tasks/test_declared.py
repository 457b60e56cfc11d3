"""Tasks declared in a configuration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from raybench.core.errors import ConfigError, DataError
from raybench.core.task_config import SourceConfig, TaskConfig
from raybench.core.types import Kind
from raybench.tasks.declared import task_from_config
from raybench.tasks.prompts import render
from raybench.tasks.task import Task

ROWS = [
    {"uid": i, "q": f"question {i}", "opts": [f"o{i}", f"p{i}"], "right": i % 2, "name": f"o{i}", "doc": "d"} for i in range(4)
]  # fmt: skip


def declare(folder, **keys):
    keys = {"name": "mine", "source": SourceConfig(path="test.jsonl"), "prompt": "Q: {{ q }}\nA:", **keys}
    return task_from_config(TaskConfig(**keys), folder)


def first(task, **options):
    rendering = render(task, next(iter(task.forms)), **options)
    shard = next(rendering.shards())
    return shard.samples.to_pylist()[0], shard.requests.to_pylist()[0], rendering


@pytest.fixture
def folder(write_rows) -> Path:
    return write_rows(ROWS).parent


def test_a_choice_with_options_from_an_expression(folder):
    task = declare(folder, kind="loglikelihood", choices="{{ opts }}", target="{{ right }}", sample_id="uid", cluster="doc")
    sample, request, _ = first(task)
    assert sample == {"id": "0", "fields": json.dumps(ROWS[0]), "choices": ["o0", "p0"], "label": 0, "targets": [], "cluster": "d"}
    assert (request["prompt"], request["continuations"]) == ("Q: question 0\nA:", ["o0", "p0"])


def test_a_choice_with_options_from_templates_and_a_target_by_text(folder):
    task = declare(folder, kind="loglikelihood", choices=["no {{ uid }}", "{{ name }}"], target="{{ name }}")
    sample, _, _ = first(task)
    assert (sample["choices"], sample["label"], sample["id"]) == (["no 0", "o0"], 1, "test-0")


def test_a_generation_with_filters_and_examples(folder, asked):
    task = declare(
        folder, kind="generate", target="{{ name }}", description="Answer.\n\n", extract={"a": "first_line", "b": "regex:(\\d)"}, fewshot="first_n"
    )  # fmt: skip
    form = task.forms[Kind.GENERATE]
    assert {name: f("x 7\n") for name, f in form.extract.items()} == {"a": "x 7", "b": "7"}
    context, _ = asked(render(task, Kind.GENERATE, shots=2))[1]
    assert context == "Answer.\n\nQ: question 0\nA: o0\n\nQ: question 2\nA: o2\n\nQ: question 1\nA:"


def test_a_generation_with_turns_and_the_beginning_of_an_answer(folder):
    task = declare(folder, kind="generate", target="{{ name }}", turns=["Sure, {{ uid }}?", "Why?"], prefix="It is", fewshot="first_n")
    _, request, _ = first(task)
    assert (request["turns"], request["prefix"]) == (["Sure, 0?", "Why?"], "It is")
    # an example shows the beginning before its answer (lm_eval 0.4.13 api/task.py, build_qa_turn)
    assert render(task, Kind.GENERATE, shots=1).shots.to_pylist()[0] == {"question": "Q: question 0\nA:", "answer": "It is o0"}
    assert first(declare(folder, kind="generate", target="x", turns="{{ opts }}"))[1]["turns"] == ["o0", "p0"]


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ({"kind": "loglikelihood", "choices": "{{ opts }}", "target": "0", "turns": ["x"]}, "turns"),
        ({"kind": "rolling", "prefix": "x"}, "prefix"),
    ],
)
def test_turns_and_prefix_where_they_have_no_place_are_refused(folder, keys, found):
    with pytest.raises(ConfigError, match=f"task 'mine': {found}: "):
        declare(folder, **keys)


def test_a_list_as_target_gives_several_right_answers(folder):
    sample, _, _ = first(declare(folder, kind="generate", target="{{ opts }}"))
    assert sample["targets"] == ["o0", "p0"]


def test_a_text_is_its_own_target(folder):
    sample, request, _ = first(declare(folder, kind="rolling", prompt="{{ q }}"))
    assert (sample["targets"], request["prompt"]) == (["question 0"], "question 0")


def test_a_file_is_looked_for_beside_the_configuration(folder):
    assert declare(folder, kind="rolling").source.path == str(folder / "test.jsonl")


def test_a_hub_id_stays_one(folder):
    assert declare(folder, kind="rolling", source=SourceConfig(path="org/name", revision="a" * 40)).source.path == "org/name"


def test_the_version_follows_the_declaration_and_nothing_else(folder):
    base = {"kind": "generate", "target": "{{ name }}"}
    versions = [
        declare(folder, **base).version,
        declare(folder, **base, shots=3, limit=2, shard_size=8).version,
        declare(folder, **base, description="Do.").version,
        declare(folder, **{**base, "target": "{{ q }}"}).version,
    ]
    assert versions[0] == versions[1]
    assert len(set(versions)) == 3


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"kind": "generate", "target": "{{ nme }}"}, r"sample 'test-0' of task 'mine', template `target`: there is no field 'nme'"),
        (
            {"kind": "generate", "target": "{{ name }}", "prompt": "{{ qq }}"},
            r"sample 'test-0' of task 'mine', template `prompt`: there is no field 'qq'",
        ),
        (
            {"kind": "loglikelihood", "choices": "{{ q }}", "target": "0"},
            "template `choices`: expected a list of texts, found 'question 0'",
        ),
        ({"kind": "loglikelihood", "choices": "{{ opts }}", "target": "{{ q }}"}, "'question 0' is neither an option nor the index of one"),
        ({"kind": "loglikelihood", "choices": "{{ opts }}", "target": "{{ 7 }}"}, "7 is no index of 2 options; they count from 0"),
        ({"kind": "loglikelihood", "choices": ["1", "0"], "target": "1"}, "'1' is an option and also the index of another"),
        ({"kind": "rolling", "sample_id": "opts"}, r"column 'opts' is \['o0', 'p0'\]; expected text or a whole number"),
        ({"kind": "rolling", "sample_id": "id"}, "there is no field 'id'. The row has: uid, q"),
        (
            {"kind": "rolling", "sample_id": "doc"},
            r"sample ids of .* occur more than once .*: 'd' \(rows 0, 1, 2, 3\)\. .* leave `sample_id` out",
        ),
        ({"kind": "rolling", "cluster": "c"}, "there is no field 'c'"),
    ],
)
def test_rows_that_do_not_fit_the_declaration_are_named(folder, keys, message):
    task = declare(folder, **keys)
    with pytest.raises(DataError, match=message):
        list(render(task, next(iter(task.forms))).shards())


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"kind": "generate", "target": "{{ name"}, "template `target`: not a Jinja template"),
        ({"kind": "loglikelihood", "choices": "a, b", "target": "0"}, "not one expression"),
        ({"kind": "generate", "target": "x", "choices": ["a"]}, "choices: only for kinds loglikelihood, fill and embed"),
        ({"kind": "rolling", "extract": "letter"}, "extract: only for kind generate"),
        ({"kind": "generate", "target": "x", "extract": "leter"}, "Did you mean 'letter'"),
    ],
)
def test_a_declaration_that_cannot_work_is_refused(folder, keys, message):
    with pytest.raises(ConfigError, match=message):
        declare(folder, **keys)


def test_the_number_1_and_the_text_1_are_the_same_id(write_rows):
    folder = write_rows([{"uid": 1, "q": "a"}, {"uid": "1", "q": "b"}]).parent
    with pytest.raises(DataError, match=r"'1' \(rows 0, 1\)"):
        list(render(declare(folder, kind="rolling", prompt="{{ q }}", sample_id="uid"), Kind.ROLLING).shards())


def test_a_declared_hole_is_filled_from_its_choices(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text": "It was [MASK].", "right": "b"}\n')
    declaration = {"name": "hole", "source": {"path": "rows.jsonl"}, "kind": "fill", "prompt": "{{ text }}"}

    task = task_from_config(TaskConfig.model_validate({**declaration, "choices": ["a", "b"], "target": "{{ right }}"}), tmp_path)
    text = task_from_config(TaskConfig.model_validate(declaration), tmp_path)

    (shard,) = render(task, Kind.FILL).shards()
    assert [(r["prompt"], r["continuations"]) for r in shard.requests.to_pylist()] == [("It was [MASK].", ["a", "b"])]
    assert shard.samples.to_pylist()[0]["label"] == 1
    assert (task.forms[Kind.FILL].metrics, text.forms[Kind.FILL].metrics) == (("acc",), ("pseudo_perplexity",))


def test_tags_from_a_conll_file(tmp_path):
    (tmp_path / "test.conll").write_text("EU B-ORG\nrejects O\n\nPeter B-PER\n")
    task = declare(
        tmp_path, source=SourceConfig(path="test.conll"), kind="tag", prompt=None, words="{{ words }}", target="{{ tags }}", cluster=None
    )
    sample, request, _ = first(task)
    assert (sample["targets"], request["words"]) == (["B-ORG", "O"], ["EU", "rejects"])
    assert (task.forms[Kind.TAG].labels, task.forms[Kind.TAG].metrics[0]) == ((), "seqeval_f1")


def test_tags_by_number_get_their_names(write_rows):
    folder = write_rows([{"tokens": ["EU", "rejects"], "tags": [1, 0]}]).parent
    task = declare(folder, kind="tag", prompt=None, words="{{ tokens }}", target="{{ tags }}", labels=["O", "B-ORG"])
    assert first(task)[0]["targets"] == ["B-ORG", "O"]
    assert task.forms[Kind.TAG].labels == ("O", "B-ORG")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"tokens": ["EU"], "tags": [2]},
            r"sample 'test-0' of task 'mine', template `target`: the tag '2' is none of the labels: O, B-ORG",
        ),
        ({"tokens": ["EU"], "tags": [0, 1]}, r"task 'mine', sample 'test-0': 2 true tags for 1 words"),
        ({"tokens": [], "tags": []}, r"template `target`: expected a text or a list of texts"),
    ],
)
def test_tags_that_do_not_fit_are_refused(write_rows, row, message):
    folder = write_rows([row]).parent
    task = declare(folder, kind="tag", prompt=None, words="{{ tokens }}", target="{{ tags }}", labels=["O", "B-ORG"])
    with pytest.raises(DataError, match=message):
        first(task)


CLASSIFY = {"name": "mood", "source": {"path": "rows.csv"}, "kind": "classify", "prompt": "{{ text }}"}


def classify_task(folder: Path, **keys: object) -> Task:
    (folder / "rows.csv").write_text("text,other,right,grade\nfine,ok,good,4.5\nsad,no,bad,0.5\n")
    return task_from_config(TaskConfig.model_validate({**CLASSIFY, **keys}), folder)


def test_a_classification_is_declared_by_label_names_and_a_column(tmp_path: Path) -> None:
    task = classify_task(tmp_path, labels=["bad", "good"], target="{{ right }}", pair="{{ other }}")

    (shard,) = render(task, Kind.CLASSIFY).shards()
    assert [(r["prompt"], r["pair"], r["continuations"]) for r in shard.requests.to_pylist()] == [("fine", "ok", []), ("sad", "no", [])]
    assert [s["label"] for s in shard.samples.to_pylist()] == [1, 0]
    assert (task.forms[Kind.CLASSIFY].labels, task.forms[Kind.CLASSIFY].metrics) == (("bad", "good"), ("acc",))


def test_a_declared_regression_has_no_labels_and_a_number_as_target(tmp_path: Path) -> None:
    task = classify_task(tmp_path, target="{{ grade }}")

    (shard,) = render(task, Kind.CLASSIFY).shards()
    assert [s["targets"] for s in shard.samples.to_pylist()] == [["4.5"], ["0.5"]]
    assert (task.forms[Kind.CLASSIFY].labels, task.forms[Kind.CLASSIFY].metrics) == ((), ("pearson", "spearman"))


def test_a_classification_without_target_has_no_right_answers(tmp_path: Path) -> None:
    (shard,) = render(classify_task(tmp_path, labels=["bad", "good"]), Kind.CLASSIFY).shards()

    assert [(s["label"], s["targets"]) for s in shard.samples.to_pylist()] == [(None, []), (None, [])]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"kind": "tag", "words": "{{ w }}", "target": "{{ t }}"}, "prompt: a 'tag' task has no such key"),
        ({"kind": "generate", "words": "{{ w }}", "target": "{{ t }}"}, "words: a 'generate' task has no such key"),
        ({"kind": "generate", "labels": ["a"], "target": "{{ t }}"}, "labels: a 'generate' task has no such key"),
        ({"kind": "rolling", "pair": "x"}, "pair: a 'rolling' task has no such key"),
        ({"kind": "classify", "prefix": "x"}, "prefix: a 'classify' task has no such key"),
        ({"kind": "classify", "choices": ["a", "b"]}, "choices: only for kinds loglikelihood, fill and embed"),
        ({"kind": "classify", "labels": ["a", "a"]}, "labels: found a, a. Expected two or more different names; none for a regression"),
        ({"kind": "classify", "labels": []}, "labels: found none. Expected two or more different names"),
    ],
)
def test_what_a_kind_does_not_have_is_refused(folder, keys, message):
    with pytest.raises(ConfigError, match=message):
        declare(folder, **keys)
