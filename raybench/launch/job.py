"""What a job of Ray's Jobs API is asked to be, and what came of it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raybench.launch.upload import CONFIG_NAME

STOP_WAIT_S = 60
"""Between SIGTERM and SIGKILL when a job is stopped."""
ENDED = ("STOPPED", "SUCCEEDED", "FAILED")
"""Statuses after which nothing happens any more."""
PYTHON = "python3"
"""The interpreter of the cluster's image, or of the job's pip environment, whose folder stands first in PATH."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """A run, as a job."""

    name: str
    """Of the run."""
    output: str
    """Run directory on the node that runs the driver; absolute, or below ~."""
    folder: Path
    """What is uploaded: `raybench-job.yaml` and what travels beside it."""
    retries: int = 0
    """Further tries after exit codes 1 and 3."""
    require: Sequence[str] = ()
    """Environment variables that must be set on the cluster."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Plain values that travel, readable for everybody who reaches the cluster's API."""
    pip: Sequence[str] = ()
    """Requirements that are installed for the job on every node."""
    image: str | None = None
    """Container image in which the job and its engines run."""

    def entrypoint(self) -> str:
        """The shell command of the job."""
        words = [PYTHON, "-m", "raybench.launch.attempts", "--children-are-told", "--join", "--retries", str(self.retries)]
        for name in self.require:
            words += ["--require", name]
        return shlex.join(["exec", *words, "--", "run", CONFIG_NAME, "--output", self.output])

    def runtime_env(self) -> dict[str, Any]:
        """What Ray sets up for the job and its actors."""
        env: dict[str, Any] = {
            "working_dir": str(self.folder),
            "env_vars": {
                "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S),
                # a driver started by `uv run` would make Ray start its workers with `uv run` as well
                "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
                **self.environment,
            },
        }
        if self.pip:
            env["pip"] = list(self.pip)
        if self.image is not None:
            env["image_uri"] = self.image
        return env


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job of the cluster."""

    id: str
    run: str
    """Name of its run; "" for a job that is none of ours."""
    output: str
    """Run directory on the cluster."""
    status: str
    """PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED."""
    started: float | None
    """Seconds since the epoch."""
    driver_exit_code: int | None
    error_type: str | None
    message: str
    """What Ray says about the status."""

    @property
    def has_ended(self) -> bool:
        """Whether its status is final."""
        return self.status in ENDED

    @property
    def exit_code(self) -> int:
        """Ours, for a job that has ended: the driver's own where Ray knows it.

        A stopped job is incomplete but resumable (3). So is one whose supervisor was lost, say with its node. An environment that could not be
        set up is a mistake in what was asked (2).
        """
        if self.driver_exit_code is not None:
            return self.driver_exit_code if self.driver_exit_code >= 0 else 3
        if self.status == "SUCCEEDED":
            return 0
        if self.error_type == "RUNTIME_ENV_SETUP_FAILURE":
            return 2
        return 3 if self.status == "STOPPED" or "SUPERVISOR" in (self.error_type or "") else 1
