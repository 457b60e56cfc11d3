from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from raybench.core.errors import RunError
from raybench.store.lock import hold_lock

HOLDER = """
import sys, time
from pathlib import Path
from raybench.store.lock import hold_lock
with hold_lock(Path(sys.argv[1]), started=1_700_000_000.0):
    print("locked", flush=True)
    sys.stdin.read()
"""


def start_holder(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    return process


def test_a_second_process_is_told_who_holds_the_run(tmp_path: Path) -> None:
    with start_holder(tmp_path) as holder:
        try:
            with pytest.raises(RunError) as caught, hold_lock(tmp_path, started=0.0):
                pass
        finally:
            holder.kill()

    # date -u -d @1700000000 gives 2023-11-14 22:13:20
    assert f"in use by pid {holder.pid} on host {socket.gethostname()} since 2023-11-14T22:13:20+00:00" in caught.value.message
    assert caught.value.exit_code == 2


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    with start_holder(tmp_path) as holder:
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()

    with hold_lock(tmp_path, started=0.0):
        assert str(os.getpid()) in (tmp_path / "lock").read_text()


def test_a_lock_can_be_taken_again_after_its_block(tmp_path: Path) -> None:
    for _ in range(2):
        with hold_lock(tmp_path, started=0.0):
            pass

    assert (tmp_path / "lock").read_text() == ""


def test_a_holder_without_a_name_is_another_process(tmp_path: Path) -> None:
    with hold_lock(tmp_path, started=0.0):
        (tmp_path / "lock").write_text("{")

        with pytest.raises(RunError, match="in use by another process"), hold_lock(tmp_path, started=0.0):
            pass
