"""Standard output and standard error that cannot be written, in processes of their own: Python writes once more when it exits."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RAYBENCH = f"{shlex.quote(sys.executable)} -m raybench"


def shell(line: str, folder: Path, *, unbuffered: bool = False) -> subprocess.CompletedProcess[str]:
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"} | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        capture_output=True, text=True, cwd=folder, timeout=120, env=environ | ({"PYTHONUNBUFFERED": "1"} if unbuffered else {}),
    )  # fmt: skip


@pytest.mark.parametrize("arguments", ["report runs/small --format json", "list tasks", "plan small.yaml", "--help", "--version"])
def test_a_full_device_is_told_in_one_line_and_ends_with_3(arguments: str, done: Path) -> None:
    ended = shell(f"{RAYBENCH} {arguments} > /dev/full", done.parents[1])

    assert ended.returncode == 3
    assert ended.stderr == (
        "raybench: standard output: cannot be written: No space left on device."
        " Make room there or send it elsewhere, then run the same command again.\n"
    )


def test_a_run_that_cannot_print_its_results_keeps_them_and_says_so(config: Path) -> None:
    told = f"on_finish=[{sys.executable}, -c, \"open('told', 'w').write('{{exit_code}}')\"]"

    ended = shell(f"{RAYBENCH} run {config} --set {shlex.quote(told)} > /dev/full", config.parent)

    assert ended.returncode == 3
    assert "raybench: standard output: cannot be written: No space left on device." in ended.stderr
    assert "Traceback" not in ended.stderr
    assert (config.parent / "told").read_text() == "3"
    again = shell(f"{RAYBENCH} report runs/small", config.parent)
    assert (again.returncode, again.stderr) == (0, "")
    assert "quickstart/choice" in again.stdout


def test_output_without_a_buffer_is_told_too(tmp_path: Path) -> None:
    # as most container images have it: then nothing is left to be written at exit, and nothing is known but the one refusal
    ended = shell(f"{RAYBENCH} list engines > /dev/full", tmp_path, unbuffered=True)

    assert ended.returncode == 3
    assert ended.stderr.startswith("raybench: standard output: cannot be written: No space left on device.")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("where", ["2> /dev/full", "2>&-"])
def test_what_standard_error_refuses_changes_nothing(where: str, config: Path) -> None:
    ended = shell(f"{RAYBENCH} run {config} {where}", config.parent)

    assert ended.returncode == 0
    assert "quickstart/arithmetic" in ended.stdout
    assert shell(f"{RAYBENCH} plan missing.yaml {where}", config.parent).returncode == 2


def test_an_output_that_is_closed_is_told(tmp_path: Path) -> None:
    ended = shell(f"{RAYBENCH} list engines >&-", tmp_path)

    assert ended.returncode == 3
    assert ended.stderr.startswith("raybench: standard output: cannot be written: Bad file descriptor.")


@pytest.mark.parametrize("reader", ["head -n 1", "true"])
def test_a_reader_that_goes_away_ends_a_command_quietly(reader: str, tmp_path: Path) -> None:
    ended = shell(f"{RAYBENCH} list tasks glue/ | {reader}", tmp_path)

    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_run_whose_reader_goes_away_ends_with_its_own_exit_code(config: Path) -> None:
    faults = shlex.quote("engine.faults=[{kind: nan}]")

    ended = shell(f"{RAYBENCH} run {config} --json --set {faults} | true", config.parent)

    assert ended.returncode == 4
    assert "Traceback" not in ended.stderr
    assert "error rows, 0 allowed" in ended.stderr
