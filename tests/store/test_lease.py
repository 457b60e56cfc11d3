from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

from raybench.core.errors import ConfigError, IncompleteError, RunError
from raybench.store import lease
from raybench.store.lease import hold_lease, is_leased
from raybench.store.objects import Objects

HOLDER = """
import sys
from raybench.store import lease
from raybench.store.objects import Objects
lease.LENGTH_S = 1.0
with lease.hold_lease(Objects(sys.argv[1]), started=1_700_000_000.0):
    print("held", flush=True)
    sys.stdin.read()
"""


def start_holder(uri: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, uri], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_writer_is_told_who_holds_the_run_and_a_killed_one_loses_it(bucket: str) -> None:
    objects = Objects(f"{bucket}/run")
    with start_holder(objects.uri) as holder:
        with pytest.raises(RunError) as caught, hold_lease(objects, started=0.0):
            pass
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
    assert is_leased(objects)

    with hold_lease(objects, started=0.0) as taken:
        number = taken.number

    # date -u -d @1700000000 gives 2023-11-14 22:13:20
    assert f"in use by pid {holder.pid} on host {socket.gethostname()} since 2023-11-14T22:13:20+00:00" in caught.value.message
    assert number == 2
    assert not is_leased(objects)


def test_a_lease_that_was_given_back_is_taken_at_once_under_the_next_number(bucket: str) -> None:
    objects = Objects(f"{bucket}/run")

    numbers = []
    for _ in range(3):
        with hold_lease(objects, started=0.0) as held:
            numbers.append(held.number)

    assert numbers == [1, 2, 3]


def test_a_writer_that_slept_while_another_took_over_must_not_write(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "LENGTH_S", 0.5)
    monkeypatch.setattr(lease, "_keep_renewing", lambda held, is_over: None)  # a process that is stopped renews nothing
    objects = Objects(f"{bucket}/run")
    with hold_lease(objects, started=0.0) as slept:
        slept.check_quickly()
        with hold_lease(objects, started=0.0) as second:
            with pytest.raises(IncompleteError, match="another process has taken the run over"):
                slept.check()
            second.check()

        with pytest.raises(IncompleteError, match="another process has taken the run over"):
            slept.check_quickly()

    assert b'"state": "held"' in objects.read("lease/000001.json")  # what it is not any more, it does not give back
    assert not is_leased(objects)


def test_of_two_writers_that_begin_together_one_gets_the_run(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "LENGTH_S", 1.0)
    told: list[str] = []
    both, over = threading.Barrier(2), threading.Event()

    def write() -> None:
        both.wait()
        try:
            with hold_lease(Objects(f"{bucket}/run"), started=0.0) as held:
                told.append(f"held {held.number}")
                over.wait(30)
        except RunError:
            told.append("refused")
            over.set()

    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(told) == ["held 1", "refused"]


def test_a_store_that_overwrites_is_refused(bucket: str) -> None:
    class Overwriting(Objects):
        """As a store that does not know the condition."""

        def create(self, name: str, data: bytes | memoryview) -> bool:
            self.put(name, bytes(data))
            return True

    with (
        pytest.raises(ConfigError, match="overwrites objects although it is asked not to"),
        hold_lease(Overwriting(f"{bucket}/run"), started=0.0),
    ):
        pass
