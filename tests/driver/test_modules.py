"""Plain modules in a run: found, named and told apart by everything that can change their answers; and the shipped examples."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raybench.core.config_file import load, parse
from raybench.core.errors import CheckpointError, ConfigError
from raybench.core.types import Kind
from raybench.driver.models import architectures, open_models
from raybench.driver.plan import PlannedModel
from raybench.driver.run import run
from raybench.tasks.task import Form

ROOT = Path(__file__).resolve().parents[2]


def opened(**changes: Any) -> list[PlannedModel]:
    checkpoint = {"factory": "own_model:build", "state": "w-*.pt", "tokenizer": "tok", "kinds": ["fill"], **changes}
    return open_models(parse({"name": "x", "models": [{"checkpoint": checkpoint}], "tasks": ["quickstart/choice"]}))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command is given: two states, a module, a tokenizer."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for step in (2, 10):
        (tmp_path / f"w-{step}.pt").write_bytes(bytes([step]))
    (tmp_path / "own_model.py").write_text("def build(size=1): raise AssertionError('a plan makes no model')\n")
    (tmp_path / "tok").mkdir()
    (tmp_path / "tok" / "tokenizer.json").write_text("{}")
    return tmp_path


def test_a_pattern_gives_a_model_for_each_state_file(folder: Path) -> None:
    models = opened()

    assert [m.name for m in models] == ["w-2.pt", "w-10.pt"]
    assert all(m.checkpoint.module is not None and m.checkpoint.module.kinds == (Kind.FILL,) for m in models)
    assert len({m.checkpoint.identity for m in models}) == 2


def test_weights_code_arguments_labels_and_tokenizer_are_its_identity(folder: Path) -> None:
    plain = opened(state="w-2.pt")[0].checkpoint.identity

    assert opened(state="w-2.pt")[0].checkpoint.identity == plain
    others = [opened(state="w-2.pt", arguments={"size": 2}), opened(state="w-2.pt", labels=["a", "b"]), opened(state="w-10.pt")]
    (folder / "own_model.py").write_text("def build(size=2): ...\n")
    others.append(opened(state="w-2.pt"))
    (folder / "tok" / "tokenizer.json").write_text('{"other": 1}')
    others.append(opened(state="w-2.pt"))
    assert len({plain, *(m[0].checkpoint.identity for m in others)}) == 6


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"state": "gone.pt"}, CheckpointError, "no such file"),
        ({"state": "own_model.py"}, CheckpointError, r"expected the state of a module"),
        ({"factory": "nowhere:build"}, CheckpointError, r"there is no Python file for the module 'nowhere'"),
        ({"factory": "own_model"}, ConfigError, r"expected package\.module:function"),
        ({"kinds": ["span"]}, ConfigError, "is not asked for spans"),
        ({"kinds": ["fill", "generate"]}, ConfigError, "its logits mean one thing"),
        ({"kind": ["fill"]}, ConfigError, "unknown key"),
    ],
)
def test_a_module_that_cannot_be_is_explained(folder: Path, changes: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        opened(**changes)


def test_parts_that_are_missing_are_named() -> None:
    with pytest.raises(ConfigError, match="checkpoint of a plain module: missing state, kinds"):
        parse({"name": "x", "models": [{"checkpoint": {"factory": "m:f", "tokenizer": "t"}}], "tasks": ["quickstart/choice"]})


def test_the_hub_tells_the_architecture_of_a_model_that_is_not_here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    import huggingface_hub

    info = SimpleNamespace(sha="c0ffee", config={"architectures": ["BertForSequenceClassification"]})
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda self, name, revision: info)  # the network's part

    found = open_models(parse({"name": "x", "models": ["org/classifier"], "tasks": ["quickstart/choice"]}))[0].checkpoint

    assert (architectures(found), found.identity) == (("BertForSequenceClassification",), "hub:org/classifier@c0ffee")
    assert architectures(replace(found, architectures=())) == ()


@pytest.mark.slow
def test_the_models_from_scratch_learn_to_mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = ROOT / "configs" / "scratch" / "train.py"
    done = subprocess.run([sys.executable, script, tmp_path / "out" / "scratch"], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    monkeypatch.chdir(tmp_path)

    values = {}
    for name in ("scratch", "scratch_masked"):
        report = run(load(ROOT / "configs" / "scratch" / f"{name}.yaml", ["bootstrap=50"]))
        assert report.exit_code == 0
        values |= {r.model: r.estimate.value for r in report.results.results}

    assert list(values) == ["causal-10.pt", "causal-600.pt", "masked-10.pt", "masked-600.pt"]
    assert values["causal-10.pt"] == 0
    assert (values["masked-10.pt"] or 0) < 0.4  # an eighth by chance
    assert (values["causal-600.pt"] or 0) > 0.95
    assert (values["masked-600.pt"] or 0) > 0.95


def test_a_form_for_a_head_shows_no_examples() -> None:
    from raybench.tasks.prompts import render
    from tests.own_heads import TASK

    rendering = render(TASK, Kind.CLASSIFY, shots=5, limit=3)

    assert rendering.num_shots == 0
    assert isinstance(rendering.form, Form)
    assert [row["shots"] for shard in rendering.shards() for row in shard.requests.to_pylist()] == [[], [], []]
