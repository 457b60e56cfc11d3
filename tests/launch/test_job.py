"""What a job is asked to be, and which exit code it comes to."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from raybench.launch.job import Job, JobRequest


def job(**changes: Any) -> Job:
    base: dict[str, Any] = {"id": "j", "run": "r", "output": "/o", "status": "FAILED", "started": 1.0, "driver_exit_code": None}
    return Job(**{**base, "error_type": None, "message": "", **changes})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"driver_exit_code": 4}, 4),  # Ray 2.60's own `ray job submit` would say 1
        ({"driver_exit_code": 3, "status": "STOPPED"}, 3),  # and 0
        ({"driver_exit_code": -9}, 3),  # killed: what it committed is there
        ({"status": "STOPPED"}, 3),
        ({"status": "SUCCEEDED"}, 0),
        ({"error_type": "RUNTIME_ENV_SETUP_FAILURE"}, 2),
        ({"error_type": "JOB_SUPERVISOR_ACTOR_DIED"}, 3),
        ({}, 1),
    ],
)
def test_the_exit_code_is_the_driver_s_or_follows_from_the_status(changes: dict[str, Any], expected: int) -> None:
    assert job(**changes).exit_code == expected


def test_the_entry_point_quotes_what_the_user_named(tmp_path: Path) -> None:
    request = JobRequest(name="r", output="/data/my runs/$(x)", folder=tmp_path, retries=2, require=["HF_TOKEN"])

    # the shell's own view of the words
    words = subprocess.run(
        ["sh", "-c", request.entrypoint().replace("exec python3", "printf '%s\\n'")], capture_output=True, text=True, check=True
    ).stdout.splitlines()  # fmt: skip

    assert words[words.index("--output") + 1] == "/data/my runs/$(x)"
    assert words[words.index("--require") + 1] == "HF_TOKEN"
    assert "--join" in words


def test_a_stop_leaves_a_minute_and_only_plain_values_travel(tmp_path: Path) -> None:
    env = JobRequest(name="r", output="/o", folder=tmp_path, require=["HF_TOKEN"], environment={"A": "1"}, image="i:1").runtime_env()

    assert env["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"] == "60"
    assert env["env_vars"]["A"] == "1"
    assert "HF_TOKEN" not in env["env_vars"]
    assert env["image_uri"] == "i:1"
    assert "pip" not in env
