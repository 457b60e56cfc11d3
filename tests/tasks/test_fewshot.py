"""Few-shot examples depend on the sample and the seed alone."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raybench.core.errors import DataError
from raybench.core.fingerprint import seed_for
from raybench.core.types import Kind, Prompt, Sample
from raybench.tasks import fewshot
from raybench.tasks.fewshot import draw
from raybench.tasks.prompts import render
from raybench.tasks.task import Fewshot, Form, Source, Task

ROWS = [{"q": f"q{i}", "a": f"a{i}"} for i in range(30)]


def make_task(file, **options) -> Task:
    form = Form(to_prompt=lambda s: Prompt(text=s.fields["q"], answer=s.targets[0]), metrics=("exact_match",))
    return Task(
        name="small", version="1", source=Source(path=str(file)), forms={Kind.GENERATE: form},
        to_sample=lambda row, i: Sample(id=i, fields=row, targets=(row["a"],)), **options,
    )  # fmt: skip


def examples(rendering) -> dict[str, list[str]]:
    """Sample id -> questions of its examples."""
    table = rendering.shots["question"].to_pylist()
    rows = [row for shard in rendering.shards() for row in shard.requests.to_pylist()]
    return {row["sample_id"]: [table[i] for i in row["shots"]] for row in rows}


@given(st.integers(2, 50), st.integers(0, 2**63 - 1), st.data())
def test_a_draw_has_no_repetition_and_never_the_sample_itself(size, seed, data):
    skip = data.draw(st.none() | st.integers(0, size - 1))
    num = data.draw(st.integers(1, size - (skip is not None)))
    found = draw(size, num, seed, skip)
    assert len(set(found)) == num
    assert set(found) <= set(range(size)) - {skip}


def test_every_other_position_can_be_drawn():
    assert {p for seed in range(200) for p in draw(5, 2, seed, 2)} == {0, 1, 3, 4}


def test_seeded_examples_are_a_random_sample_of_the_other_rows(write_rows):
    rendering = render(make_task(write_rows(ROWS)), Kind.GENERATE, shots=3, seed=7)
    for number, (name, questions) in enumerate(examples(rendering).items()):
        others = [row["q"] for i, row in enumerate(ROWS) if i != number]
        # the rule itself: Python's sample over the pool, seeded by run seed, task and sample id
        assert questions == Random(seed_for(7, "small", name, 0, "shots")).sample(others, 3)


@pytest.mark.parametrize("sampler", ["seeded", "first_n"])
@pytest.mark.parametrize("whole_pool", [10_000, 5])
def test_a_limit_or_another_shard_size_changes_no_example(write_rows, monkeypatch, sampler, whole_pool):
    monkeypatch.setattr(fewshot, "WHOLE_POOL", whole_pool)  # 5: as for a large pool, of which only drawn rows are rendered
    task = make_task(write_rows(ROWS))
    options = {"shots": 3, "sampler": sampler, "shard_size": 4}
    everything = render(task, Kind.GENERATE, **options)
    limited = render(task, Kind.GENERATE, **{**options, "limit": 10})
    other = render(task, Kind.GENERATE, **{**options, "shard_size": 7})

    assert examples(everything) == examples(other)
    for ours, theirs, _ in zip(limited.shards(), everything.shards(), range(2), strict=False):
        assert (ours.samples, ours.requests, ours.cost) == (theirs.samples, theirs.requests, theirs.cost)
    assert limited.shots.equals(everything.shots.slice(0, limited.shots.num_rows))


def test_a_large_pool_gives_the_same_examples_as_a_small_one(write_rows, monkeypatch):
    task = make_task(write_rows(ROWS))
    small = examples(render(task, Kind.GENERATE, shots=3))
    monkeypatch.setattr(fewshot, "WHOLE_POOL", 5)
    assert examples(render(task, Kind.GENERATE, shots=3)) == small


def test_another_seed_draws_other_examples(write_rows):
    task = make_task(write_rows(ROWS))
    assert examples(render(task, Kind.GENERATE, shots=3, seed=1)) != examples(render(task, Kind.GENERATE, shots=3, seed=2))


def test_first_n_leaves_the_sample_itself_out(write_rows):
    found = examples(render(make_task(write_rows(ROWS)), Kind.GENERATE, shots=2, sampler="first_n"))
    assert [found[f"test-{i}"] for i in (0, 1, 2, 29)] == [["q1", "q2"], ["q0", "q2"], ["q0", "q1"], ["q0", "q1"]]


def test_first_n_of_another_file_is_the_same_for_all(write_rows):
    pool = Source(path=str(write_rows([{"q": f"p{i}", "a": "x"} for i in range(3)], "train.jsonl")), split="train")
    task = make_task(write_rows(ROWS), fewshot=Fewshot(source=pool, sampler="first_n"))
    assert set(map(tuple, examples(render(task, Kind.GENERATE, shots=2)).values())) == {("p0", "p1")}


def test_a_pool_under_another_name_but_of_the_same_rows_never_shows_the_sample_itself(write_rows):
    file = write_rows(ROWS)
    task = make_task(file, fewshot=Fewshot(source=Source(path=str(file), split="train"), sampler="first_n"))
    assert all(
        f"q{name.removeprefix('test-')}" not in questions for name, questions in examples(render(task, Kind.GENERATE, shots=3)).items()
    )


def test_fixed_examples_come_in_their_order(write_rows):
    task = make_task(write_rows(ROWS), fewshot=Fewshot(sampler="fixed", ids=("test-7", "test-3", "test-5")))
    found = examples(render(task, Kind.GENERATE, shots=2))
    assert (found["test-0"], found["test-7"]) == (["q7", "q3"], ["q3", "q5"])


@pytest.mark.parametrize(
    ("options", "shots", "message"),
    [
        ({}, 30, "30 few-shot examples wanted, .* has 29 besides the sample itself"),
        ({"fewshot": Fewshot(sampler="first_n")}, 30, "has 29 besides the sample itself"),
        ({"fewshot": Fewshot(sampler="fixed", ids=("test-1", "test-2"))}, 2, "has 1 besides the sample itself"),
        ({"fewshot": Fewshot(sampler="fixed", ids=("test-1", "test-99"))}, 1, "has no sample 'test-99'"),
    ],
)
def test_too_small_a_pool_is_an_error(write_rows, options, shots, message):
    rendering = render(make_task(write_rows(ROWS), **options), Kind.GENERATE, shots=shots)
    with pytest.raises(DataError, match=message):
        list(rendering.shards())


def test_an_example_without_an_answer_is_an_error(write_rows):
    task = make_task(write_rows(ROWS))
    task = replace(task, forms={Kind.GENERATE: replace(task.forms[Kind.GENERATE], to_prompt=lambda s: Prompt(text="q"))})
    with pytest.raises(DataError, match=r"sample 'test-0' of the few-shot pool .* no answer to show"):
        list(render(task, Kind.GENERATE, shots=1).shards())
