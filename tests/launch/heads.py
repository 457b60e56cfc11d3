"""A Ray head as an administrator starts it: its own token, its own port, the dashboard on the loopback; ended by its own process."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A running head."""

    address: str
    """Of its dashboard."""
    token: Path

    def environ(self) -> dict[str, str]:
        """For a client of its own process."""
        return {**clean_environ(), "RAY_AUTH_TOKEN_PATH": str(self.token), "RAY_AUTH_MODE": "token"}


def clean_environ() -> dict[str, str]:
    """This process's environment with our interpreter first in PATH and nothing of another Ray in it."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return {**own, "PATH": f"{Path(sys.executable).parent}:{own['PATH']}"}


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


@contextmanager
def head(**environ: str) -> Iterator[Head]:
    """`ray start --head --block` with a token; whatever it started is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="rb"))  # Ray's socket paths must be short
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    port, dashboard, agent = free_ports(3)
    own = {
        **clean_environ(),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        **environ,
    }
    words = [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--port={port}",
        "--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}",
        "--num-cpus=2", "--num-gpus=0", "--object-store-memory=80000000", "--disable-usage-stats", f"--temp-dir={folder / 'r'}",
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(words, env=own, stdout=log, stderr=log, start_new_session=True, cwd=folder)
    try:
        address = f"http://127.0.0.1:{dashboard}"
        request = urllib.request.Request(f"{address}/api/jobs/", headers={"Authorization": f"Bearer {token.read_text()}"})
        deadline = time.monotonic() + 120
        while True:
            with suppress(OSError), urllib.request.urlopen(request, timeout=5) as answer:
                assert json.load(answer) == []
                break
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, "no dashboard in two minutes"
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.2)
        yield Head(address=address, token=token)
    finally:
        process.terminate()
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)
