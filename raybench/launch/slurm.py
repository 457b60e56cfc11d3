"""Runs as Slurm jobs: a readable sbatch script, submitted and followed.

The submitting machine and all nodes must share the folder of the run (they do on the usual cluster); the script, the token, the log and the exit
code lie beside it, in `<run directory>.slurm`.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from raybench.core.errors import ConfigError, RunError

LOG, EXIT_CODE, SCRIPT, CONFIG = "slurm.log", "exit_code", "job.sh", "config.yaml"
NOTICE_S = 120
"""Between the signal and the time limit."""
LEAST_WORK_S = 180
"""Slurm sends the signal up to 60 s early, and loses it where the limit is near (measured with 22.05): there must be more time than this."""
MAX_RESTARTS = 50
"""Starts after the time limit before a job gives up."""
GONE_S = 5.0
"""A job that Slurm does not list for so long has ended; while it is requeued it may be missing for a moment."""
STORE_BYTES = 1_000_000_000
"""Ray's object store of a node: raybench's own messages are small."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """What is asked of Slurm."""

    nodes: int = 1
    gpus_per_node: int = 0
    cpus_per_node: int = 4
    time_limit: str = "01:00:00"
    """In one of sbatch's forms."""
    options: Sequence[str] = ()
    """Further options of sbatch, such as --partition=gpu."""
    setup: Sequence[str] = ()
    """Shell lines before anything runs, on the first node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmRequest:
    """A run, as a Slurm job."""

    name: str
    output: Path
    """Run directory, absolute; on storage that all nodes share."""
    allocation: Allocation
    retries: int = 0
    """Further tries inside the allocation after exit codes 1 and 3."""
    require: Sequence[str] = ()
    """Environment variables that must be set on the node of the driver."""
    plain: Mapping[str, str] = field(default_factory=dict)
    """Values that are written into the script."""
    python: str = sys.executable
    """Interpreter with raybench, on every node."""

    @property
    def folder(self) -> Path:
        """Script, token, log and exit code."""
        return self.output.with_name(f"{self.output.name}.slurm")


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmJob:
    """A submitted job."""

    id: str
    folder: Path


def render(request: SlurmRequest) -> str:
    """The sbatch script.

    Raises:
        ConfigError: for what sbatch would misread, and for a time limit that leaves no time to end cleanly.
    """
    asked = request.allocation
    limit = seconds_of(asked.time_limit)
    if limit is not None and limit < NOTICE_S + LEAST_WORK_S:
        raise ConfigError(
            f"--time {asked.time_limit}: {limit} s are too short to end the run cleanly before the limit; at least {NOTICE_S + LEAST_WORK_S} s."
        )
    if re.search(r"[\s%'\"\\]", str(request.folder)):
        raise ConfigError(
            f"--output {request.output}: sbatch cannot write its log there: spaces, quotes and % have a meaning of their own."
        )
    for option in asked.options:
        if not re.fullmatch(r"--[a-z][^\n]*", option):
            raise ConfigError(f"--sbatch={option}: expected an option of sbatch, such as --sbatch=--partition=gpu.")
    gpus = [f"--gpus-per-node={asked.gpus_per_node}"] if asked.gpus_per_node else []
    values = {
        "NAME": request.name,
        "NODES": str(asked.nodes),
        "CPUS": str(asked.cpus_per_node),
        "GPUS": str(asked.gpus_per_node),
        "SRUN_GPUS": "".join(f" {option}" for option in gpus),
        "TIME": asked.time_limit,
        "FOLDER": str(request.folder),
        "NOTICE": str(NOTICE_S),
        "OPTIONS": "".join(f"#SBATCH {option}\n" for option in (*gpus, *asked.options)),
        "PYTHON": shlex.quote(request.python),
        "SETUP": "".join(
            f"{line}\n" for line in (*asked.setup, *(f"export {name}={shlex.quote(v)}" for name, v in sorted(request.plain.items())))
        ),
        "STORE": str(STORE_BYTES),
        "RETRIES": str(request.retries),
        "REQUIRE": "".join(f"--require {name} " for name in request.require),
        "OUTPUT": shlex.quote(str(request.output)),
        "RESTARTS": str(MAX_RESTARTS),
    }
    template = files("raybench.launch").joinpath("templates/slurm.sh").read_text()
    # the options and the lines of the user stand on lines of their own, which vanish where there are none
    text = re.sub(r"^@(OPTIONS|SETUP)@\n", lambda found: values[found.group(1)], template, flags=re.MULTILINE)
    return re.sub(r"@([A-Z_]+)@", lambda found: values[found.group(1)], text)


def seconds_of(limit: str) -> int | None:
    """Seconds of a time limit in sbatch's forms (M, M:S, H:M:S, D-H, D-H:M, D-H:M:S); None for UNLIMITED.

    Raises:
        ConfigError: for anything else.
    """
    if limit.upper() in ("UNLIMITED", "INFINITE"):
        return None
    days, dash, rest = limit.rpartition("-")
    parts = rest.split(":")
    if not all(p.isdigit() for p in (*parts, *([days] if dash else []))) or len(parts) > 3:
        raise ConfigError(f"--time {limit}: no time limit of sbatch; expected [D-]HH:MM:SS, or minutes.")
    numbers = [int(p) for p in parts]
    if dash:
        hours, minutes, seconds = (*numbers, 0, 0)[:3]
        return int(days) * 86400 + hours * 3600 + minutes * 60 + seconds
    if len(numbers) == 3:
        return numbers[0] * 3600 + numbers[1] * 60 + numbers[2]
    return numbers[0] * 60 + (numbers[1] if len(numbers) == 2 else 0)


def submit(request: SlurmRequest, config_text: str) -> SlurmJob:
    """Write the script and its configuration beside the run directory, and hand the script to sbatch.

    Raises:
        RunError: while another job of the same run is queued or runs.
        ConfigError: when sbatch is missing or refuses the script.
    """
    script = render(request)
    folder = request.folder
    folder.mkdir(parents=True, exist_ok=True)
    before = folder / "job_id"
    if before.is_file() and _is_queued(before.read_text().strip()):
        raise RunError(f"{request.output}: the Slurm job {before.read_text().strip()} of this run has not ended; `scancel` ends it.")
    (folder / CONFIG).write_text(config_text)
    (folder / SCRIPT).write_text(script)
    (folder / EXIT_CODE).unlink(missing_ok=True)
    (folder / LOG).touch()
    size = (folder / LOG).stat().st_size
    job = SlurmJob(id=_call("sbatch", "--parsable", str(folder / SCRIPT)).strip().partition(";")[0], folder=folder)
    before.write_text(job.id)
    (folder / "log_begin").write_text(str(size))
    return job


def follow(job: SlurmJob, write: Callable[[str], None], *, poll_s: float = 1.0) -> int:
    """Hand on what the job writes until it has ended, through every requeue; its driver's exit code.

    The exit code comes from a file that the script leaves: Slurm forgets a job soon (MinJobAge). 3 for a job that ended without one, since it
    was killed.
    """
    begin = job.folder / "log_begin"
    shown = int(begin.read_text()) if begin.is_file() else 0
    gone_since: float | None = None
    while True:
        is_gone = gone_since is not None and time.monotonic() - gone_since > GONE_S
        code = job.folder / EXIT_CODE
        has_ended = is_gone or (code.is_file() and code.read_text().strip() != "")
        with (job.folder / LOG).open("rb") as log:
            log.seek(shown)
            new = log.read()
        if not has_ended:  # a line that is half written comes next time
            new = new[: new.rfind(b"\n") + 1]
        shown += len(new)
        if new:
            write(new.decode(errors="replace"))
        if has_ended:
            return int(code.read_text()) if code.is_file() else 3
        gone_since = None if _is_queued(job.id) else gone_since or time.monotonic()
        time.sleep(poll_s)


def _is_queued(job_id: str) -> bool:
    done = subprocess.run(
        ["squeue", "--noheader", "--states=all", "--jobs", job_id, "--format=%T"], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        return "Invalid job id" not in done.stderr  # otherwise the controller does not answer for a moment
    state = done.stdout.strip()
    return state != "" and state not in (
        "COMPLETED",
        "FAILED",
        "CANCELLED",
        "TIMEOUT",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "BOOT_FAIL",
        "DEADLINE",
    )


def _call(*words: str) -> str:
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    except FileNotFoundError as error:
        raise ConfigError(f"{words[0]}: not found; --via slurm needs Slurm's commands on this machine.") from error
    if done.returncode != 0:
        raise ConfigError(f"{words[0]} refuses: {' '.join(done.stderr.split())[:500]}")
    return done.stdout
