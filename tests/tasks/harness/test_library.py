"""Names of the harness's tasks stand for what it makes of them, and what cannot be run here is refused before anything runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from raybench.core.config import RunConfig
from raybench.core.config_file import parse
from raybench.core.errors import ConfigError
from raybench.core.task_config import LmEvalConfig
from raybench.driver.survey import plan_run
from raybench.tasks.harness.library import Library

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.xdist_group("harness")]
ROOT = Path(__file__).resolve().parents[3]
ASKED = {"dataset_path": "json", "test_split": "test", "doc_to_text": "{{question}}", "doc_to_target": "{{answer}}"}
WITHOUT = """
import importlib.machinery, sys

class Without(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] == "lm_eval" else super().find_spec(name, path, target)

sys.meta_path = [Without if finder is importlib.machinery.PathFinder else finder for finder in sys.meta_path]
from raybench.cli.main import main
main()
"""
"""raybench in an environment where lm_eval is not to be found."""


def write(folder: Path, name: str, **fields: Any) -> None:
    """A task on two rows of its own."""
    rows = folder / "rows.jsonl"
    rows.write_text('{"question": "1+1=", "answer": "2"}\n{"question": "1+2=", "answer": "3"}\n')
    given = {"task": name, **ASKED, "dataset_kwargs": {"data_files": {"test": str(rows)}}, **fields}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(given))


def config(folder: Path, *tasks: Any, **changes: Any) -> RunConfig:
    base = {"name": "h", "models": ["m"], "engine": {"kind": "fake"}, "output": str(folder / "run"), "bootstrap": 0}
    return parse({**base, "tasks": list(tasks), "lm_eval": {"include_path": [str(folder)]}, **changes})


def refusal(folder: Path, *tasks: Any, **changes: Any) -> str:
    with pytest.raises(ConfigError) as refused:
        plan_run(config(folder, *tasks, **changes))
    return refused.value.message


def test_without_the_extra_one_line_names_it(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump({"name": "h", "models": ["m"], "engine": {"kind": "fake"}, "tasks": ["lm-eval/hellaswag"]}))

    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT, "plan", str(file)], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert "pip install 'raybench[lm-eval]'" in line


def test_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raybench.tasks.harness.door.version", lambda: "0.4.2")

    with pytest.raises(ConfigError, match=r"needs lm-eval 0\.4\.13, 0\.4\.2 is installed"):
        Library(LmEvalConfig())


def test_a_task_a_group_a_tag_and_a_pattern_stand_for_what_the_harness_makes_of_them(tmp_path: Path) -> None:
    for name in ("sums_one", "sums_two", "other"):
        write(tmp_path, name, tag=["mine"] if name != "sums_two" else [])
    (tmp_path / "group.yaml").write_text(yaml.safe_dump({"group": "both", "task": ["sums_two", "other"]}))
    library = Library(LmEvalConfig(include_path=(str(tmp_path),)))

    found = {name: [t.name for t in library.find(f"lm-eval/{name}").tasks] for name in ("other", "both", "mine", "sums_*")}

    assert {name: sorted(tasks) for name, tasks in found.items()} == {
        "other": ["lm-eval/other"],
        "both": ["lm-eval/other", "lm-eval/sums_two"],
        "mine": ["lm-eval/other", "lm-eval/sums_one"],
        "sums_*": ["lm-eval/sums_one", "lm-eval/sums_two"],
    }
    assert [g.name for g in library.find("lm-eval/both").groups] == ["lm-eval/both"]


def test_an_unknown_name_gets_the_nearest(tmp_path: Path) -> None:
    told = refusal(tmp_path, "lm-eval/helaswag")

    assert "'lm-eval/helaswag' is no task, group or tag of lm-evaluation-harness" in told
    assert "hellaswag" in told


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "nowhere: no such folder" in refusal(tmp_path, "lm-eval/hellaswag", lm_eval={"include_path": ["nowhere"]})


def test_code_of_the_model_runs_only_with_consent(tmp_path: Path) -> None:
    write(tmp_path, "coding", unsafe_code=True)

    told = refusal(tmp_path, "lm-eval/coding")
    allowed = {"include_path": [str(tmp_path)], "confirm_run_unsafe_code": True}

    assert "'lm-eval/coding': its metric runs code that the model has written" in told
    assert "lm_eval.confirm_run_unsafe_code: true" in told
    assert plan_run(config(tmp_path, "lm-eval/coding", lm_eval=allowed)).plan.num_samples == 2


@pytest.mark.parametrize("field", ["doc_to_image", "doc_to_audio"])
def test_images_and_sounds_are_refused(field: str, tmp_path: Path) -> None:
    write(tmp_path, "seen", **{field: "{{question}}"})

    assert "'lm-eval/seen': it asks about images or sounds" in refusal(tmp_path, "lm-eval/seen")


def test_a_task_of_the_harness_that_asks_for_texts_and_likelihoods_at_once_is_refused(tmp_path: Path) -> None:
    assert "'lm-eval/squadv2': what it asks for is generate_until and loglikelihood" in refusal(tmp_path, "lm-eval/squadv2")


@pytest.mark.parametrize(
    ("fields", "entry", "told"),
    [
        ({}, {"metrics": ["acc"]}, "`metrics` is decided by lm-evaluation-harness's task file"),
        ({}, {"fewshot": "first_n"}, "`fewshot` is decided by lm-evaluation-harness's task file"),
        ({"num_fewshot": 0}, {"shots": 2}, "its task file fixes num_fewshot: 0, the configuration wants 2 shots"),
        ({"generation_kwargs": {"do_sample": True}}, {}, "do_sample without a temperature"),
        ({"generation_kwargs": {"penalty_alpha": 0.6}}, {}, "generation argument 'penalty_alpha' has no counterpart here"),
        ({"output_type": "asked_aloud"}, {}, "what it asks for is asked_aloud; expected one of loglikelihood"),
    ],
    ids=["metrics", "sampler", "shots", "sampling", "argument", "output type"],
)
def test_what_cannot_be_honoured_is_refused(fields: dict[str, Any], entry: dict[str, Any], told: str, tmp_path: Path) -> None:
    write(tmp_path, "sums", **fields)

    message = refusal(tmp_path, {"name": "lm-eval/sums", **entry})

    assert "'lm-eval/sums'" in message
    assert told in message
