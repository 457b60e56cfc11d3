"""What stands between a cluster and the driver: which exit codes are tried again, and what a signal does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from raybench.launch.attempts import attempt, main, missing


def counting(folder: Path, *codes: int) -> list[str]:
    """A command that ends with the codes in turn, the last one for ever; every start adds a letter to a file."""
    code = (
        "import sys; from pathlib import Path; p = Path(sys.argv[1]); p.write_text((p.read_text() if p.exists() else '') + 'x');"
        "codes = [int(c) for c in sys.argv[2:]]; n = len(p.read_text()); sys.exit(codes[min(n, len(codes)) - 1])"
    )
    return [sys.executable, "-c", code, str(folder / "starts"), *map(str, codes)]


def starts(folder: Path) -> int:
    return len((folder / "starts").read_text())


@pytest.mark.parametrize(
    ("codes", "retries", "expected", "tries"),
    [
        ((0,), 3, 0, 1),
        ((2,), 3, 2, 1),  # what was asked is wrong: it would be wrong again
        ((4,), 3, 4, 1),  # more errors than allowed: the run is complete
        ((130,), 3, 130, 1),  # somebody pressed Ctrl-C
        ((1, 0), 3, 0, 2),
        ((3, 1, 0), 3, 0, 3),
        ((3,), 2, 3, 3),
        ((1,), 0, 1, 1),
    ],
)
def test_only_what_another_try_can_mend_is_tried_again(
    codes: tuple[int, ...], retries: int, expected: int, tries: int, tmp_path: Path
) -> None:
    assert attempt(counting(tmp_path, *codes), retries=retries, pause_s=0.01) == expected
    assert starts(tmp_path) == tries


def test_a_driver_that_is_killed_is_incomplete_but_resumable() -> None:
    command = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"]

    assert attempt(command, retries=0) == 3


WAITING = """
import signal, sys
def stop(number, frame):
    print("stopped", flush=True)
    sys.exit(3)
signal.signal(signal.SIGTERM, stop)
print("ready", flush=True)
signal.pause()
"""


@pytest.mark.parametrize("are_told", [False, True])
def test_sigterm_reaches_the_driver_once_and_ends_the_retries(are_told: bool) -> None:
    code = f"from raybench.launch.attempts import attempt; import sys; sys.exit(attempt([sys.executable, '-c', {WAITING!r}], retries=5, children_are_told={are_told}))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"

        if are_told:  # as Ray's job supervisor does: the process and its children
            os.killpg(process.pid, signal.SIGTERM)
        else:
            process.terminate()

        assert process.stdout.read() == "stopped\n"
        assert process.wait(timeout=30) == 3


def test_a_signal_ends_the_pause_before_a_retry(tmp_path: Path) -> None:
    timer = threading.Thread(target=kill_when_started, args=(tmp_path / "starts",))
    timer.start()
    begin = time.monotonic()

    code = attempt(counting(tmp_path, 1), retries=5, pause_s=300)

    timer.join()
    assert code == 1
    assert starts(tmp_path) == 1
    assert time.monotonic() - begin < 200


def kill_when_started(path: Path) -> None:
    while not path.exists():
        threading.Event().wait(0.05)
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_variable_counts_as_missing_when_it_is_empty() -> None:
    assert missing(["A", "B", "C"], {"A": "1", "B": ""}) == ["B", "C"]


def test_a_missing_variable_is_a_mistake_in_what_was_asked(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAYBENCH_TEST_CANARY", raising=False)

    assert main(["--require", "RAYBENCH_TEST_CANARY", "--", "--version"]) == 2
    assert "RAYBENCH_TEST_CANARY: not set in the environment of the cluster" in capsys.readouterr().err


def test_the_last_line_says_how_the_driver_ended() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "raybench.launch.attempts", "--", "--version"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0
    assert done.stderr.splitlines()[-1] == "raybench: the driver ended with exit code 0"


def test_the_cluster_of_a_job_is_joined(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert main(["--join", "--", "plan", "/nowhere.yaml"]) == 2
    assert "/nowhere.yaml: cannot be read" in capfd.readouterr().err  # and not: no such option

    monkeypatch.delenv("RAY_ADDRESS")
    assert main(["--join", "--", "plan", "/nowhere.yaml"]) == 2
    assert "RAY_ADDRESS is not set" in capfd.readouterr().err


def test_a_code_that_the_cluster_would_misread_is_accepted() -> None:
    assert main(["--accept", "2", "--", "plan", "/nowhere.yaml"]) == 0
    assert main(["--accept", "4", "--", "plan", "/nowhere.yaml"]) == 2
