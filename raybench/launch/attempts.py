"""`python -m raybench.launch.attempts`: runs raybench as a child and starts it again where that can help.

    --retries N       after exit code 1 (internal failure) or 3 (incomplete but resumable), or when a signal killed it; never after
                      2 (what was asked is wrong) or 4 (more errors than allowed): the same would come again
    --require NAME    an environment variable that must be set here; its value is neither shown nor passed anywhere
    --join            the cluster of RAY_ADDRESS, which Ray sets for its jobs: no shell need replace anything on the way
    --accept CODE     an exit code that counts as 0, for a cluster that would start anew after it
    --children-are-told   whoever signals this process signals its children too
    -- ARGUMENTS      of `raybench`

It stands between a cluster and the driver, on the cluster. SIGTERM and SIGINT end the retries and are handed on to the driver, which is given a
process group of its own. Ray's Jobs API signals a job's process and all its descendants (ray 2.60, job_supervisor.py): a second signal
would cut the driver's grace short, so with --children-are-told it is not handed on, and the driver stays in the job's process group,
which Ray ends when the job's supervisor is lost.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from types import FrameType

AGAIN = (1, 3)
"""Exit codes after which another try can help."""
ENDED = "the driver ended with exit code "
"""Of the last line: a stopped job of Ray has no exit code, and its log is what tells."""
PAUSE_S = 5.0
"""Before the first retry; twice as long before each further one, at most ten minutes."""


def attempt(command: Sequence[str], *, retries: int, pause_s: float = PAUSE_S, children_are_told: bool = False) -> int:
    """Run `command` until it ends in a way that another try cannot mend.

    Args:
        command: What to run; it sees this process's environment and streams.
        retries: Further tries at most.
        pause_s: Before the first retry.
        children_are_told: Whether whoever signals us signals our children as well.

    Returns:
        The last exit code; 3 when a signal killed the last child, since what it committed is there.
    """
    received: list[int] = []
    child: subprocess.Popen[bytes] | None = None

    def hand_on(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if child is not None and child.poll() is None and not children_are_told:
            child.send_signal(number)

    before = {number: signal.signal(number, hand_on) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        for number in range(retries + 1):
            child = subprocess.Popen(command, process_group=None if children_are_told else 0)
            if received and not children_are_told:  # it came while the child was being made
                child.send_signal(received[-1])
            code = child.wait()
            if code < 0:
                _say(f"the driver was killed by {signal.Signals(-code).name}")
                code = 3
            if received or code not in AGAIN or number == retries:
                return code
            wait_s = min(pause_s * 2**number, 600.0)
            _say(f"exit code {code}; retry {number + 1} of {retries} in {wait_s:g} s")
            deadline = time.monotonic() + wait_s
            while not received and time.monotonic() < deadline:
                time.sleep(min(0.2, wait_s))
            if received:
                return code
        return code
    finally:
        for signal_number, handler in before.items():
            signal.signal(signal_number, handler)


def missing(names: Sequence[str], environ: Mapping[str, str]) -> list[str]:
    """Which of the environment variables are not set, or empty."""
    return [name for name in names if not environ.get(name)]


def _say(text: str) -> None:
    sys.stderr.write(f"raybench: {text}\n")
    sys.stderr.flush()


def main(arguments: Sequence[str]) -> int:
    """Read the arguments and run; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m raybench.launch.attempts", description="Run raybench, again where that helps.")
    parser.add_argument("--retries", type=int, default=0)
    parser.add_argument("--require", action="append", default=[])
    parser.add_argument("--children-are-told", action="store_true", help="who signals us signals our children too")
    parser.add_argument("--join", action="store_true", help="the cluster of RAY_ADDRESS")
    parser.add_argument("--accept", type=int, action="append", default=[])
    parser.add_argument("arguments", nargs="+")
    parsed = parser.parse_args(arguments)
    absent = missing(parsed.require, os.environ)
    joined = ["--address", os.environ["RAY_ADDRESS"]] if parsed.join and "RAY_ADDRESS" in os.environ else []
    if parsed.join and not joined:
        _say("RAY_ADDRESS is not set: --join is for jobs of a Ray cluster, which sets it.")
        return 2
    if absent:
        _say(
            f"{', '.join(absent)}: not set in the environment of the cluster, and --env asked for it. Set it where the cluster's nodes start "
            "(a Kubernetes Secret, the launcher file, the sbatch environment), or give a value that is no secret as --env NAME=VALUE."
        )
        return 2
    command = [sys.executable, "-m", "raybench", *parsed.arguments, *joined]
    code = attempt(command, retries=parsed.retries, children_are_told=parsed.children_are_told)
    _say(f"{ENDED}{code}")
    return 0 if code in parsed.accept else code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
