"""The plan: every sample once, and fingerprints that follow what can change a number and nothing else."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raybench.core.checkpoint import Checkpoint
from raybench.core.config_file import parse
from raybench.core.errors import ConfigError
from raybench.core.types import Asking, Kind, Sampling
from raybench.driver.models import name_models
from raybench.driver.plan import (
    Plan,
    PlannedModel,
    PlannedPair,
    PromptShards,
    describe_pair,
    fingerprints_of,
    plan,
    read_pair,
)
from raybench.driver.survey import plan_run
from tests import own


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])


def planned(**changes: Any) -> Plan:
    """The plan of a run of the fake engine over quickstart/choice in 20 shards, with what a test wants otherwise."""
    tasks = [{"name": "quickstart/choice", "shard_size": 8}]
    return plan_run(parse({"name": "p", "models": ["m"], "tasks": tasks, "engine": {"kind": "fake"}, **changes})).plan


def generating(**changes: Any) -> Plan:
    """The same for quickstart/arithmetic, where a text is generated; `task` changes its entry."""
    task = {"name": "quickstart/arithmetic", "limit": 16, "shard_size": 8, **changes.pop("task", {})}
    return planned(tasks=[task], **changes)


def test_shards_cover_every_sample_of_every_model_and_task_once() -> None:
    found = planned(models=["a", "b"], tasks=["quickstart/choice", {"name": "quickstart/arithmetic", "shard_size": 7}, "quickstart/prose"])

    covered = Counter(
        (int(pair), int(sample))
        for pair, start, stop in zip(found.shard_pair, found.shard_start, found.shard_stop, strict=True)
        for sample in range(start, stop)
    )
    assert set(covered.values()) == {1}
    assert set(covered) == {(p.index, i) for p in found.pairs for i in range(p.num_samples)}
    assert [(p.model_name, p.task, p.num_samples) for p in found.pairs] == [
        (m, t, n) for m in ("a", "b") for t, n in (("quickstart/choice", 160), ("quickstart/arithmetic", 120), ("quickstart/prose", 60))
    ]
    assert found.num_samples == 2 * (160 + 120 + 60)
    assert len(set(found.fingerprints)) == found.num_shards


@settings(max_examples=30)
@given(st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=4), min_size=1, max_size=3), st.integers(1, 3))
def test_columns_of_a_plan_fit_together_whatever_the_sizes(sizes: list[list[int]], num_models: int) -> None:
    config = parse({"name": "p", "models": [f"m{i}" for i in range(num_models)], "tasks": ["t"], "engine": {"kind": "fake"}})
    models = [
        PlannedModel(name=m.checkpoint, checkpoint=Checkpoint(uri=m.checkpoint, identity=m.checkpoint), config=m) for m in config.models
    ]
    prompts = {}
    for i, lengths in enumerate(sizes):
        stop = np.cumsum(lengths, dtype=np.int64)
        digests = [f"{i}-{j}" for j in range(len(lengths))]
        prompts[f"t{i}"] = PromptShards(
            start=stop - np.array(lengths), stop=stop, num_requests=np.array(lengths), cost=np.ones(len(lengths)), digests=digests
        )
    pairs = [
        PlannedPair(
            model=m, task=name, config=config.tasks[0], asking=Asking(task=name, kind=Kind.ROLLING), prompts=name, metrics=("bits_per_byte",),
            task_identity={}, limit=None,
        )
        for m in range(num_models) for name in prompts
    ]  # fmt: skip

    found = plan(config, models, pairs, prompts, versions={}, has_gpus=False)

    assert found.num_shards == len(found.shard_cost) == num_models * sum(map(len, sizes))
    for pair in found.pairs:
        rows = slice(pair.first_shard, pair.stop_shard)
        assert set(found.shard_pair[rows]) == {pair.index}
        assert list(found.shard_index[rows]) == list(range(len(pair.shards)))
        assert list(found.shard_stop[rows]) == list(prompts[pair.prompts].stop)
        assert found.fingerprints[rows] == fingerprints_of(pair.identity, prompts[pair.prompts].digests)
        assert found.spec_model[pair.spec] == pair.model
    assert len(set(found.fingerprints)) == found.num_shards
    assert list(found.shard_spec) == [found.pairs[p].spec for p in found.shard_pair]


SAME: dict[str, dict[str, Any]] = {
    "engines": {"resources": {"engines": 7}},
    "pool": {"pool": "ray"},
    "resources": {"resources": {"cpus_per_engine": 3, "memory_gb": 2, "custom": {"x": 1}}},
    "output": {"output": "elsewhere"},
    "name": {"name": "q"},
    "attempts": {"max_attempts": 9, "stall_timeout_s": 5, "max_row_errors": 3},
    "bootstrap": {"bootstrap": 3},
    "a seed where nothing is drawn": {"seed": 1},
    "the model's name in tables": {"models": [{"checkpoint": "m", "name": "n"}]},
    "options that cost time only": {"engine": {"kind": "fake", "shard_s": 1, "start_s": 1, "concurrency": 4}},
    "a model beside it": {"models": ["m", "other"]},
    "sampling of a task that generates nothing": {"sampling": {"temperature": 1.0}},
    "metrics": {"tasks": [{"name": "quickstart/choice", "shard_size": 8, "metrics": ["acc"]}]},
}


@pytest.mark.parametrize("name", SAME)
def test_what_cannot_change_a_number_leaves_every_fingerprint(name: str) -> None:
    assert planned(**SAME[name]).fingerprints[:20] == planned().fingerprints


def test_the_same_input_gives_the_same_plan() -> None:
    assert planned().describe() == planned().describe()


OTHER: dict[str, dict[str, Any]] = {
    "the checkpoint": {"models": ["n"]},
    "the engine's answer": {"engine": {"kind": "fake", "answer": "first"}},
    "dtype": {"engine": {"kind": "fake", "dtype": "bfloat16"}},
    "threads": {"engine": {"kind": "fake", "threads": 1}},
    "batch_tokens": {"engine": {"kind": "fake", "batch_tokens": 1}},
    "max_length": {"engine": {"kind": "fake", "max_length": 100}},
    "overlong": {"engine": {"kind": "fake", "overlong": "truncate_left"}},
    "a model's engine block": {"models": [{"checkpoint": "m", "engine": {"threads": 1}}]},
    "a task's engine block": {"task": {"engine": {"threads": 1}}},
    "max_tokens": {"sampling": {"max_tokens": 5}},
    "what ends a trace": {"models": [{"checkpoint": "m", "think_end": "</think>"}]},
    "tokens kept": {"keep_tokens": True},
    "stops": {"task": {"sampling": {"stop": ["x"]}}},
    "a model's sampling": {"models": [{"checkpoint": "m", "sampling": {"repetition_penalty": 1.1}}]},
    "temperature": {"sampling": {"temperature": 0.5}},
    "repeats": {"sampling": {"temperature": 0.5}, "task": {"repeats": 2}},
    "shots": {"task": {"shots": 3}},
    "how examples are drawn": {"task": {"fewshot": "seeded"}},
    "shard borders": {"task": {"shard_size": 4}},
    "the label": {"task": {"label": "mine"}},
    "the chat template": {"models": [{"checkpoint": "m", "chat_template": "auto"}]},
    "the system prompt": {"models": [{"checkpoint": "m", "chat_template": "auto", "system_prompt": "s"}]},
    "examples as turns": {"models": [{"checkpoint": "m", "chat_template": "auto", "fewshot_as_multiturn": False}]},
    "the tokenizer": {"models": [{"checkpoint": "m", "tokenizer": "org/other"}]},
    "the engine": {"engine": {"kind": "tests.own:OwnEngine"}},
}


@pytest.mark.parametrize("name", OTHER)
def test_what_can_change_a_number_changes_every_fingerprint(name: str, tmp_path: Path) -> None:
    changes = dict(OTHER[name])
    if changes.get("engine", {}).get("kind") == "tests.own:OwnEngine":
        (tmp_path / "m").write_text("weights")
        changes["models"] = [str(tmp_path / "m")]

    assert not set(generating(**changes).fingerprints) & set(generating().fingerprints)


def test_every_one_of_these_changes_is_a_different_change() -> None:
    # threads are changed in three places
    names = [n for n in OTHER if n not in ("the engine", "a model's engine block", "a task's engine block")]

    found = [generating(**OTHER[n]).fingerprints[0] for n in names]

    assert len(set(found)) == len(names)


@pytest.mark.parametrize(
    "changes",
    [{"sampling": {"temperature": 0.5}}, {"task": {"fewshot": "seeded"}}],
    ids=["an answer is drawn", "examples are drawn"],
)
def test_the_seed_is_part_of_a_fingerprint_where_something_is_drawn(changes: dict[str, Any]) -> None:
    assert generating(seed=1).fingerprints == generating(seed=0).fingerprints
    assert not set(generating(**changes, seed=1).fingerprints) & set(generating(**changes, seed=0).fingerprints)


def test_versions_of_the_engine_s_libraries_change_every_fingerprint(tiny_llama: Path) -> None:
    found = planned(models=[str(tiny_llama)], engine={"kind": "pytorch"})

    assert found.pairs[0].identity["engine"]["versions"].startswith("torch-")
    assert " transformers-" in found.pairs[0].identity["engine"]["versions"]
    assert "+" not in found.pairs[0].identity["engine"]["versions"]


def test_the_content_of_a_checkpoint_counts_and_not_its_place(tiny_llama: Path, other_llama: Path, tmp_path: Path) -> None:
    copy = tmp_path / "moved"
    copy.mkdir()
    for file in tiny_llama.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())

    def fingerprints(model: Path) -> set[str]:
        return set(planned(models=[str(model)]).fingerprints)

    assert fingerprints(copy) == fingerprints(tiny_llama)
    assert not fingerprints(other_llama) & fingerprints(tiny_llama)


def test_the_content_of_a_tokenizer_folder_counts(tiny_llama: Path, tmp_path: Path) -> None:
    def fingerprints() -> set[str]:
        return set(planned(models=[{"checkpoint": "m", "tokenizer": str(tmp_path)}]).fingerprints)

    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((tiny_llama / name).read_bytes())
    before = fingerprints()
    (tmp_path / "tokenizer_config.json").write_text('{"chat_template": "another"}')

    assert not fingerprints() & before


def test_data_template_and_version_of_a_task_count(tmp_path: Path) -> None:
    rows = [{"says": str(i), "target": "x", "more": "a"} for i in range(10)]

    def fingerprints(rows: list[dict[str, Any]], **changes: Any) -> set[str]:
        return set(planned(tasks=[own.echo_task(tmp_path / "test.jsonl", rows, shard_size=5, **changes)]).fingerprints)

    before = fingerprints(rows)
    changed = [{**r, "says": "!"} if r["says"] == "9" else r for r in rows]
    assert fingerprints(rows) == before
    assert not fingerprints(changed) & before  # a row of the second shard: the file is another one, and so is its digest
    assert not fingerprints([{**r, "more": "b"} for r in rows]) & before
    assert not fingerprints(rows, prompt="{{ says }} ") & before
    assert not fingerprints(rows, description="Answer.") & before
    assert not fingerprints(rows, target="{{ more }}") & before


def test_whole_shards_under_a_limit_are_those_without_it() -> None:
    whole = planned(tasks=[{"name": "quickstart/choice", "shard_size": 8, "shots": 2, "fewshot": "seeded"}])

    limited = planned(tasks=[{"name": "quickstart/choice", "shard_size": 8, "shots": 2, "fewshot": "seeded", "limit": 20}])

    assert limited.fingerprints[:2] == whole.fingerprints[:2]
    assert limited.fingerprints[2] not in whole.fingerprints
    assert (limited.num_shards, limited.num_samples) == (3, 20)


def test_the_smaller_of_two_limits_counts() -> None:
    task = {"name": "quickstart/choice", "limit": 20}

    assert planned(tasks=[task], limit=5).num_samples == 5
    assert planned(tasks=[task], limit=50).num_samples == 20


def test_two_engines_and_three_shapes_are_planned_as_they_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("w")
    own_engine = {"kind": "tests.own:OwnEngine", "colour": "red"}
    found = planned(
        models=[
            {"checkpoint": "a"},
            {"checkpoint": "b"},
            {"checkpoint": "c", "resources": {"cpus_per_engine": 3, "engines": 2}},
            {"checkpoint": str(tmp_path / "weights"), "name": "d", "engine": own_engine, "resources": {"gpus_per_engine": 0.5}},
        ],
        tasks=["quickstart/choice", {"name": "quickstart/arithmetic", "engine": {"threads": 1}}],
        engine={"kind": "fake", "threads": 2},
        resources={"gpus_per_engine": 0},
    )

    # (kind, checkpoint, threads) of every pair's engine, and what it takes
    def told(index: int) -> tuple[Any, ...]:
        pair = found.pairs[index]
        spec, shape = found.specs[pair.spec], found.shapes[found.spec_shape[pair.spec]]
        return spec.kind, pair.model_name, spec.options["threads"], dict(shape.demand), shape.max_engines

    assert [told(i) for i in range(8)] == [
        ("fake", "a", 2, {"engine": 1.0, "CPU": 2.0}, None),
        ("fake", "a", 1, {"engine": 1.0, "CPU": 1.0}, None),
        ("fake", "b", 2, {"engine": 1.0, "CPU": 2.0}, None),
        ("fake", "b", 1, {"engine": 1.0, "CPU": 1.0}, None),
        ("fake", "c", 2, {"engine": 1.0, "CPU": 3.0}, 2),
        ("fake", "c", 1, {"engine": 1.0, "CPU": 3.0}, 2),
        ("tests.own:OwnEngine", "d", 2, {"engine": 1.0, "CPU": 1.0, "GPU": 0.5}, None),
        ("tests.own:OwnEngine", "d", 1, {"engine": 1.0, "CPU": 1.0, "GPU": 0.5}, None),
    ]
    # two checkpoints run in the same way can follow each other in one process; with other threads they cannot
    assert found.spec_shape[found.pairs[0].spec] == found.spec_shape[found.pairs[2].spec] != found.spec_shape[found.pairs[1].spec]
    assert found.specs[found.pairs[6].spec].options["colour"] == "red"
    assert len(found.specs) == 8


def test_other_resources_for_one_task_leave_the_plan_as_it_is_described() -> None:
    tasks: list[Any] = ["quickstart/choice", "quickstart/prose"]
    changed = [tasks[0], {"name": tasks[1], "resources": {"engines": 2, "cpus_per_engine": 1}}]

    assert planned(tasks=changed).describe() == planned(tasks=tasks).describe()


def test_a_pair_is_read_as_it_was_described() -> None:
    for pair in generating(sampling={"temperature": 0.5, "stop": ["a", "b"]}).pairs:
        written = json.loads(json.dumps(describe_pair(pair)))
        again = read_pair(written)

        assert json.loads(json.dumps(describe_pair(again))) == written
        assert again.asking == pair.asking
        assert isinstance(again.asking.sampling, Sampling)
        assert (again.model_name, again.task, again.kind, again.metrics) == (pair.model_name, pair.task, pair.kind, pair.metrics)


@pytest.mark.parametrize(
    ("candidates", "expected"),
    [
        ([(None, "org/name")], ["name"]),
        ([(None, "./out/checkpoint-10/"), (None, "./out/checkpoint-20")], ["checkpoint-10", "checkpoint-20"]),
        ([(None, "a/name"), (None, "b/name")], ["a/name", "b/name"]),
        ([(None, "org/name@s1"), (None, "org/name@s2")], ["name@s1", "name@s2"]),
        ([("mine", "a/name"), (None, "b/name")], ["mine", "name"]),
        ([(None, "package://module/model.gguf")], ["model"]),
        ([(None, "")], ["model"]),
    ],
)
def test_models_are_named_as_shortly_as_they_can_be_told_apart(candidates: list[tuple[str | None, str]], expected: list[str]) -> None:
    assert name_models(candidates) == expected


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        ([("a", "x"), ("a", "y")], "the name 'a' stands twice"),
        ([(None, "x"), (None, "x")], "'x' stands twice. To run a checkpoint in two ways, give each entry a `name`"),
        ([("name", "x"), (None, "org/name")], None),
    ],
)
def test_two_models_of_one_name_are_refused(candidates: list[tuple[str | None, str]], message: str | None) -> None:
    if message is None:
        assert name_models(candidates) == ["name", "org/name"]
        return
    with pytest.raises(ConfigError, match=message):
        name_models(candidates)
