"""Waiting for a cluster's nodes; with nodes that come, see test_slurm.py."""

from __future__ import annotations

import os
import socket
import subprocess

import pytest

from raybench.launch.nodes import main
from tests.launch.heads import free_ports


def test_a_head_that_listens_is_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert main(["--address", f"127.0.0.1:{server.getsockname()[1]}", "--nodes", "0"]) == 0


def test_where_what_starts_a_node_has_ended_nobody_waits_for_it(capsys: pytest.CaptureFixture[str]) -> None:
    (port,) = free_ports(1)
    ended = subprocess.Popen(["true"])
    ended.wait()

    assert main(["--address", f"127.0.0.1:{port}", "--nodes", "2", "--starter", str(os.getpid()), "--starter", str(ended.pid)]) == 3
    assert "0 of 2 nodes are up and a `ray start` has ended" in capsys.readouterr().err


def test_where_nobody_listens_the_wait_ends_as_resumable(capsys: pytest.CaptureFixture[str]) -> None:
    (port,) = free_ports(1)

    assert main(["--address", f"127.0.0.1:{port}", "--nodes", "2", "--timeout-s", "0.1"]) == 3
    assert "0 of 2 nodes are up after 0.1 s" in capsys.readouterr().err
