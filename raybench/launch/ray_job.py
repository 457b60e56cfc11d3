"""Runs as jobs of a Ray cluster, by its Jobs API: the driver runs on the cluster and outlives the machine that submitted it.

What is different from `ray job submit` (ray 2.60): the driver's own exit code comes back, a stop leaves a minute to end cleanly (Ray's
default is 3 s), a second job for the same run is refused while the first one lives, and no value of a secret travels.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from raybench.core.errors import ConfigError, IncompleteError, RunError
from raybench.core.ray_auth import LOOPBACK, auth_mode
from raybench.launch.attempts import ENDED as ENDED_WITH
from raybench.launch.job import PYTHON, STOP_WAIT_S, Job, JobRequest

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

OURS = "raybench"
"""Key of a job's metadata that holds the name of its run."""
_SHORTEST_POLL_S, _LONGEST_POLL_S = 0.5, 5.0
_BEARABLE_SILENCE_S = 300.0


class RayJobs:
    """The jobs of one cluster.

    Args:
        address: http(s) address of the cluster's dashboard, such as http://head:8265.
        allow_no_token: Consent to a cluster on the network without a token.

    Raises:
        ConfigError: when the address is none, cannot be reached, or refuses the token.
    """

    def __init__(self, address: str, *, allow_no_token: bool = False) -> None:
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"--address {address}: expected the dashboard of a Ray cluster, such as http://head:8265.")
        if parts.username or parts.password:
            raise ConfigError("--address: holds a password; Ray's token belongs into the file that RAY_AUTH_TOKEN_PATH names.")
        self.is_readable_on_the_way = parts.scheme == "http" and parts.hostname not in LOOPBACK
        """Whether the token crosses a network in plain text."""
        self._address = address
        mode = auth_mode(parts.hostname, consent=allow_no_token, what=f"--address {address}")
        if "ray" not in sys.modules:
            os.environ["RAY_AUTH_MODE"] = mode  # read at import; without it a token is not sent
        self._client = self._connect()

    def _connect(self) -> JobSubmissionClient:
        from ray.exceptions import AuthenticationError
        from ray.job_submission import JobSubmissionClient

        for name in ("ray.dashboard.modules.dashboard_sdk", "ray._private.runtime_env.packaging"):
            logging.getLogger(name).setLevel(logging.WARNING)  # we say ourselves what is uploaded
        try:
            with _without("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):  # they would override the argument
                return JobSubmissionClient(self._address)
        except AuthenticationError as error:
            raise ConfigError(
                f"--address {self._address}: the cluster refuses the token, or got none. Set RAY_AUTH_TOKEN_PATH to a file with the head's token "
                "(`ray get-auth-token` shows it there)."
            ) from error
        except (ConnectionError, RuntimeError) as error:
            raise ConfigError(
                f"--address {self._address}: cannot be reached: {_line(error)} Is the head running with its dashboard, and is the port right "
                "(8265 by default)?"
            ) from error

    def submit(self, request: JobRequest) -> str:
        """Start a job; returns its id: `raybench-<run>`, with `-r2`, `-r3` for what resumes it.

        Raises:
            RunError: while another job of the same run has not ended.
            ConfigError: when the cluster refuses it.
        """
        before = [job for job in self.list() if job.run == request.name]
        for job in before:
            if not job.has_ended:
                raise RunError(
                    f"{request.name}: the job {job.id} of this run is {job.status}. Watch it with `raybench jobs logs {job.id}`, "
                    f"or end it with `raybench jobs cancel {job.id}`."
                )
        base = f"raybench-{request.name}"
        numbers = [int(match.group(1) or 1) for job in before if (match := re.fullmatch(rf"{re.escape(base)}(?:-r(\d+))?", job.id))]
        job_id = base if not numbers else f"{base}-r{max(numbers) + 1}"
        try:
            # an id that is taken is refused: two submissions at once cannot both begin
            found: str = self._client.submit_job(
                entrypoint=request.entrypoint(),
                submission_id=job_id,
                runtime_env=request.runtime_env(),
                metadata={OURS: request.name, "output": request.output},
            )
        except (RuntimeError, ValueError) as error:
            if "already exists" in str(error):
                raise RunError(f"{request.name}: another submission was first; see `raybench jobs list`.") from error
            raise ConfigError(f"the cluster refuses the job: {_line(error)}") from error
        return found

    def get(self, job_id: str) -> Job:
        """One job.

        Raises:
            RunError: when there is none of this id.
        """
        try:
            job = _job(self._client.get_job_info(job_id))
        except RuntimeError as error:
            if "does not exist" not in str(error):
                raise
            raise RunError(f"{job_id}: no job of this cluster; see `raybench jobs list`.") from error
        if job.status == "STOPPED" and job.driver_exit_code is None:
            said = re.findall(rf"^raybench: {ENDED_WITH}(\d+)$", self._client.get_job_logs(job_id), flags=re.MULTILINE)
            return replace(job, driver_exit_code=int(said[-1])) if said else job
        return job

    def list(self) -> list[Job]:
        """Jobs that raybench submitted, the oldest first."""
        jobs = [_job(d) for d in self._client.list_jobs() if d.submission_id]
        return sorted((j for j in jobs if j.run), key=lambda j: (j.started or float("inf"), j.id))

    def logs(self, job_id: str) -> str:
        """Everything that the job has written so far."""
        self.get(job_id)
        text: str = self._client.get_job_logs(job_id)
        return text

    def follow(self, job_id: str, write: Callable[[str], None], *, note: Callable[[str], None] = lambda text: None) -> Job:
        """Hand on the job's output until it has ended; a connection that is lost is tried again for five minutes.

        Args:
            job_id: Which.
            write: Gets new output.
            note: Gets a line about the connection.

        Raises:
            IncompleteError: when the cluster cannot be reached any more; the job may go on.
        """
        shown, silent_since, wait_s = 0, None, _SHORTEST_POLL_S
        while True:
            try:
                job = self.get(job_id)  # first the status: what is written before the end is then in the log
                text = self._client.get_job_logs(job_id) if job.status != "PENDING" else ""
            except (ConnectionError, RuntimeError) as error:
                if isinstance(error, RunError):
                    raise
                silent_since = silent_since or time.monotonic()
                if time.monotonic() - silent_since > _BEARABLE_SILENCE_S:
                    raise IncompleteError(
                        f"{job_id}: the cluster at {self._address} has not answered for {_BEARABLE_SILENCE_S:g} s: {_line(error)} "
                        f"The job may go on; `raybench jobs logs {job_id}` watches it again."
                    ) from error
                note("the cluster does not answer; trying again")
                time.sleep(_LONGEST_POLL_S)
                continue
            silent_since = None
            if len(text) > shown:
                write(text[shown:])
                shown, wait_s = len(text), _SHORTEST_POLL_S
            if job.has_ended:
                return job
            time.sleep(wait_s)
            wait_s = min(wait_s * 1.5, _LONGEST_POLL_S)

    def cancel(self, job_id: str) -> Job:
        """Ask a job to end, and wait until it has: shards that run may end, so that nothing but their time is lost."""
        if not self.get(job_id).has_ended:
            self._client.stop_job(job_id)
        deadline = time.monotonic() + STOP_WAIT_S + 30
        while not (job := self.get(job_id)).has_ended:
            if time.monotonic() > deadline:
                raise IncompleteError(f"{job_id}: still {job.status} after {STOP_WAIT_S + 30} s; see `raybench jobs logs {job_id}`.")
            time.sleep(_SHORTEST_POLL_S)
        return job

    def archive(self, job_id: str, *, only_results: bool) -> str:
        """Let a small job pack the run directory into its own log, and return that log: no file system is shared.

        Raises:
            RunError: when the run directory is not where the driver ran, or is too large for this way.
        """
        job = self.get(job_id)
        words = [PYTHON, "-m", "raybench.launch.archive", job.output, *(["--only-results"] if only_results else [])]
        details = self._client.get_job_info(job_id)
        env = {k: v for k, v in (details.runtime_env or {}).items() if k in ("pip", "image_uri")}
        helper = self._client.submit_job(entrypoint=shlex.join(words), runtime_env=env, metadata={"raybench-fetch": job_id})
        while not (done := self.get(helper)).has_ended:
            time.sleep(_SHORTEST_POLL_S)
        text: str = self._client.get_job_logs(helper)
        self._client.delete_job(helper)
        if done.status != "SUCCEEDED":
            said = next((line for line in reversed(text.splitlines()) if line.startswith("raybench: ")), done.message)
            raise RunError(f"{job_id}: the run cannot be fetched: {said.removeprefix('raybench: ')}")
        return text


def _job(details: Any) -> Job:
    metadata = details.metadata or {}
    return Job(
        id=details.submission_id,
        run=metadata.get(OURS, ""),
        output=metadata.get("output", ""),
        status=str(details.status.value),
        started=details.start_time / 1000 if details.start_time else None,
        driver_exit_code=details.driver_exit_code,
        error_type=details.error_type,
        message=details.message or "",
    )


@contextmanager
def _without(*names: str) -> Iterator[None]:
    """Environment variables that are not there inside the block."""
    before = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(before)


def _line(error: Exception) -> str:
    """What a third party said, on one line; of a server's traceback its last line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]
