"""A run on a cluster by Ray's Jobs API: a real head with a token on the loopback, from the submission to the files that come back."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from raybench.core.errors import ConfigError
from raybench.launch.ray_job import RayJobs
from tests.driver.runs import content_rows, events_of
from tests.launch.heads import Head, head


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("head:8265", "expected the dashboard of a Ray cluster"),
        ("ray://head:10001", "expected the dashboard of a Ray cluster"),
        ("http://user:word@head:8265", "holds a password"),
    ],
)
def test_an_address_that_is_no_dashboard_is_refused(address: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RayJobs(address)


def test_a_cluster_on_the_network_without_a_token_needs_consent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)

    with pytest.raises(ConfigError, match="no token was found"):
        RayJobs("http://head.example:8265")


# on a real cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[Head]:
    with head(PYTHONPATH=str(Path(__file__).resolve().parents[2])) as started:
        yield started


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What one command left behind."""

    code: int
    out: str
    err: str


SEVERAL = """
import contextlib, io, json, sys
from raybench.cli.main import main
said = []
for words in json.loads(sys.argv[1]):
    sys.argv = ["raybench", *words]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            main()
        except SystemExit as end:
            code = end.code
    said.append({"code": code, "out": out.getvalue(), "err": err.getvalue()})
print("\\n" + json.dumps(said))
"""


def call(cluster: Head, *commands: tuple[str | Path, ...], cwd: Path, **environ: str) -> list[Said]:
    """Commands of a user somewhere else, one after the other; in one process, since importing Ray takes seconds."""
    lines = json.dumps([[str(word) for word in words] for words in commands])
    done = subprocess.run(
        [sys.executable, "-c", SEVERAL, lines], capture_output=True, text=True, check=False, timeout=240, cwd=cwd,
        env={**cluster.environ(), "RAY_API_SERVER_ADDRESS": cluster.address, **environ},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [Said(**said) for said in json.loads(done.stdout.splitlines()[-1])]


def config(folder: Path, **changes: Any) -> Path:
    """48 questions in 12 shards."""
    base: dict[str, Any] = {
        "name": "cluster",
        "models": ["m"],
        "tasks": [{"name": "quickstart/choice", "limit": 48, "shard_size": 4}],
        "engine": {"kind": "fake"},
        "resources": {"engines": 1, "cpus_per_engine": 0.1},
        "bootstrap": 20,
    }
    folder.mkdir(exist_ok=True)
    path = folder / "cluster.yaml"
    path.write_text(yaml.safe_dump({**base, **changes}))
    return path


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_a_run_is_submitted_stopped_resumed_and_fetched(cluster: Head, tmp_path: Path) -> None:
    here = tmp_path / "here"
    slow = config(here, engine={"kind": "mine:Mine", "shard_s": 0.7}, models=[{"checkpoint": "./weights", "name": "m"}])
    (here / "weights").write_text("of no consequence")
    (here / "mine.py").write_text("from raybench.engines.fake import FakeEngine\n\n\nclass Mine(FakeEngine):\n    pass\n")
    output = tmp_path / "on the cluster" / "run"
    submit = ("submit", slow, "--via", "ray", "--output", output, "--working-dir", ".")

    (first,) = call(cluster, (*submit, "--detach"), cwd=here)
    assert first.code == 0, first.err
    wait_for(lambda: committed(output) >= 2)
    double, cancelled, after, again, fetched, listed, straight = call(
        cluster,
        submit,
        ("jobs", "cancel", "raybench-cluster"),
        ("jobs", "logs", "raybench-cluster"),
        submit,
        ("jobs", "fetch", "raybench-cluster-r2", "--output", "back"),
        ("jobs", "list", "--json"),
        ("run", slow, "--pool", "local", "--set", "engine.shard_s=0", "--output", "straight"),
        cwd=here,
    )

    assert first.out.split() == ["raybench-cluster"]
    assert double.code == 2
    assert "raybench-cluster of this run is RUNNING" in double.err
    assert cancelled.out == "raybench-cluster: STOPPED\n"
    assert "stopping: waiting for 1 shard at work" in after.out  # it had time to
    assert after.code == 3
    assert again.code == 0, again.out + again.err
    assert "of them from before" in again.out
    assert fetched.code == 0, fetched.err
    states = [(j["id"], j["status"], j["exit_code"]) for j in json.loads(listed.out)]
    assert states == [("raybench-cluster", "STOPPED", 3), ("raybench-cluster-r2", "SUCCEEDED", 0)]
    # the last command ran straight through, in one process
    assert straight.code == 0, straight.err
    assert content_rows(here / "back") == content_rows(here / "straight")
    secret = cluster.token.read_text()
    assert [p for p in (here / "back").rglob("*") if p.is_file() and secret.encode() in p.read_bytes()] == []
    assert secret not in first.out + first.err + again.out + again.err + listed.out


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_what_another_try_cannot_mend_ends_with_the_driver_s_exit_code(cluster: Head, tmp_path: Path) -> None:
    broken = config(tmp_path, name="broken", tasks=[{"name": "quickstart/choise"}])

    lacking = config(tmp_path / "lacking", name="env")

    wrong, absent = call(
        cluster,
        ("submit", broken, "--via", "ray", "--output", tmp_path / "broken", "--retries", "3"),
        ("submit", lacking, "--via", "ray", "--output", tmp_path / "env", "--env", "RAYBENCH_TEST_CANARY", "--retries", "3"),
        cwd=tmp_path,
        RAYBENCH_TEST_CANARY="a-value-of-ours",
    )

    assert wrong.code == 2
    assert "quickstart/choice" in wrong.out  # the driver's own message
    assert "retry" not in wrong.out
    assert absent.code == 2
    assert "RAYBENCH_TEST_CANARY: not set in the environment of the cluster" in absent.out
    assert "a-value-of-ours" not in absent.out + absent.err


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_a_wrong_token_is_refused_at_once(cluster: Head, tmp_path: Path) -> None:
    (tmp_path / "other").write_text("0" * 64)

    (refused,) = call(cluster, ("jobs", "list"), cwd=tmp_path, RAY_AUTH_TOKEN_PATH=str(tmp_path / "other"))

    assert refused.code == 2
    assert "the cluster refuses the token" in refused.err


def committed(output: Path) -> int:
    return len(events_of(output, "commit"))


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not happen in two minutes"
        threading.Event().wait(0.1)
