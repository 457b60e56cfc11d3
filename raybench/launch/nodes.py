"""`python -m raybench.launch.nodes`: waits until a Ray cluster has as many nodes as were started for it."""

from __future__ import annotations

import argparse
import os
import socket
import sys
import time
from collections.abc import Sequence


def wait_for_nodes(address: str, count: int, *, timeout_s: float, starters: Sequence[int] = ()) -> int:
    """Alive nodes of the cluster at `address` (host:port), when they are `count`, or when the time is over; -1 where nobody listens.

    With a count of 0 only the port is looked at, which needs no import of Ray. When one of the processes `starters`, which start the nodes and live as
    long as these, has ended, there is nothing more to wait for.
    """
    deadline = time.monotonic() + timeout_s

    def is_over() -> bool:
        return time.monotonic() > deadline or not all(map(_lives, starters))

    host, _, port = address.rpartition(":")
    while not _listens(host, int(port)):
        if is_over():
            return -1
        time.sleep(0.2)
    if count == 0:
        return 0
    import ray

    ray.init(address=address, logging_level="ERROR", log_to_driver=False, configure_logging=False)
    try:
        while (alive := sum(bool(node["Alive"]) for node in ray.nodes())) < count and not is_over():
            time.sleep(0.2)
        return alive
    finally:
        ray.shutdown()


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def _listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=2).close()
    except OSError:
        return False
    return True


def main(arguments: Sequence[str]) -> int:
    """Wait; 0 when the nodes are there, otherwise 3."""
    parser = argparse.ArgumentParser(prog="python -m raybench.launch.nodes", description="Wait for the nodes of a Ray cluster.")
    parser.add_argument("--address", required=True, help="host:port of its head")
    parser.add_argument("--nodes", type=int, required=True, help="0: only the head's port")
    parser.add_argument("--starter", type=int, action="append", default=[], help="a process that starts a node and lives as long as it")
    parser.add_argument("--timeout-s", type=float, default=300.0)
    parsed = parser.parse_args(arguments)
    alive = wait_for_nodes(parsed.address, parsed.nodes, timeout_s=parsed.timeout_s, starters=parsed.starter)
    if alive < parsed.nodes:
        dead = [process for process in parsed.starter if not _lives(process)]
        when = "and a `ray start` has ended" if dead else f"after {parsed.timeout_s:g} s"
        sys.stderr.write(f"raybench: {max(alive, 0)} of {parsed.nodes} nodes are up {when}; see the logs of `ray start`.\n")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
