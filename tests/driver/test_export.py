"""Submission files of runs over test splits: formats as on the benchmarks' sites, answers read from the stored rows beside them."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from raybench.core.config_file import parse
from raybench.core.errors import ConfigError, IncompleteError
from raybench.driver.export import export
from raybench.driver.run import Report, run
from raybench.driver.score import score_run
from tests.driver.runs import read_rows

ROWS = Path(__file__).resolve().parents[1] / "parity" / "rows"
GLUE = {"cola": "cola", "sst2": "sst2", "mrpc": "mrpc", "qqp": "qqp", "qnli": "qnli", "rte": "rte", "wnli": "wnli", "ax": "mnli"}
SUPER_GLUE = {"cb": "cb", "copa": "copa", "multirc": "multirc", "record": "record", "rte": "sglue_rte", "wic": "wic", "wsc.fixed": "wsc"}
SUPER_GLUE |= {"boolq": "boolq", "axb": "rte", "axg": "sglue_rte"}


def hidden(folder: Path) -> Path:
    """Test splits as the hub has them: labels are -1, ReCoRD has no answers."""
    folder.mkdir()
    for file in (*(ROWS / "labelled").glob("*.jsonl"), ROWS / "boolq.jsonl"):
        rows = [{**row, "label": -1, "answers": []} for row in map(json.loads, file.read_text(encoding="utf-8").splitlines())]
        (folder / file.name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    graded = (folder / "mrpc.jsonl").read_text(encoding="utf-8").replace('"label": -1', '"label": -1.0')
    (folder / "stsb.jsonl").write_text(graded, encoding="utf-8")
    return folder


def evaluate(folder: Path, tasks: list[Any], **changes: Any) -> Report:
    path = str(hidden(folder / "data"))
    data: dict[str, Any] = {f"nyu-mll/glue:{name}": {"path": path, "splits": {"test": f"{file}.jsonl"}} for name, file in GLUE.items()}
    data |= {f"aps/super_glue:{name}": {"path": path, "splits": {"test": f"{file}.jsonl"}} for name, file in SUPER_GLUE.items()}
    data["nyu-mll/glue:mnli"] = {"path": path, "splits": {"test_matched": "mnli.jsonl", "test_mismatched": "mnli.jsonl"}}
    data["nyu-mll/glue:stsb"] = {"path": path, "splits": {"test": "stsb.jsonl"}}
    base = {"name": "s", "models": ["m"], "engine": {"kind": "fake"}, "pool": "local", "data": data, "output": str(folder / "run")}
    return run(parse({**base, "tasks": tasks, **changes}))


def contents(file: Path) -> dict[str, list[str]]:
    with zipfile.ZipFile(io.BytesIO(file.read_bytes())) as archive:
        return {name: archive.read(name).decode().splitlines() for name in archive.namelist()}


def answers(path: Path, task: str) -> list[int]:
    """Numbers of the chosen labels, from the stored rows."""
    logits = [row["output"]["logits"] for row in read_rows(path) if row["task"] == task]
    return [values.index(max(values)) for values in logits]


def test_a_run_without_right_answers_ends_well_and_has_no_scores(tmp_path: Path) -> None:
    report = evaluate(tmp_path, ["glue/test", "super_glue/test"])

    assert (report.exit_code, report.results.results) == (0, ())
    assert "m glue/test/cola: the data has no right answer for 6 of 6 samples; there is no score." in report.results.warnings
    assert len(report.results.warnings) == 21
    assert score_run(report.path).results == ()


def test_the_submission_of_glue_has_a_table_for_each_of_eleven_tasks(tmp_path: Path) -> None:
    report = evaluate(tmp_path, ["glue/test"])

    done = export(report.path, "glue")

    files = contents(done.file)
    # names: https://gluebenchmark.com/faq
    assert set(files) == {
        "CoLA.tsv", "SST-2.tsv", "MRPC.tsv", "STS-B.tsv", "MNLI-m.tsv", "MNLI-mm.tsv", "QNLI.tsv", "QQP.tsv", "RTE.tsv", "WNLI.tsv", "AX.tsv",
    }  # fmt: skip
    assert done.missing == ()
    assert all(lines[0] == "index\tprediction" for lines in files.values())
    assert files["WNLI.tsv"][1:] == [f"{i}\t{answer}" for i, answer in enumerate(answers(report.path, "glue.test.wnli"))]
    names = ("entailment", "not_entailment")
    assert files["RTE.tsv"][1:] == [f"{i}\t{names[answer]}" for i, answer in enumerate(answers(report.path, "glue.test.rte"))]
    three = ("entailment", "neutral", "contradiction")
    for name, task in (("MNLI-mm", "glue.test.mnli_mismatched"), ("AX", "glue.test.ax")):
        assert files[f"{name}.tsv"][1:] == [f"{i}\t{three[answer]}" for i, answer in enumerate(answers(report.path, task))]
    grades = [line.split("\t")[1] for line in files["STS-B.tsv"][1:]]
    values = [row["output"]["logits"][0] for row in read_rows(report.path) if row["task"] == "glue.test.stsb"]
    assert grades == [f"{min(5.0, value):.3f}" for value in values]
    assert {"5.000"} < set(grades)


def test_the_submission_of_super_glue_has_a_file_for_each_of_ten_tasks(tmp_path: Path) -> None:
    report = evaluate(tmp_path, ["super_glue/test"])

    files = {name: [json.loads(line) for line in lines] for name, lines in contents(export(report.path, "superglue").file).items()}

    # names and spellings: jiant 1.3, jiant/evaluate.py
    assert set(files) == {f"{n}.jsonl" for n in ("BoolQ", "CB", "COPA", "MultiRC", "ReCoRD", "RTE", "WiC", "WSC", "AX-b", "AX-g")}
    for name, task, spelled in (
        ("BoolQ", "boolq", ("false", "true")),
        ("CB", "cb", ("entailment", "contradiction", "neutral")),
        ("WiC", "wic", ("false", "true")),
        ("WSC", "wsc", ("False", "True")),
        ("AX-g", "axg", ("entailment", "not_entailment")),
    ):
        expected = [spelled[answer] for answer in answers(report.path, f"super_glue.test.{task}")]
        assert files[f"{name}.jsonl"] == [{"idx": i, "label": label} for i, label in enumerate(expected)]
    copa = [row["output"]["logits"][0] for row in read_rows(report.path) if row["task"] == "super_glue.test.copa"]
    assert files["COPA.jsonl"] == [{"idx": i, "label": int(b > a)} for i, (a, b) in enumerate(zip(copa[::2], copa[1::2], strict=True))]
    judged = iter(answers(report.path, "super_glue.test.multirc"))
    assert files["MultiRC.jsonl"] == [
        {
            "idx": p,
            "passage": {
                "questions": [{"idx": q, "answers": [{"idx": a, "label": next(judged)} for a in numbers]} for q, numbers in questions]
            },
        }
        for p, questions in ((0, ((0, (0, 1, 2)), (1, (3,)))), (1, ((0, (4, 5)), (1, (6,)))))
    ]
    assert [set(row) for row in files["ReCoRD.jsonl"]] == [{"idx", "label"}] * 6
    assert files["ReCoRD.jsonl"][1]["label"] in ("Anna Weiss", "Clara Lund", "Aarhus", "Weiss")


def test_a_prompted_model_submits_the_same_files(tmp_path: Path) -> None:
    report = evaluate(tmp_path, [{"name": "glue/test/stsb", "form": "loglikelihood"}, {"name": "glue/test/sst2", "form": "loglikelihood"}])

    done = export(report.path, "glue", output=tmp_path / "mine.zip")

    assert done.file == tmp_path / "mine.zip"
    assert len(done.missing) == 9
    options = [row["output"]["logprobs"] for row in read_rows(report.path) if row["task"] == "glue.test.stsb"]
    assert contents(done.file)["STS-B.tsv"][1:] == [f"{i}\t{lps.index(max(lps))}.000" for i, lps in enumerate(options)]


def test_the_same_answers_give_the_same_bytes(tmp_path: Path) -> None:
    report = evaluate(tmp_path, ["glue/test/cola"])

    assert export(report.path, "glue").file.read_bytes() == export(report.path, "glue", output=tmp_path / "b.zip").file.read_bytes()


@pytest.mark.parametrize(
    ("tasks", "changes", "error", "message"),
    [
        (["quickstart/choice"], {}, ConfigError, r"none of its tasks belongs into a submission to glue. Expected some of glue/test/cola"),
        (["glue/test/cola"], {"limit": 3}, ConfigError, r"a submission needs all samples; glue/test/cola ran with a limit"),
        (["glue/test/cola"], {"models": ["a", "b"]}, ConfigError, r"a submission is of one model, the run has a, b. Name one: --model"),
        (
            [{"name": "glue/test/cola", "label": "a"}, {"name": "glue/test/cola", "label": "b", "form": "loglikelihood"}],
            {},
            ConfigError,
            r"asked in several ways \(a, b\)",
        ),
        (
            ["glue/test/cola"],
            {"engine": {"kind": "fake", "faults": [{"sample_id": "test-1", "kind": "row"}]}, "max_row_errors": 1},
            IncompleteError,
            r"glue/test/cola: sample 'test-1' has no answer \(refused\), and a submission needs all of them",
        ),
    ],
    ids=["no task", "limited", "models", "doubled", "error"],
)
def test_what_is_no_submission_is_refused(
    tasks: list[Any], changes: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    report = evaluate(tmp_path, tasks, **changes)

    with pytest.raises(error, match=message):
        export(report.path, "glue")
    assert not list(report.path.glob("*.zip"))
