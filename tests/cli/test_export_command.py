"""`raybench export`: a run over a test split becomes a submission file."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Call = Callable[..., Any]


@pytest.fixture
def answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call) -> Path:
    """A run of two models over six sentences without labels, by the command."""
    monkeypatch.chdir(tmp_path)
    rows = [{"sentence": f"Sentence number {i}.", "label": -1, "idx": i} for i in range(6)]
    Path("test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config = {
        "name": "hidden", "models": ["a", "b"], "tasks": ["glue/test/cola"], "engine": {"kind": "fake"}, "pool": "local",
        "data": {"nyu-mll/glue:cola": {"path": ".", "splits": {"test": "test.jsonl"}}},
    }  # fmt: skip
    Path("hidden.yaml").write_text(yaml.safe_dump(config))
    said = call("run", "hidden.yaml")
    assert said.code == 0, said.err
    assert "a glue/test/cola: the data has no right answer for 6 of 6 samples; there is no score." in " ".join(
        f"{said.out}{said.err}".split()
    )
    return Path("runs/hidden")


def test_the_file_lies_in_the_run_and_what_is_missing_is_said(answered: Path, call: Call) -> None:
    said = call("export", answered, "--format", "glue", "--model", "b")

    assert (said.code, said.out.strip()) == (0, str(answered / "glue-b.zip"))
    assert "not in this run, and so not in the file: glue/test/sst2, " in said.err
    with zipfile.ZipFile(answered / "glue-b.zip") as archive:
        assert archive.namelist() == ["CoLA.tsv"]
        assert archive.read("CoLA.tsv").decode().splitlines()[0] == "index\tprediction"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--format", "glue"], "a submission is of one model, the run has a, b. Name one: --model."),
        (["--format", "glue", "--model", "c"], "no model 'c'. Models: a, b."),
        (["--format", "superglue"], "none of its tasks belongs into a submission to superglue."),
        (["--format", "glue", "--model", "a", "--output", "nowhere/mine.zip"], "nowhere: no such folder"),
        (["--format", "gleu"], "Invalid value for '--format'"),
    ],
)
def test_what_cannot_be_written_is_a_message_and_exit_code_2(options: list[str], message: str, answered: Path, call: Call) -> None:
    said = call("export", answered, *options)

    assert said.code == 2
    assert message in said.err


def test_samples_without_a_score_can_be_looked_at(answered: Path, call: Call) -> None:
    said = call("samples", answered, "--task", "glue/test/cola", "--model", "a", "-n", "1")

    assert said.code == 0
    assert "Sentence number 0." in said.out
    assert "unlabelled" in said.out


def test_a_run_on_an_object_store_gives_the_same_file_where_it_is_told_to(answered: Path, bucket: str, call: Call) -> None:
    uri = f"{bucket}/hidden"
    assert call("run", "hidden.yaml", "--output", uri).code == 0
    assert call("export", answered, "--format", "glue", "--model", "b").code == 0

    refused = call("export", uri, "--format", "glue", "--model", "b")
    said = call("export", uri, "--format", "glue", "--model", "b", "--output", "there.zip")

    assert refused.code == 2
    assert f"{uri}: a submission is a file on this machine. Say which: --output glue.zip." in refused.err
    assert (said.code, said.out) == (0, "there.zip\n")
    assert Path("there.zip").read_bytes() == (answered / "glue-b.zip").read_bytes()
