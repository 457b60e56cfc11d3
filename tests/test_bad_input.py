"""What is wrong with the input ends in one message and the documented exit code, and costs nobody else their numbers.

Exit codes: 0 complete, 2 usage, configuration or data, 3 incomplete but resumable, 4 more row errors or failed models than allowed.
"""

from __future__ import annotations

import json
import math
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from raybench.cli.main import main
from raybench.core.results import Result, results_from_json
from raybench.store.run_dir import RunDir
from tests import own

Run = Callable[..., "Ended"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a run ended."""

    code: int
    err: str
    path: Path

    def results(self) -> dict[tuple[str, str], Result]:
        """By model and metric, of its only task."""
        found = results_from_json(RunDir.open(self.path).documents.read_results()).results
        return {(r.model, r.metric): r for r in found}

    def rows(self, model: str = "m") -> dict[str, dict[str, Any]]:
        """Answers by sample id."""
        store = RunDir.open(self.path)
        (task,) = {t for t, _ in store.pairs()}
        names = sorted(store.scan(task, model).shards)
        return {row["sample_id"]: row for name in names for row in store.read(task, model, name).to_pylist()}


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`raybench run` in this process on a configuration in a file, its fields as arguments."""
    monkeypatch.chdir(tmp_path)

    def start(*options: str, **changes: Any) -> Ended:
        base = {"name": "bad", "models": ["m"], "tasks": ["quickstart/choice"], "engine": {"kind": "fake"}, "pool": "local", "bootstrap": 0}
        Path("bad.yaml").write_text(yaml.safe_dump({**base, **changes}))
        monkeypatch.setattr(sys, "argv", ["raybench", "run", "bad.yaml", *options])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        err = capsys.readouterr().err
        assert "Traceback" not in err
        return Ended(code=int(caught.value.code or 0), err=err, path=tmp_path / "runs" / "bad")

    return start


# data


GOOD = [{"says": str(i), "target": str(i), "id": f"id-{i}"} for i in range(6)]

DATA: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "0 rows in split 'test'"),
    "blank lines only": (b"\n\n\n", "0 rows in split 'test'"),
    "no JSON": (b'{"says": "1", "target": "1", "id": "a"}\n{oops}\n', "test.jsonl:2:2: not JSON"),
    "cut off": (b'{"says": "1", "target": "1", "id": "a"}\n{"says": "2', "It is the last line: the file may be cut off"),
    "an array a line": (b"[1, 2]\n", "test.jsonl:1: found a JSON list, expected an object"),
    "not UTF-8": (b'{"says": "caf\xe9", "target": "x", "id": "a"}\n', "test.jsonl:1: not UTF-8 at byte 13"),
    "NaN": (b'{"says": NaN, "target": "x", "id": "a"}\n', "test.jsonl:1: not usable JSON: NaN is no JSON number"),
    "half a surrogate pair": (b'{"says": "\\ud800", "target": "x", "id": "a"}\n', "test.jsonl:1: the escape \\ud800 is half"),
    "a column is missing": (b'{"says": "1", "id": "a"}\n', "target"),
    "an id twice": (json.dumps(GOOD[0]).encode() + b"\n" + json.dumps(GOOD[0]).encode() + b"\n", "'id-0' (rows 0, 1)"),
    "an id that is none": (b'{"says": "1", "target": "1", "id": 1.5}\n', "expected text or a whole number"),
    "deep brackets": (b'{"says": ' + b"[" * 100_000 + b"\n", "test.jsonl:1: not usable JSON"),
}


@pytest.mark.parametrize("name", DATA)
def test_unusable_data_is_refused_with_its_place(name: str, start: Run, tmp_path: Path) -> None:
    content, message = DATA[name]
    task = own.echo_task(tmp_path / "test.jsonl", GOOD, sample_id="id")
    (tmp_path / "test.jsonl").write_bytes(content)

    ended = start(tasks=[task])

    assert ended.code == 2
    assert message in ended.err
    assert not (ended.path / "manifest.json").exists()
    # mended, the same command runs
    own.write_rows(tmp_path / "test.jsonl", GOOD)
    assert start(tasks=[task]).code == 0


def test_a_missing_file_is_named(start: Run, tmp_path: Path) -> None:
    task = own.echo_task(tmp_path / "test.jsonl", GOOD)
    (tmp_path / "test.jsonl").rename(tmp_path / "tset.jsonl")

    ended = start(tasks=[task])

    assert ended.code == 2
    assert "test.jsonl: no such file. Did you mean 'tset.jsonl'?" in ended.err


def test_data_that_changed_after_the_run_began_is_noticed(start: Run, tmp_path: Path) -> None:
    task = own.echo_task(tmp_path / "test.jsonl", GOOD)
    assert start(tasks=[task]).code == 0
    own.write_rows(tmp_path / "test.jsonl", [{**r, "says": "other"} for r in GOOD])

    ended = start(tasks=[task])

    assert ended.code == 2
    assert "start afresh with --new" in ended.err


def test_all_mistakes_of_a_configuration_come_at_once(start: Run) -> None:
    ended = start(sed=1, engine={"kind": "fake", "anser": "echo"}, resources={"engines": 0})

    assert ended.code == 2
    assert "bad.yaml: 3 mistakes" in ended.err
    assert ended.err.count("Did you mean") == 2
    assert not ended.path.exists()


# single rows


def test_a_prompt_that_is_too_long_is_one_error_row_and_the_others_have_answers(start: Run, tmp_path: Path) -> None:
    rows = [{**r, "says": "x" * 30} if r["says"] == "3" else r for r in GOOD]
    task = own.echo_task(tmp_path / "test.jsonl", rows)

    ended = start(tasks=[task], engine={"kind": "fake", "answer": "echo", "context": 20})

    assert ended.code == 4
    found = ended.rows()
    assert [i for i, row in found.items() if row["error_code"]] == ["test-3"]
    assert (found["test-3"]["error_code"], found["test-3"]["output"]) == ("overlong", None)
    result = ended.results()["m", "exact_match"]
    assert (result.estimate.value, result.estimate.num_samples, result.estimate.num_errors) == (1.0, 5, 1)
    assert result.value_if_errors_wrong == 5 / 6


def test_a_real_model_of_512_tokens_gives_an_error_row_for_600(start: Run, tmp_path: Path, tiny_llama: Path) -> None:
    labels = [0, 1, 0, 1]
    task = own.choice_task(tmp_path / "test.jsonl", labels)
    rows = [{"q": "word " * 120 if i == 1 else f"question {i}", "right": label} for i, label in enumerate(labels)]
    own.write_rows(tmp_path / "test.jsonl", rows)  # the tokenizer has one token a byte

    ended = start(tasks=[task], models=[{"checkpoint": str(tiny_llama), "name": "m"}], engine={"kind": "pytorch", "threads": 1})

    assert ended.code == 4
    assert [i for i, row in ended.rows().items() if row["error_code"] == "overlong"] == ["test-1"]
    assert ended.results()["m", "acc"].estimate.num_samples == 3


# checkpoints


def damaged(tiny_llama: Path, folder: Path, what: str) -> str:
    shutil.copytree(tiny_llama, folder)
    weights = folder / "model.safetensors"
    if what == "no model_type":
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if k != "model_type"}))
    elif what == "truncated":
        os.truncate(weights, weights.stat().st_size - 100)
    elif what == "a tensor is missing":
        from safetensors.torch import load_file, save_file

        state = load_file(weights)
        save_file({k: v for k, v in state.items() if "layers.1.mlp.up_proj" not in k}, weights, metadata={"format": "pt"})
    elif what == "no tokenizer":
        (folder / "tokenizer.json").unlink()
    return str(folder)


CHECKPOINTS = {
    "no model_type": "config.json: no 'model_type'",
    "truncated": "model.safetensors: truncated: ",
    "a tensor is missing": "model.layers.1.mlp.up_proj.weight",
    "no tokenizer": "no tokenizer. Expected tokenizer.json",
}


@pytest.mark.parametrize("what", CHECKPOINTS)
def test_a_broken_checkpoint_ends_a_run_of_one_model_with_2(what: str, start: Run, tmp_path: Path, tiny_llama: Path) -> None:
    ended = start(models=[damaged(tiny_llama, tmp_path / "model", what)], engine={"kind": "pytorch", "threads": 1}, limit=2)

    assert ended.code == 2
    assert CHECKPOINTS[what] in ended.err


@pytest.mark.parametrize("what", CHECKPOINTS)
def test_a_broken_checkpoint_among_others_costs_only_its_own_row(what: str, start: Run, tmp_path: Path, tiny_llama: Path) -> None:
    models = [damaged(tiny_llama, tmp_path / "model", what), {"checkpoint": str(tiny_llama), "name": "m"}]

    ended = start(models=models, engine={"kind": "pytorch", "threads": 1}, limit=2)

    assert ended.code == 4
    assert "raybench: model: " in ended.err
    assert CHECKPOINTS[what] in ended.err
    assert set(ended.results()) == {("m", "acc"), ("m", "acc_norm")}
    assert ended.results()["m", "acc"].estimate.num_samples == 2


@pytest.mark.parametrize("task", ["quickstart/choice", "quickstart/arithmetic", "quickstart/prose"])
def test_weights_with_nan_give_error_rows_and_never_a_score(task: str, start: Run, tmp_path: Path, tiny_llama: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "nan"
    shutil.copytree(tiny_llama, folder)
    state = load_file(folder / "model.safetensors")
    name = next(k for k in sorted(state) if "mlp" in k)
    state[name] = state[name].clone()
    state[name][0, 0] = torch.nan
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})

    ended = start(
        models=[{"checkpoint": str(folder), "name": "m"}],
        tasks=[{"name": task, "shots": 0}],
        engine={"kind": "pytorch", "threads": 1},
        limit=4,
    )

    assert ended.code == 4
    assert {row["error_code"] for row in ended.rows().values()} == {"nonfinite"}
    for result in ended.results().values():
        assert result.estimate.value is None
        assert (result.estimate.num_samples, result.estimate.num_errors) == (0, 4)
        assert result.value_if_errors_wrong in (0.0, None)


def test_no_number_that_is_printed_is_nan(start: Run, tmp_path: Path) -> None:
    ended = start(engine={"kind": "fake", "faults": [{"kind": "nan"}]}, limit=3)

    for result in ended.results().values():
        numbers = (result.estimate.value, result.estimate.stderr, result.value_if_errors_wrong)
        assert not any(n is not None and math.isnan(n) for n in numbers)
    assert "NaN" not in (ended.path / "results.json").read_text()


# the disk and other processes

CODE = "from raybench.cli.main import main; main()"


def limited(num_bytes: int | None, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """`raybench ...` in a process whose files cannot grow beyond `num_bytes`: what a full disk does, for this process alone."""

    def limit() -> None:
        if num_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, resource.RLIM_INFINITY))

    return subprocess.run(
        [sys.executable, "-c", CODE, *arguments], capture_output=True, text=True, cwd=cwd, timeout=200, preexec_fn=limit,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("num_bytes", [0, 2_000, 40_000, 120_000])
def test_a_full_disk_ends_with_3_and_the_same_command_resumes(num_bytes: int, tmp_path: Path) -> None:
    # prompts of 80 kB, then shards of growing size, until one does not fit
    rows = [{"says": f"{i} " + "wörd " * (10 if i < 40 else 3000), "target": "x"} for i in range(48)]
    task = own.echo_task(tmp_path / "test.jsonl", rows, shard_size=4, sampling={"max_tokens": 100_000})
    config = {"name": "full", "models": ["m"], "engine": {"kind": "fake", "num_characters": 90_000}, "tasks": [task], "pool": "local"}
    (tmp_path / "full.yaml").write_text(yaml.safe_dump(config))

    first = limited(num_bytes, "run", "full.yaml", cwd=tmp_path)

    assert first.returncode == 3, first.stderr
    assert "Traceback" not in first.stderr
    assert "cannot be written" in first.stderr
    assert "run the same command again" in first.stderr
    second = limited(None, "run", "full.yaml", cwd=tmp_path)
    assert second.returncode == 0, second.stderr
    assert limited(None, "verify", "runs/full", cwd=tmp_path).returncode == 0


@pytest.mark.slow
def test_what_was_committed_before_the_disk_was_full_is_not_computed_again(tmp_path: Path) -> None:
    task = {"name": "quickstart/choice", "shard_size": 1}
    config = {"name": "full", "models": ["m"], "engine": {"kind": "fake"}, "tasks": [task], "pool": "local", "max_attempts": 1}
    (tmp_path / "full.yaml").write_text(yaml.safe_dump(config))
    nothing = limited(None, "run", "full.yaml", "--set", "engine.faults=[{kind: raise}]", cwd=tmp_path)
    assert nothing.returncode == 3, nothing.stderr

    # the prompts are there; what grows is the event log, by a few hundred bytes a shard
    part = limited(20_000, "run", "full.yaml", cwd=tmp_path)
    rest = limited(None, "run", "full.yaml", cwd=tmp_path)

    assert part.returncode == 3, part.stderr
    assert rest.returncode == 0, rest.stderr
    num_before = int(rest.stderr.partition("160 samples, ")[2].split()[0])
    assert 10 < num_before < 150


def test_a_second_run_on_the_same_directory_is_refused_with_2(start: Run, tmp_path: Path) -> None:
    path = tmp_path / "runs" / "bad"
    path.mkdir(parents=True)

    with RunDir(path).lock(started=0.0):
        ended = start()

    assert ended.code == 2
    assert f"in use by pid {os.getpid()}" in ended.err
    assert start().code == 0


def test_a_directory_of_somebody_else_s_is_left_alone(start: Run, tmp_path: Path) -> None:
    path = tmp_path / "runs" / "bad"
    path.mkdir(parents=True)
    (path / "thesis.tex").write_text("mine")

    for options in ((), ("--new",)):
        ended = start(*options)

        assert ended.code == 2
        assert "not a run directory and not empty: it holds 'thesis.tex'" in ended.err
    assert [p.name for p in path.iterdir()] == ["thesis.tex"]


def test_a_damaged_manifest_is_told_and_not_overwritten(start: Run) -> None:
    ended = start(limit=2)
    (ended.path / "manifest.json").write_text("{}")

    again = start(limit=2)

    assert again.code == 2
    assert "damaged or edited by hand" in again.err
    assert (ended.path / "manifest.json").read_text() == "{}"


def test_a_damaged_shard_is_set_aside_and_computed_again(start: Run) -> None:
    ended = start(limit=4)
    before = (ended.path / "results.json").read_bytes()
    shard = next((ended.path / "predictions").rglob("*.parquet"))
    shard.write_bytes(shard.read_bytes()[:100])

    again = start(limit=4)

    assert again.code == 0
    assert (ended.path / "results.json").read_bytes() == before
    assert list((ended.path / "damaged").iterdir())


def test_lost_prompts_are_rendered_again(start: Run) -> None:
    ended = start(limit=4)
    before = (ended.path / "results.json").read_bytes()
    shutil.rmtree(ended.path / "prompts")

    assert start(limit=4).code == 0
    assert (ended.path / "results.json").read_bytes() == before
