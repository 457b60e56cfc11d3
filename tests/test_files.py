"""Files that are shipped beside the code: configurations that load and plan, pins that fit, a Makefile that names what exists."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from raybench.core.config import RunConfig
from raybench.core.config_file import load
from raybench.core.errors import CheckpointError, DataError
from raybench.driver.catalog import open_catalog
from raybench.driver.run import run
from raybench.driver.survey import plan_run
from raybench.tasks.harness.library import HarnessTask

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def is_here(config: RunConfig) -> bool:
    """Whether the checkpoints of a configuration are on this machine without a network."""
    uris = [m.checkpoint for m in config.models]
    packages = [uri.removeprefix("package://").partition("/")[0] for uri in uris]
    return all(uri.startswith("package://") and importlib.util.find_spec(p) is not None for uri, p in zip(uris, packages, strict=True))


def test_there_are_configurations() -> None:
    assert "configs/quickstart.yaml" in map(name_of, CONFIGS)


@pytest.mark.parametrize("path", CONFIGS, ids=name_of)
def test_a_configuration_loads_and_its_tasks_and_metrics_exist(path: Path) -> None:
    config = load(path)

    for entry in open_catalog(config).entries:
        for kind in entry.task.forms:
            if entry.config.form in (None, kind.value):
                is_theirs = isinstance(entry.task, HarnessTask)
                assert entry.task.declared["metric_list"] if is_theirs else entry.form(kind).metrics
    assert config.name == path.stem


@pytest.mark.parametrize("path", CONFIGS, ids=name_of)
def test_a_configuration_says_at_its_top_what_it_is_for(path: Path) -> None:
    first = path.read_text().splitlines()[0]

    assert first.startswith("# ")
    assert len(first.split()) > 4


@pytest.mark.parametrize("path", CONFIGS, ids=name_of)
def test_a_configuration_plans_where_its_models_are_installed(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = load(path, [f"output={tmp_path / 'run'}"])
    if not is_here(config):
        pytest.skip("its models are not part of an installation")
    monkeypatch.chdir(ROOT)

    survey = plan_run(config)

    assert survey.plan.num_shards > 0
    assert all(m.failed is None for m in survey.plan.models)


@pytest.mark.parametrize("path", CONFIGS, ids=name_of)
def test_a_configuration_plans_with_the_fake_engine_where_its_data_is_here(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    fake = ["engine={kind: fake}", "models=[m]"]

    try:
        survey = plan_run(load(path, fake))
    except (DataError, CheckpointError) as error:
        pytest.skip(f"its data is elsewhere: {error.message.splitlines()[0][:80]}")

    assert survey.plan.num_samples > 0


@pytest.mark.parametrize("path", sorted((ROOT / "configs/classify").glob("*.yaml")), ids=name_of)
def test_a_classification_from_a_file_runs_by_its_configuration_alone(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT)
    config = load(path, ["engine={kind: fake}", "models=[m]", f"output={tmp_path / 'run'}"])

    report = run(config)

    assert report.exit_code == 0
    assert [r.metric for r in report.results.results] == list(config.tasks[0].metrics or ())
    assert {r.estimate.num_samples for r in report.results.results} == {8}


@pytest.mark.parametrize("path", sorted([*(ROOT / "cluster").rglob("*.y*ml"), *(ROOT / "docker").rglob("*.y*ml")]), ids=name_of)
def test_a_cluster_file_parses(path: Path) -> None:
    documents: list[Any] = list(yaml.safe_load_all(path.read_text()))

    assert all(isinstance(d, dict) for d in documents if d is not None)


def test_constraints_pin_every_direct_dependency_to_a_version_that_fits() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [line.partition("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines()]
    pins = {name.lower().replace("_", "-"): version for name, _, version in (line.partition("==") for line in lines if line)}
    for wanted in [*project["dependencies"], *project["optional-dependencies"]["dev"]]:
        match = re.fullmatch(r"([\w.-]+)(?:\[[\w,]+\])?(>=|==)([\d.]+)", wanted)
        assert match, wanted
        name, sign, floor = match[1].lower().replace("_", "-"), match[2], match[3]
        assert name in pins, f"{name} is not pinned in constraints.txt"
        pinned = pins[name].partition(";")[0].strip()
        if sign == "==":
            assert pinned == floor
        numbers = [[int(x) for x in re.findall(r"\d+", v.partition("+")[0])] for v in (pinned, floor)]
        assert numbers[0] >= numbers[1], f"{name}: {pinned} is older than {floor}"


def test_every_phony_target_is_a_rule() -> None:
    text = (ROOT / "Makefile").read_text()
    phony = re.findall(r"^\.PHONY: (.+)$", text, flags=re.MULTILINE)[0].split()

    assert [t for t in phony if not re.search(rf"^{t}:", text, flags=re.MULTILINE)] == []
    assert {"quickstart", "test", "check", "bench"} <= set(phony)


def test_what_the_package_reads_at_run_time_is_shipped() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["raybench"]
    shipped = {p for pattern in patterns for p in (ROOT / "raybench").glob(pattern)}
    others = {p for p in (ROOT / "raybench").rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")}

    assert others <= shipped


def test_no_file_names_a_place_on_somebody_s_machine() -> None:
    pattern = re.compile(r"/home/\w+|/Users/\w+|/root\b|C:\\\\")
    files = [
        *(ROOT / "raybench").rglob("*.py"),
        *CONFIGS,
        *ROOT.glob("*.md"),
        ROOT / "Makefile",
        ROOT / "pyproject.toml",
        ROOT / "constraints.txt",
    ]

    assert [name_of(f) for f in files if pattern.search(f.read_text())] == []
