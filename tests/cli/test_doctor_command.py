"""`raybench doctor`: what is here, what is missing, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from raybench.driver.doctor import Finding, examine

Call = Callable[..., Any]


def test_every_line_has_a_sign_a_subject_and_a_finding(call: Call) -> None:
    said = call("doctor")

    lines = [line for line in said.out.splitlines() if not line.startswith("    ") and line != "no problems"]
    assert all(re.match(r"[✓·✗] [\w ]+: \S", line) for line in lines)
    subjects = {line[2:].partition(":")[0] for line in lines}
    assert {"torch", "ray", "transformers", "GPUs", "vllm", "disk for runs", "memory", "Hugging Face hub"} <= subjects
    assert said.code in (0, 2)  # this machine may have problems of its own
    assert (said.code == 2) == ("✗" in said.out)


def findings(*found: Finding) -> Callable[[], Iterator[Finding]]:
    return lambda: iter(found)


def test_a_problem_comes_with_advice_and_ends_with_2(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = Finding(level="problem", subject="disk", found="0 GB free", advice="free some space")
    monkeypatch.setattr("raybench.cli.doctor_command.examine", findings(Finding(level="ok", subject="torch", found="2"), bad))

    said = call("doctor")

    assert said.code == 2
    assert "✓ torch: 2\n✗ disk: 0 GB free\n    free some space\n" in said.out
    assert said.err == "1 problem\n"


def test_notes_are_no_problems(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raybench.cli.doctor_command.examine", findings(Finding(level="note", subject="vllm", found="not installed")))

    said = call("doctor")

    assert (said.code, said.err) == (0, "")
    assert said.out == "· vllm: not installed\nno problems\n"


def test_an_address_in_the_environment_is_told_of_because_it_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")

    found = {f.subject: f for f in examine()}

    assert "10.0.0.1:6379; raybench does not read it" in found["RAY_ADDRESS"].found
    assert "--address" in found["RAY_ADDRESS"].advice


def test_looking_changes_nothing(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAYBENCH_CACHE_DIR", str(tmp_path / "cache"))

    call("doctor")

    assert list(tmp_path.iterdir()) == []
