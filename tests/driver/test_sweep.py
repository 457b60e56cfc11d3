"""A sweep is one run: a ladder of real checkpoints in one table, engines that keep and swap what they hold, overrides of every sort."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raybench.core.config import RunConfig
from raybench.core.config_file import load, parse
from raybench.core.errors import CheckpointError, RunError
from raybench.core.results import Results
from raybench.core.types import Kind, Prompt, Sample, Sampling
from raybench.driver.run import Report, run
from raybench.driver.survey import plan_run
from raybench.report import render
from raybench.tasks import quickstart
from raybench.tasks.task import Form, Source, Task
from tests.driver.runs import ROOT, command, content_rows, events_of, fake_config, read_rows, results_of, write_config

CONFIGS = ROOT / "configs"
LADDER = ["checkpoint-2", "checkpoint-10", "checkpoint-100", "checkpoint-400"]


def answered_sample(row: dict[str, Any], default_id: str) -> Sample:
    sample = quickstart.choice_sample(row, default_id)
    return replace(sample, targets=(row["choices"][row["answer"]],))


def lined_prompt(sample: Sample) -> Prompt:
    return Prompt(text=f"{sample.fields['question']}\n")


TWO_WAYS = Task(
    name="own/two-ways",
    version="1",
    source=Source(path="package://raybench.tasks/data/quickstart_choice.jsonl", split="choice"),
    to_sample=answered_sample,  # type: ignore[arg-type]  # a row is a dictionary here
    forms={
        Kind.LOGLIKELIHOOD: Form(to_prompt=quickstart.choice_prompt, metrics=("acc",)),
        Kind.GENERATE: Form(to_prompt=lined_prompt, metrics=("exact_match",), sampling=Sampling(max_tokens=12)),
    },
)
"""The questions of quickstart/choice, with options or without."""
TWO = "tests.driver.test_sweep:TWO_WAYS"


def train(folder: Path, steps: str) -> None:
    """The documented command."""
    script = CONFIGS / "sweeps" / "train_ladder.py"
    done = subprocess.run([sys.executable, script, folder, "--steps", steps], capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with out/ladder, as the commands of ladder.yaml leave it; not to be written to."""
    folder = tmp_path_factory.mktemp("sweep")
    train(folder / "out" / "ladder", ",".join(name.removeprefix("checkpoint-") for name in LADDER))
    return folder


@pytest.fixture
def ladder(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of out/ladder in the folder where the commands are given."""
    shutil.copytree(trained / "out", tmp_path / "out")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "out" / "ladder"


def ladder_config(*settings: str, **changes: Any) -> RunConfig:
    """The shipped ladder.yaml."""
    return load(CONFIGS / "sweeps" / "ladder.yaml", ["bootstrap=50", *settings]).model_copy(update=changes)


def values(results: Results, metric: str) -> dict[str, float | None]:
    return {r.model: r.estimate.value for r in results.results if r.metric == metric}


def loaded(output: Path) -> dict[int, list[tuple[str, str]]]:
    """What each engine was given to hold, in order: (how, model)."""
    found: dict[int, list[tuple[str, str]]] = {}
    for event in events_of(output, "engine_started"):
        found.setdefault(event["engine"], []).append((event["loaded"], event["model"]))
    return found


# ---- the ladder


@pytest.mark.slow
def test_the_curve_of_a_ladder_rises_and_stands_in_one_table_in_natural_order(ladder: Path) -> None:
    report = run(ladder_config())

    curve = values(report.results, "exact_match")
    assert report.exit_code == 0
    assert list(curve) == list(values(report.results, "acc")) == LADDER
    first, *_, last = curve.values()
    assert first is not None
    assert last is not None
    assert first < 0.05
    assert last > 0.9
    header = render([report.results], "markdown").splitlines()[0]
    assert [header.index(f"{name} ") for name in LADDER] == sorted(header.index(f"{name} ") for name in LADDER)


@pytest.mark.slow
def test_training_the_same_seed_again_gives_the_same_files(trained: Path, tmp_path: Path) -> None:
    train(tmp_path, "2")

    first = trained / "out" / "ladder"
    for name in ("addition.jsonl", "addition_choice.jsonl", "checkpoint-2/model.safetensors", "checkpoint-2/tokenizer.json"):
        assert (tmp_path / name).read_bytes() == (first / name).read_bytes(), name


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["local", pytest.param("ray", marks=[pytest.mark.ray, pytest.mark.xdist_group("ray")])])
def test_one_engine_swaps_all_checkpoints_in_once_and_answers_as_a_fresh_one(ladder: Path, tmp_path: Path, pool: str) -> None:
    settings = ["pool=" + pool, "resources.engines=1", "resources.cpus_per_engine=0.1"]
    run(ladder_config(*settings, "output=runs/swept"))
    for name in LADDER:
        run(ladder_config("pool=local", f"output=runs/{name}", f"models.0.checkpoint=out/ladder/{name}"))

    (held,) = loaded(tmp_path / "runs/swept").values()
    assert held == list(zip(["fresh", "swap", "swap", "swap"], LADDER, strict=True))
    alone = [row for name in sorted(LADDER) for row in read_rows(tmp_path / "runs" / name)]
    assert all(loaded(tmp_path / "runs" / name) == {0: [("fresh", name)]} for name in LADDER)
    assert read_rows(tmp_path / "runs/swept") == alone
    assert len(alone) == 2 * 300 * len(LADDER)


@pytest.mark.slow
def test_a_checkpoint_that_comes_later_stops_the_same_command_and_is_named(ladder: Path, tmp_path: Path) -> None:
    config = ladder_config("limit=8", "output=runs/frozen")
    run(config)
    manifest = json.loads((tmp_path / "runs/frozen/manifest.json").read_text())
    rows = content_rows(tmp_path / "runs/frozen")
    shutil.copytree(ladder / "checkpoint-400", ladder / "checkpoint-500")

    with pytest.raises(RunError, match=r"holds a run with another plan[^$]*models\[4\]: \(absent\) -> [^$]*checkpoint-500"):
        run(config)

    frozen = [Path(m["checkpoint"]).name for m in manifest["content"]["plan"]["models"]]
    assert frozen == LADDER
    assert content_rows(tmp_path / "runs/frozen") == rows


def break_siblings(ladder: Path) -> None:
    """Three more rungs: NaN in one tensor, a file cut short, a configuration that does not fit the weights."""
    from safetensors.torch import load_file, save_file

    for step in (500, 600, 700):
        shutil.copytree(ladder / "checkpoint-400", ladder / f"checkpoint-{step}")
    weights = load_file(ladder / "checkpoint-500/model.safetensors")
    weights["model.layers.1.mlp.down_proj.weight"].fill_(float("nan"))
    save_file(weights, ladder / "checkpoint-500/model.safetensors", metadata={"format": "pt"})
    cut = ladder / "checkpoint-600/model.safetensors"
    cut.write_bytes(cut.read_bytes()[:-1000])
    config = ladder / "checkpoint-700/config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "intermediate_size": 96}))


@pytest.mark.slow
def test_broken_siblings_are_reported_with_reasons_and_the_others_complete(ladder: Path) -> None:
    break_siblings(ladder)

    report = run(ladder_config("limit=40"))

    assert report.exit_code == 4
    whole = values(report.results, "exact_match")
    assert list(whole) == [*LADDER, "checkpoint-500"]
    assert all(whole[name] is not None for name in LADDER)
    assert whole["checkpoint-500"] is None
    assert "checkpoint-500 addition: 40 of 40 samples have no answer (nonfinite 40)" in "\n".join(report.results.warnings)
    failed = report.results.failed_models
    assert list(failed) == ["checkpoint-600", "checkpoint-700"]
    assert "model.safetensors: truncated" in failed["checkpoint-600"]
    assert "checkpoint-700" in failed["checkpoint-700"]
    problems = "\n".join(report.problems)
    assert all(f"checkpoint-{step}" in problems for step in (500, 600, 700))
    table = render([report.results], "markdown")
    assert all(f"checkpoint-{step}" in table.splitlines()[0] for step in (500, 600, 700))


@pytest.mark.slow
def test_a_broken_file_ends_a_run_that_skips_none_before_anything_starts(
    ladder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_siblings(ladder)

    code = command(
        monkeypatch, "run", CONFIGS / "sweeps" / "ladder.yaml", "--set", "on_broken_checkpoint=fail", "--output", tmp_path / "failed"
    )

    assert code == 2
    assert not (tmp_path / "failed" / "manifest.json").exists()
    assert not (tmp_path / "failed" / "events").exists()


# ---- policies and overrides


@pytest.mark.parametrize(("models", "policy"), [(("fine", "broken"), "fail"), (("broken",), None)])
def test_a_checkpoint_that_breaks_when_it_is_loaded_ends_a_run_that_skips_none(
    models: tuple[str, ...], policy: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = fake_config(
        tmp_path / "run",
        models=[{"checkpoint": name} for name in models],
        engine={"broken": ["broken"]},
        on_broken_checkpoint=policy,
        resources={"engines": 1},
    )

    with pytest.raises(CheckpointError, match="broken"):
        run(config)

    assert command(monkeypatch, "run", write_config(tmp_path, config)) == 2
    assert len(read_rows(tmp_path / "run")) == 48 * (len(models) - 1)


def test_a_checkpoint_that_breaks_when_it_is_loaded_leaves_the_others_of_a_sweep_running(tmp_path: Path) -> None:
    report = run(fake_config(tmp_path / "run", models=["one", "broken", "two"], engine={"broken": ["broken"]}))

    assert report.exit_code == 4
    assert list(values(report.results, "acc")) == ["one", "two"]
    assert list(report.results.failed_models) == ["broken"]


def test_a_model_is_asked_in_its_own_form_unless_the_task_says_otherwise(tmp_path: Path) -> None:
    written = {"checkpoint": "writes", "forms": {"open": "generate", "both": "generate"}}
    tasks = [{"name": TWO, "label": "open", "limit": 20}, {"name": TWO, "label": "both", "form": "loglikelihood", "limit": 20}]

    report = run(fake_config(tmp_path / "run", models=["chooses", written], tasks=tasks))

    asked = {(r.model, r.task): (r.form, r.metric) for r in report.results.results}
    assert asked == {
        ("chooses", "open"): ("loglikelihood", "acc"),
        ("chooses", "both"): ("loglikelihood", "acc"),
        ("writes", "open"): ("generate", "exact_match"),
        ("writes", "both"): ("loglikelihood", "acc"),
    }
    by_model = {
        m: [r["sample_id"] for r in read_rows(tmp_path / "run") if (r["model"], r["task"]) == (m, "open")] for m in ("chooses", "writes")
    }
    assert by_model["chooses"] == by_model["writes"]


def mixed_config(output: Path, tiny_llama: Path, pool: str) -> RunConfig:
    """Two kinds of engine, two formats of numbers, three shapes of resources; tasks with overrides of their own."""
    return parse(
        {
            "name": "mixed",
            "models": [
                {"checkpoint": str(tiny_llama), "name": "plain"},
                {
                    "checkpoint": str(tiny_llama), "name": "narrow", "engine": {"dtype": "bfloat16"},
                    "resources": {"custom": {"slot": 1}}, "sampling": {"max_tokens": 6},
                },
                {"checkpoint": "made-up", "name": "faked", "engine": {"kind": "fake"}, "resources": {"cpus_per_engine": 0.2}},
            ],
            "tasks": [
                {"name": TWO, "label": "chosen", "limit": 24, "shard_size": 8},
                {
                    "name": TWO, "label": "written", "limit": 24, "shard_size": 8, "form": "generate", "repeats": 2,
                    "sampling": {"temperature": 0.7, "top_p": 0.9},
                },
                {"name": "quickstart/prose", "limit": 6, "shard_size": 3, "engine": {"dtype": "bfloat16"}, "resources": {"engines": 1}},
            ],
            "engine": {"kind": "pytorch", "threads": 1},
            "resources": {"cpus_per_engine": 0.1, "engines": 2},
            "pool": pool,
            "bootstrap": 50,
            "output": str(output),
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def mixed_locally(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path) -> Report:
    return run(mixed_config(tmp_path_factory.mktemp("mixed") / "local", tiny_llama, "local"))


@pytest.fixture
def cluster_with_slot() -> Iterator[None]:
    """A cluster of this machine that offers a custom resource; runs in this process join it."""
    import ray

    ray.init(address="local", num_cpus=2, resources={"slot": 1}, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    yield
    ray.shutdown()


def test_overrides_of_engine_sampling_and_form_reach_the_plan_of_each_pair(tiny_llama: Path, tmp_path: Path) -> None:
    plan = plan_run(mixed_config(tmp_path / "planned", tiny_llama, "local")).plan

    found = {
        (p.model_name, p.task): (p.kind.value, plan.specs[p.spec].kind, plan.specs[p.spec].options["dtype"], p.asking.sampling)
        for p in plan.pairs
    }
    drawn = Sampling(max_tokens=12, temperature=0.7, top_p=0.9)
    assert found == {
        ("plain", "chosen"): ("loglikelihood", "pytorch", "float32", None),
        ("plain", "written"): ("generate", "pytorch", "float32", drawn),
        ("plain", "quickstart/prose"): ("rolling", "pytorch", "bfloat16", None),
        ("narrow", "chosen"): ("loglikelihood", "pytorch", "bfloat16", None),
        ("narrow", "written"): ("generate", "pytorch", "bfloat16", replace(drawn, max_tokens=6)),
        ("narrow", "quickstart/prose"): ("rolling", "pytorch", "bfloat16", None),
        ("faked", "chosen"): ("loglikelihood", "fake", "float32", None),
        ("faked", "written"): ("generate", "fake", "float32", drawn),
        ("faked", "quickstart/prose"): ("rolling", "fake", "bfloat16", None),
    }
    demands = {tuple(sorted(shape.demand.items())) for shape in plan.shapes}
    assert demands == {
        (("CPU", 0.1), ("engine", 1.0)),
        (("CPU", 0.1), ("engine", 1.0), ("slot", 1.0)),
        (("CPU", 0.2), ("engine", 1.0)),
    }


def test_a_plan_of_two_engine_kinds_and_three_shapes_completes_in_one_process(mixed_locally: Report) -> None:
    assert mixed_locally.exit_code == 0, mixed_locally.problems
    assert len(read_rows(mixed_locally.path)) == 3 * (24 + 2 * 24 + 6)
    assert all(r.estimate.num_errors == 0 for r in mixed_locally.results.results)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.xdist_group("ray")
@pytest.mark.usefixtures("cluster_with_slot")
def test_a_plan_of_two_engine_kinds_and_three_shapes_gives_the_same_on_a_cluster(
    mixed_locally: Report, tiny_llama: Path, tmp_path: Path
) -> None:
    report = run(mixed_config(tmp_path / "ray", tiny_llama, "ray"))

    assert report.exit_code == 0, report.problems
    assert content_rows(report.path) == content_rows(mixed_locally.path)
    assert results_of(report.path) == results_of(mixed_locally.path)
    for held in loaded(report.path).values():
        models = [model for _, model in held]
        assert len(models) == len(set(models))  # a shape never brings a checkpoint into an engine twice


# ---- what is shipped


@pytest.mark.parametrize("path", sorted(p.relative_to(CONFIGS).as_posix() for p in CONFIGS.rglob("*.yaml")))
def test_a_shipped_configuration_loads(path: str) -> None:
    config = load(CONFIGS / path)

    assert config.models
    assert config.tasks
