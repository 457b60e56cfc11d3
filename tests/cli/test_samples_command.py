"""`raybench samples`: single questions with their answers and scores."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raybench.tasks import winogrande
from tests import own

Call = Callable[..., Any]


def rows(said: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in said.out.splitlines()]


def test_a_choice_shows_question_options_and_score(done: Path, call: Call) -> None:
    said = call("samples", done, "--task", "quickstart/choice", "-n", "1")

    assert said.code == 0
    for expected in ("choice-001", "Question: Which word means the opposite of 'generous'?", "Stingy", "(* most likely, = right)", "acc"):
        assert expected in said.out
    marked = [line for line in said.out.splitlines() if line.lstrip().startswith("options")]
    assert marked[0].split()[1] == "*"  # the fake engine takes the first option
    assert " = " in next(line for line in said.out.splitlines() if "Stingy" in line)


def test_options_that_are_questions_are_compared_with_one_another(call: Call, tmp_path: Path) -> None:
    rows_file = tmp_path / "rows.jsonl"
    row = {"sentence": "The cup did not fit into the box because the _ was too big.", "option1": "cup", "option2": "box", "answer": "2"}
    rows_file.write_text(json.dumps(row) + "\n")
    config = tmp_path / "run.yaml"
    config.write_text(
        "name: one\nmodels: [{checkpoint: a}]\ntasks: [winogrande]\nengine: {kind: fake, answer: digest}\n"
        f"data: {{{winogrande.TASK.source.path}: {{path: {tmp_path}, splits: {{validation: rows.jsonl}}}}}}\n"
    )
    assert call("run", config, "--output", tmp_path / "run").code == 0

    shown = call("samples", tmp_path / "run", "--task", "winogrande").out
    asked = rows(call("samples", tmp_path / "run", "--task", "winogrande", "--json"))[0]

    logprobs = [p["output"]["logprobs"][0] for p in asked["predictions"]]
    options = [line for line in shown.splitlines() if line.endswith(".") and " too big" in line and "-" in line]
    marks = [line.partition("-")[0].split()[-1].strip() for line in options]
    assert len(options) == 2
    assert ["*" in m for m in marks] == [x == max(logprobs) for x in logprobs]
    assert ["=" in m for m in marks] == [False, True]


def test_a_generation_shows_answer_target_and_what_was_extracted(done: Path, call: Call) -> None:
    said = call("samples", done, "--task", "quickstart/arithmetic", "--id", "arith-001")

    assert "answer  The answer is 1." in said.out
    assert "target  14" in said.out
    assert "extracted: 1" in said.out
    assert "examples before" in said.out


def test_json_is_one_object_a_line(done: Path, call: Call) -> None:
    found = rows(call("samples", done, "--task", "quickstart/choice", "-n", "3", "--json"))

    assert [r["sample"]["id"] for r in found] == ["choice-001", "choice-002", "choice-003"]
    assert found[0]["requests"][0]["context"].startswith("Question: ")
    assert found[0]["scores"][0]["metric"] == "acc"


def test_wrong_ones_are_those_whose_first_option_is_not_right(done: Path, call: Call) -> None:
    found = rows(call("samples", done, "--task", "quickstart/choice", "--wrong", "-n", "99", "--json"))

    everything = rows(call("samples", done, "--task", "quickstart/choice", "-n", "99", "--json"))
    assert len(everything) == 12
    assert [r["sample"]["id"] for r in found] == [r["sample"]["id"] for r in everything if r["sample"]["label"] != 0]


@pytest.fixture
def mixed(config: Path, call: Call, tmp_path: Path) -> Path:
    """Ten echoed answers: two cut by max_tokens, one unparsed, one error, one whose prompt was cut."""
    says = ["7"] * 10
    says[1] = says[2] = "12345678901"
    says[3] = "none"
    says[5] = "x" * 30
    own.write_rows(tmp_path / "test.jsonl", [{"says": s, "target": "7"} for s in says])
    config.write_text(
        "name: mixed\nmodels: [m]\npool: local\nbootstrap: 0\nmax_row_errors: 1\n"
        "engine: {kind: fake, answer: echo, context: 20, overlong: truncate_left, faults: [{kind: row, sample_id: test-4}]}\n"
        f"tasks: [{{name: echo, source: {{path: {tmp_path / 'test.jsonl'}}}, kind: generate, prompt: '{{{{ says }}}}', "
        "target: '{{ target }}', extract: last_number, sampling: {max_tokens: 10}}]\n"
    )
    assert call("run", config).code == 0
    return tmp_path / "runs" / "mixed"


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("--length", ["test-1", "test-2", "test-5"]),
        ("--unparsed", ["test-3", "test-5"]),
        ("--errors", ["test-4"]),
        ("--truncated", ["test-5"]),
        ("--wrong", ["test-1", "test-2", "test-3", "test-5"]),
    ],
)
def test_each_flag_finds_its_samples(flag: str, expected: list[str], mixed: Path, call: Call) -> None:
    found = rows(call("samples", mixed, "--task", "echo", flag, "-n", "99", "--json"))

    assert [r["sample"]["id"] for r in found] == expected


def test_an_error_shows_its_code_and_message(mixed: Path, call: Call) -> None:
    said = call("samples", mixed, "--task", "echo", "--errors")

    assert "error  refused: the fake engine plays 'row' for this sample." in said.out


def test_text_of_a_model_cannot_move_the_cursor(config: Path, call: Call, tmp_path: Path) -> None:
    task = own.echo_task(tmp_path / "test.jsonl", [{"says": "\x1b[2J\x1b]0;title\x07 \r gone", "target": "x"}])
    setting = json.dumps([task])

    assert call("run", config, "--set", f"tasks={setting}", "--set", "engine.answer=echo").code == 0
    said = call("samples", "runs/small", "--task", "echo")

    assert not any(sign in said.out for sign in "\x1b\x07\r")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "quickstart/chioce"], "Did you mean 'quickstart/choice'?"),
        (["--task", "quickstart/choice", "--model", "n"], "no model 'n'. There is: m."),
        ([], "Missing option '--task'"),
        (["--task", "quickstart/choice", "-n", "0"], "-n"),
        (["--task", "quickstart/choice", "--id", "choice-999"], "'quickstart/choice' has no sample 'choice-999'"),
        (["--task", "quickstart/choice", "--wrong", "--errors"], "--wrong, --errors: one of them at a time"),
    ],
)
def test_what_is_not_there_is_told_with_2(arguments: list[str], message: str, done: Path, call: Call) -> None:
    said = call("samples", done, *arguments)

    assert said.code == 2
    assert message in said.err


def test_a_pair_that_was_not_scored_yet_ends_with_3(done: Path, call: Call) -> None:
    for file in (done / "scores").rglob("*.parquet"):
        file.unlink()

    said = call("samples", done, "--task", "quickstart/choice")

    assert said.code == 3
    assert "raybench score" in said.err


def test_all_turns_are_shown_in_order(tmp_path: Path, call: Call) -> None:
    task = own.echo_task(tmp_path / "test.jsonl", [{"says": "first", "target": "x"}], turns=["second {{ target }}"], prefix="So")
    config = {"name": "r", "models": ["m"], "tasks": [task], "engine": {"kind": "fake", "answer": "echo"}, "bootstrap": 0, "pool": "local"}
    (tmp_path / "c.yaml").write_text(json.dumps({**config, "output": str(tmp_path / "run")}))
    assert call("run", tmp_path / "c.yaml").code == 0

    said = call("samples", tmp_path / "run", "--task", "echo")

    shown = [line.split("  ")[-1] for line in said.out.splitlines() if line.lstrip().startswith(("prompt", "answer", "then"))]
    assert shown == ["first So", "first So", "second x", "second x"]  # the echo of each question is its answer


def test_a_text_that_is_scored_as_it_is_shows_its_statistics_by_name_and_is_never_wrong(config: Path, call: Call) -> None:
    assert call("run", config, "--set", "tasks=[{name: quickstart/prose, limit: 2}]").code == 0
    run = config.parent / "runs" / "small"

    shown = call("samples", run, "--task", "quickstart/prose", "-n", "1").out
    wrong = call("samples", run, "--task", "quickstart/prose", "--wrong")

    assert shown.count("A lighthouse does two things at once") == 1
    assert re.search(r"word_perplexity  \w+ -[\d.]+, \w+ 106\n", shown)  # words of the text, as `wc -w` counts them
    assert wrong.code == 2
    assert "no answer is right or wrong. Leave `--wrong` out." in wrong.err


@pytest.mark.parametrize(("option", "said"), [("--errors", "no samples without an answer"), ("--truncated", "no cut prompts")])
def test_samples_that_are_not_there_are_told_in_words(option: str, said: str, done: Path, call: Call) -> None:
    found = call("samples", done, "--task", "quickstart/choice", option)

    assert (found.code, found.out, found.err.strip()) == (0, "", f"{said} in quickstart/choice")
