"""Measurements are run by name, and in no way that would silently do nothing."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench import RUN_ALONE
from tests.bench.__main__ import NAMES

ROOT = Path(__file__).resolve().parents[1]
FILES = {path.stem for path in (ROOT / "tests/bench").glob("*.py")} - {"__init__", "__main__"}


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *arguments], capture_output=True, text=True, cwd=ROOT, timeout=60)


def test_a_file_with_a_main_has_a_name_on_the_command_line() -> None:
    measuring = {name for name in FILES if "\ndef main(" in (ROOT / f"tests/bench/{name}.py").read_text()}

    assert measuring == {*NAMES, *RUN_ALONE}


@pytest.mark.parametrize("name", sorted(FILES - {*RUN_ALONE}))
def test_a_module_run_as_if_it_were_a_program_says_how_to_measure(name: str) -> None:
    ended = call(f"tests.bench.{name}")

    assert ended.returncode == 1
    assert ended.stderr == f"tests.bench.{name} does nothing by itself; to measure: python -m tests.bench NAME, such as likelihood.\n"


def test_what_needs_an_environment_of_its_own_runs_alone() -> None:
    for name in RUN_ALONE:
        assert 'if __name__ == "__main__":' in (ROOT / f"tests/bench/{name}.py").read_text()
        assert callable(importlib.import_module(f"tests.bench.{name}").main)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["likelyhood"], "no measurement likelyhood; there are startup, "),
        (["likelihood", "--num", "many"], "argument --num: invalid int value: 'many'"),  # what the measurement says itself
        (["likelihood", "gather", "--num", "3"], "--num 3: options are only for generate or likelihood, run alone"),
        (["simulation", "--num", "3"], "--num 3: options are only for generate or likelihood, run alone"),
    ],
)
def test_a_name_or_an_option_that_is_not_there_is_told(arguments: list[str], message: str) -> None:
    assert message in call("tests.bench", *arguments).stderr
