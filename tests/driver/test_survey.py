"""What a run would do, told without doing it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raybench.core.config import RunConfig
from raybench.core.config_file import parse
from raybench.core.errors import ConfigError
from raybench.driver.run import run
from raybench.driver.survey import plan_run


def config(folder: Path, **changes: Any) -> RunConfig:
    base: dict[str, Any] = {"name": "s", "models": ["m"], "tasks": ["quickstart/choice"], "engine": {"kind": "fake"}, "bootstrap": 0}
    return parse({**base, "output": str(folder / "run"), **changes})


def test_pairs_are_told_in_numbers(tmp_path: Path) -> None:
    task = {"name": "quickstart/choice", "shard_size": 16, "metrics": ["acc_mutual_info"]}

    (row,) = plan_run(config(tmp_path, tasks=[task])).pairs()

    assert (row["model"], row["task"], row["form"]) == ("m", "quickstart/choice", "loglikelihood")
    assert (row["samples"], row["shards"]) == (160, 10)
    assert row["requests"] == 320  # the question, and its options alone
    assert row["engine"] == "fake float32 on cpu"


def test_repeats_multiply_requests_and_characters(tmp_path: Path) -> None:
    def row(repeats: int) -> dict[str, Any]:
        task = {"name": "quickstart/arithmetic", "repeats": repeats, "sampling": {"temperature": 1}}
        return dict(plan_run(config(tmp_path, tasks=[task])).pairs()[0])

    assert (row(3)["requests"], row(3)["characters"]) == (3 * row(1)["requests"], 3 * row(1)["characters"])
    assert row(3)["samples"] == row(1)["samples"] == 120


def test_planning_leaves_nothing_behind(tmp_path: Path) -> None:
    plan_run(config(tmp_path))

    assert list(tmp_path.iterdir()) == []


def test_shards_that_are_there_already_are_counted(tmp_path: Path) -> None:
    limited = config(tmp_path, limit=32, tasks=[{"name": "quickstart/choice", "shard_size": 16}])
    assert plan_run(limited).num_done == 0
    run(limited)

    assert plan_run(limited).num_done == 2
    assert plan_run(limited.model_copy(update={"limit": None})).num_done == 2


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "local"),
        ({"pool": "ray"}, "ray"),
        ({"pool": "local", "resources": {"engines": 4}}, "local"),
        ({"resources": {"engines": 1}}, "local"),
        ({"resources": {"engines": 2}}, "ray"),
        ({"models": [{"checkpoint": "m", "resources": {"engines": 2}}]}, "ray"),
        ({"tasks": [{"name": "quickstart/choice", "resources": {"engines": 2}}]}, "ray"),
        ({"ray": {"address": "localhost:6379"}}, "ray"),
    ],
)
def test_the_place_of_the_engines_follows_from_the_configuration(changes: dict[str, Any], expected: str, tmp_path: Path) -> None:
    assert plan_run(config(tmp_path, **changes)).pool == expected


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"repeats": 2}, "2 repeats of a greedy answer are all the same; set sampling.temperature"),
        ({"form": "loglikelihood"}, r"'loglikelihood' is none of its forms \(generate\)"),
        ({"form": "generat"}, "Did you mean 'generate'"),
        ({"metrics": ["acc"]}, "metric 'acc' is for classify, fill, loglikelihood"),
        ({"metrics": ["exact_mach"]}, "Did you mean 'exact_match'"),
        (
            {"metrics": ["pass@4"], "repeats": 2, "sampling": {"temperature": 1}},
            "metric 'pass@4' needs 4 answers to each sample, repeats is 2",
        ),
    ],
)
def test_what_cannot_work_is_refused_before_an_engine_starts(task: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        plan_run(config(tmp_path, tasks=[{"name": "quickstart/arithmetic", **task}]))


def test_repeats_of_what_counts_every_sample_once_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="metric 'f1_macro' counts every sample once, repeats is 2"):
        plan_run(config(tmp_path, tasks=[{"name": "quickstart/choice", "metrics": ["f1_macro"], "repeats": 2}]))


def test_an_architecture_that_answers_nothing_is_refused(tmp_path: Path, tiny_llama: Path) -> None:
    import json
    import shutil

    folder = tmp_path / "encoder"
    shutil.copytree(tiny_llama, folder)
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**content, "architectures": ["BertForNothing"]}))

    with pytest.raises(ConfigError, match=r"serves nothing for its architecture BertForNothing"):
        plan_run(config(tmp_path, models=[str(folder)], engine={"kind": "pytorch"}))


def test_a_model_that_carries_a_chat_template_and_runs_without_it_is_warned_of(tmp_path: Path, tiny_llama: Path) -> None:
    plain = plan_run(config(tmp_path, models=[str(tiny_llama)], engine={"kind": "pytorch"}))
    chat = plan_run(config(tmp_path, models=[{"checkpoint": str(tiny_llama), "chat_template": "auto"}], engine={"kind": "pytorch"}))

    (warning,) = plain.prepared.warnings
    assert f"{tiny_llama.name} carries a chat template and runs without it" in warning
    assert chat.prepared.warnings == []
