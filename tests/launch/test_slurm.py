"""A run as a Slurm job: the script as text, and a real Slurm on this machine from the submission to the second start."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from raybench.core.errors import ConfigError, RunError
from raybench.launch.slurm import Allocation, SlurmJob, SlurmRequest, follow, render, seconds_of, submit
from tests.driver.runs import content_rows, events_of
from tests.launch.heads import clean_environ
from tests.launch.slurms import need_slurm, slurm

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "cluster" / "slurm" / "two-nodes.sh"


def request(**changes: Any) -> SlurmRequest:
    allocation = Allocation(
        **{"nodes": 2, "gpus_per_node": 8, "cpus_per_node": 32, "time_limit": "04:00:00", **changes.pop("allocation", {})}
    )
    base: dict[str, Any] = {
        "name": "my-sweep",
        "output": Path("/shared/runs/my-sweep"),
        "python": "python3",
        "retries": 2,
        "require": ["HF_TOKEN"],
    }
    return SlurmRequest(**{**base, "allocation": allocation, **changes})


def test_the_example_in_the_repository_is_what_is_rendered() -> None:
    allocation = {"options": ["--partition=gpu", "--account=research"], "setup": ["module load cuda"]}

    text = render(request(allocation=allocation))

    assert text == GOLDEN.read_text()


def test_a_script_is_whole_and_valid_for_the_shell() -> None:
    text = render(request(allocation={"gpus_per_node": 0, "nodes": 1}, plain={"HF_HOME": "/a b/$(x)"}, require=()))

    assert re.findall(r"@[A-Z_]+@", text) == []
    assert "--gpus-per-node" not in text
    assert "export HF_HOME='/a b/$(x)'\n" in text
    assert "\n\n\n" not in text
    checked = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


# the forms of sbatch's own manual page (Slurm 22.05, --time)
@pytest.mark.parametrize(
    ("limit", "expected"),
    [("10", 600), ("10:30", 630), ("01:02:03", 3723), ("1-02", 93600), ("1-02:03", 93780), ("1-02:03:04", 93784), ("UNLIMITED", None)],
)
def test_time_limits_are_read_as_sbatch_does(limit: str, expected: int | None) -> None:
    assert seconds_of(limit) == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"allocation": {"time_limit": "00:04:59"}}, "299 s are too short to end the run cleanly"),
        ({"allocation": {"time_limit": "soon"}}, "no time limit of sbatch"),
        ({"allocation": {"options": ["partition=gpu"]}}, "expected an option of sbatch"),
        ({"allocation": {"options": ["--comment=a\nrm -rf /"]}}, "expected an option of sbatch"),
        ({"output": Path("/shared/my runs/x")}, "spaces, quotes and %"),
        ({"output": Path("/shared/%j/x")}, "spaces, quotes and %"),
    ],
)
def test_what_slurm_would_misread_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        render(request(**changes))


def test_without_slurm_s_commands_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(ConfigError, match="sbatch: not found"):
        submit(request(output=tmp_path / "run"), "name: x\n")


# on a real Slurm


@pytest.fixture(scope="module")
def cluster() -> Iterator[dict[str, str]]:
    need_slurm()
    with slurm() as environ:
        yield environ


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_a_job_on_two_nodes_ends_before_its_time_limit_is_requeued_and_goes_on(
    cluster: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**clean_environ(), **cluster}.items():
        monkeypatch.setenv(name, value)
    config = {
        "name": "queued",
        "models": ["m"],
        "tasks": [{"name": "quickstart/choice", "limit": 48, "shard_size": 4}],
        "engine": {"kind": "fake", "shard_s": 1.0},
        "resources": {"engines": 2, "cpus_per_engine": 0.6},  # of one CPU a node: an engine on each
        "bootstrap": 20,
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    job = submit(
        request(
            name="queued", output=tmp_path / "run", python=sys.executable, retries=0, require=[],
            allocation={"gpus_per_node": 0, "cpus_per_node": 1, "time_limit": "00:10:00"},
        ),
        yaml.safe_dump(config),
    )  # fmt: skip
    said: list[str] = []
    follower = threading.Thread(target=lambda: said.append(str(follow(job, said.append, poll_s=0.2))))
    follower.start()

    wait_for(lambda: committed(tmp_path / "run") >= 2, job)
    with pytest.raises(RunError, match="of this run has not ended"):
        submit(request(output=tmp_path / "run"), "")
    # what Slurm itself sends before the time limit, which no test can wait for
    subprocess.run(["scancel", "--batch", "--signal=USR1", job.id], check=True, timeout=60)
    wait_for(lambda: "Restarts=1" in shown(job), job)
    left = committed(tmp_path / "run")
    wait_for(lambda: has_begun_again(job), job)
    follower.join(timeout=200)

    text = "".join(said)
    assert said[-1] == "0", text
    assert "stopping: waiting for" in text
    assert "raybench: the time is over; requeued, start 2" in text
    assert 0 < left < 12
    assert "of them from before" in text
    assert (
        len(events_of(tmp_path / "run", "engine_started", segment=0)) == 2
    )  # 0.6 of a CPU each: on one node of one CPU there is room for one
    assert (tmp_path / "run.slurm" / "token").stat().st_mode & 0o777 == 0o600
    token = (tmp_path / "run.slurm" / "token").read_text()
    assert [p for p in tmp_path.rglob("*") if p.is_file() and p.name != "token" and token.encode() in p.read_bytes()] == []
    subprocess.run(
        [sys.executable, "-m", "raybench", "run", str(tmp_path / "c.yaml"), "--pool", "local", "--output", str(tmp_path / "straight"),
         "--set", "engine.shard_s=0"],
        check=True, capture_output=True, timeout=100,
    )  # fmt: skip
    assert content_rows(tmp_path / "run") == content_rows(tmp_path / "straight")


def committed(run: Path) -> int:
    return len(events_of(run, "commit"))


def has_begun_again(job: SlurmJob) -> bool:
    """Whether the requeued job runs. Slurm has it wait for two minutes, from when the first start is cleaned up: what is said before that is lost."""
    hasten = ["scontrol", "update", f"jobid={job.id}", "StartTime=now"]
    subprocess.run(hasten, capture_output=True, check=False, timeout=60)  # it refuses once the job runs or has ended
    state = subprocess.run(
        ["squeue", "--noheader", "--states=all", "--jobs", job.id, "--format=%T"], capture_output=True, text=True, check=False, timeout=60
    ).stdout.strip()
    return state in ("RUNNING", "COMPLETING", "COMPLETED")


def shown(job: SlurmJob) -> str:
    done = subprocess.run(["scontrol", "show", "job", job.id], capture_output=True, text=True, check=False, timeout=60)
    return done.stdout if "JobState=PENDING" in done.stdout else ""


def wait_for(condition: Any, job: SlurmJob) -> None:
    deadline = time.monotonic() + 150
    while not condition():
        if time.monotonic() > deadline:
            logs = "\n".join(f"{p.name}:\n{p.read_text()[-2000:]}" for p in job.folder.glob("*.log"))
            pytest.fail(f"what was waited for did not happen: {logs}; {os.environ.get('SLURM_CONF')}")
        threading.Event().wait(0.2)
