"""Rendering: shards, limits, keys, and rows that cannot be asked about."""

from __future__ import annotations

from dataclasses import replace

import pytest

from raybench.core.errors import ConfigError, DataError
from raybench.core.schema import REQUESTS, SAMPLES, SHOTS
from raybench.core.types import Kind, Prompt, Sample
from raybench.tasks.prompts import render
from raybench.tasks.task import Fewshot, Form, Source, Task

ROWS = [{"q": f"question {i}", "o": ["yes", "no"], "right": i % 2} for i in range(10)]


def to_prompt(sample: Sample) -> Prompt:
    return Prompt(text=sample.fields["q"], answer="yes", continuations=sample.choices)


def to_sample(row, default_id) -> Sample:
    return Sample(id=default_id, fields=row, choices=tuple(row["o"]), label=row["right"])


def make_task(file, *, sample=to_sample, prompt=to_prompt, **form) -> Task:
    forms = {kind: Form(to_prompt=prompt, metrics=("acc",), **form) for kind in (Kind.LOGLIKELIHOOD, Kind.GENERATE, Kind.ROLLING)}
    return Task(name="small", version="1", source=Source(path=str(file)), to_sample=sample, forms=forms)


@pytest.fixture
def task(write_rows) -> Task:
    return make_task(write_rows(ROWS), description="Do.\n")


def test_shards_are_half_open_intervals_in_dataset_order(task):
    shards = list(render(task, Kind.GENERATE, shard_size=4).shards())
    assert [(s.start, s.stop, s.samples.num_rows, s.requests.num_rows) for s in shards] == [(0, 4, 4, 4), (4, 8, 4, 4), (8, 10, 2, 2)]
    assert [i for s in shards for i in s.requests["sample_id"].to_pylist()] == [f"test-{i}" for i in range(10)]


def test_tables_have_the_declared_schemas(task):
    rendering = render(task, Kind.LOGLIKELIHOOD, shots=2)
    shard = next(rendering.shards())
    assert (shard.samples.schema, shard.requests.schema, rendering.shots.schema) == (SAMPLES, REQUESTS, SHOTS)


def test_whole_shards_before_a_limit_are_the_same_as_without_it(task):
    everything = list(render(task, Kind.LOGLIKELIHOOD, shots=2, shard_size=4).shards())
    limited = list(render(task, Kind.LOGLIKELIHOOD, shots=2, shard_size=4, limit=6).shards())
    assert (limited[0].samples, limited[0].requests, limited[0].cost) == (everything[0].samples, everything[0].requests, everything[0].cost)
    assert (limited[1].start, limited[1].stop) == (4, 6)


def test_a_limit_beyond_the_end_takes_everything(task):
    assert sum(s.samples.num_rows for s in render(task, Kind.GENERATE, limit=99).shards()) == 10


@pytest.mark.parametrize(
    ("kind", "own", "given", "size"),
    [("generate", None, None, 64), ("rolling", None, None, 256), ("generate", 8, None, 8), ("generate", 8, 5, 5)],
)
def test_the_shard_size_is_the_runs_the_tasks_or_the_kinds(task, kind, own, given, size):
    assert render(replace(task, shard_size=own), Kind(kind), shard_size=given).shard_size == size


def test_the_cost_counts_the_characters_that_a_model_reads(task):
    plain = next(render(task, Kind.LOGLIKELIHOOD, limit=1).shards())
    assert plain.cost == len("Do.\n" + "question 0" + "yes" + "no")
    # an example: question, delimiter, answer, separator
    with_example = next(render(task, Kind.LOGLIKELIHOOD, limit=1, shots=1).shards())
    assert with_example.cost == plain.cost + len("question 1 yes\n\n")


def test_the_unconditional_request_follows_its_sample_bare_and_without_examples(write_rows):
    rows = next(
        render(make_task(write_rows(ROWS), has_unconditional=True), Kind.LOGLIKELIHOOD, shots=1, limit=2).shards()
    ).requests.to_pylist()
    assert [(r["sample_id"], r["request"], r["is_bare"]) for r in rows] == [
        ("test-0", "", False), ("test-0", "uncond", True), ("test-1", "", False), ("test-1", "uncond", True),
    ]  # fmt: skip
    assert (rows[1]["prompt"], rows[1]["shots"], rows[1]["continuations"]) == ("", [], ["yes", "no"])


def test_the_same_rendering_has_the_same_key_and_tables(task):
    first, second = (render(task, Kind.LOGLIKELIHOOD, shots=3) for _ in range(2))
    assert first.key == second.key
    assert [s.requests for s in first.shards()] == [s.requests for s in second.shards()]


def test_whatever_changes_the_tables_changes_the_key(task, write_rows):
    other_rows = replace(task.source, path=str(write_rows(ROWS[:9], "other.jsonl")))
    form = task.forms[Kind.LOGLIKELIHOOD]
    base = {"shots": 2}
    variants = [
        (task, base),
        (task, {**base, "seed": 1}),
        (task, {**base, "sampler": "first_n"}),
        (task, {**base, "limit": 5}),
        (task, {**base, "shard_size": 5}),
        (task, {"shots": 3}),
        (task, {"shots": 0}),
        (replace(task, version="2"), base),
        (replace(task, name="other"), base),
        (replace(task, source=other_rows), base),
        (replace(task, source=replace(task.source, where={"right": 1})), base),
        (replace(task, fewshot=Fewshot(source=other_rows)), base),
        (replace(task, forms={Kind.LOGLIKELIHOOD: replace(form, separator="\n")}), base),
        (replace(task, forms={Kind.LOGLIKELIHOOD: replace(form, to_prompt=Task)}), base),  # defined in another file
    ]
    keys = [render(variant, Kind.LOGLIKELIHOOD, **options).key for variant, options in variants]
    assert len(set(keys)) == len(variants)


def test_without_examples_the_seed_changes_nothing(task):
    assert render(task, Kind.GENERATE, seed=1).key == render(task, Kind.GENERATE, seed=2).key


@pytest.mark.parametrize(
    ("sample", "prompt", "message"),
    [
        (lambda row, i: Sample(id=i, fields=row, targets=(row["answer"],)), to_prompt, r"sample 'test-0' \(row 0 of .*there is no field 'answer'. The row has: q, o, right"),
        (to_sample, lambda s: Prompt(text=s.fields["question"]), "sample 'test-0': no prompt can be made: there is no field 'question'"),
        (lambda row, i: Sample(id=i, fields=row, label=row["o"].index("maybe")), to_prompt, "ValueError: 'maybe' is not in list"),
        (lambda row, i: Sample(id=i, fields=row, choices=("a",), label=row["right"]), to_prompt, "sample 'test-1': label 1 of 1 choices"),
        (lambda row, i: Sample(id=i, fields=row, choices=("a",), label="0"), to_prompt, "label '0' of 1 choices"),
        (lambda row, i: Sample(id=i, fields=row), to_prompt, "0 continuations"),
        (lambda row, i: Sample(id=None, fields=row), to_prompt, "a sample has the id None"),
        (lambda row, i: Sample(id="same", fields=row, choices=("a", "b"), label=0), to_prompt, r"sample ids of .*jsonl occur more than once \(1 of them; rows count from 0\): 'same' \(rows 0, 1, 2, 3, 4\)\. Remove"),
        (lambda row, i: Sample(id=i, fields={"x": float("nan")}, choices=("a",)), lambda s: Prompt(text="", continuations=("a",)), "sample 'test-0': a value cannot be written down"),
        (lambda row, i: Sample(id=i, fields={"x": object()}, choices=("a",)), lambda s: Prompt(text="", continuations=("a",)), "a value cannot be written down"),
        (to_sample, lambda s: Prompt(text="\ud800", continuations=("a",)), "half a surrogate pair at character 0"),
        (to_sample, lambda s: Prompt(text=3, continuations=("a",)), "sample 'test-0': a value cannot be written down"),
    ],
)  # fmt: skip
def test_rows_that_cannot_be_asked_about_are_named(write_rows, sample, prompt, message):
    task = make_task(write_rows(ROWS), sample=sample, prompt=prompt)
    with pytest.raises(DataError, match=f"task 'small'.*{message}"):
        list(render(task, Kind.LOGLIKELIHOOD).shards())


def test_ids_that_come_twice_are_named_by_the_rows_of_the_file_whatever_shard_they_are_in(write_rows):
    rows = [{**ROWS[0], "id": name, "lang": "de" if i % 3 else "en"} for i, name in enumerate("abcdefghijklabcdefghijxy")]
    task = make_task(write_rows(rows), sample=lambda row, i: Sample(id=row["id"], fields=row, choices=tuple(row["o"]), label=0))
    only = replace(task, source=replace(task.source, where={"lang": "de"}))

    with pytest.raises(DataError) as caught:
        list(render(task, Kind.LOGLIKELIHOOD, shard_size=5).shards())
    with pytest.raises(DataError) as of_part:
        list(render(only, Kind.LOGLIKELIHOOD, shard_size=5).shards())

    assert (
        "(10 of them; rows count from 0): 'a' (rows 0, 12), 'b' (rows 1, 13), 'c' (rows 2, 14), 'd' (rows 3, 15), 'e' (rows 4, 16). Remove"
        in (caught.value.message)
    )
    assert "'b' (rows 1, 13), 'c' (rows 2, 14), 'e' (rows 4, 16), " in of_part.value.message
    assert len(list(render(task, Kind.LOGLIKELIHOOD, limit=12).shards())) == 1  # a limit before the first of them


@pytest.mark.parametrize("kind", ["embed", "classify"])
def test_a_form_that_a_task_does_not_have_is_refused(task, kind):
    with pytest.raises(ConfigError, match="cannot be asked as"):
        render(task, Kind(kind))


def test_a_text_to_be_scored_takes_no_examples(task):
    with pytest.raises(ConfigError, match="takes no examples"):
        render(task, Kind.ROLLING, shots=1)


def test_a_limit_of_nothing_is_refused(task):
    with pytest.raises(DataError, match="limit 0 leaves 0 samples"):
        render(task, Kind.GENERATE, limit=0)


def test_a_data_set_without_rows_is_refused(write_rows):
    task = make_task(write_rows([]))
    with pytest.raises(DataError, match="0 rows in split 'test'"):
        list(render(task, Kind.GENERATE).shards())
