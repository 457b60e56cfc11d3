"""Secrets of the environment are nowhere in what a run leaves behind or says."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from raybench.store.objects import Objects
from tests.driver.runs import ROOT, fake_config, write_config

SECRETS = ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "WANDB_API_KEY", "RAY_AUTH_TOKEN")


def raybench(environ: dict[str, str], *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "raybench", *map(str, arguments)],
        env={**os.environ, **environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_no_file_no_object_no_log_and_no_report_holds_a_secret(bucket: str, tmp_path: Path) -> None:
    canaries = {name: f"canary-{secrets.token_hex(16)}" for name in SECRETS}
    uri = f"{bucket}/run"
    path = write_config(tmp_path, fake_config(tmp_path / "x", pool="ray", resources={"engines": 2}))

    said = [
        raybench(canaries, "run", path, "--output", tmp_path / "here", "-v", "--json-log"),
        raybench(canaries, "run", path, "--output", uri, "--pool", "local", "-v"),
        *(raybench(canaries, "report", tmp_path / "here", "--format", form) for form in ("terminal", "markdown", "latex", "csv", "json")),
        raybench(canaries, "status", uri),
        raybench(canaries, "status", f"{bucket}-of-nobody/run"),
        raybench(canaries, "doctor"),
    ]

    assert [one.returncode for one in said[:8]] == [0] * 8, said[0].stderr + said[1].stderr
    objects = Objects(uri)
    stored = [objects.read(name) for name in objects.names()] + [p.read_bytes() for p in (tmp_path / "here").rglob("*") if p.is_file()]
    assert len(stored) > 20
    for canary in canaries.values():
        assert [one.args for one in said if canary in one.stdout + one.stderr] == []
        assert not any(canary.encode() in data for data in stored)


def test_a_secret_on_the_command_line_is_refused_before_it_is_stored(tmp_path: Path) -> None:
    path = write_config(tmp_path, fake_config(tmp_path / "run"))

    refused = raybench({"NOTIFY_TOKEN": "canary-0123456789"}, "run", path, "--set", "on_finish=notify --token canary-0123456789")

    assert refused.returncode == 2
    assert "holds the value of NOTIFY_TOKEN" in refused.stderr
    assert [p for p in (tmp_path / "run").rglob("*") if p.is_file() and b"canary-0123456789" in p.read_bytes()] == []
