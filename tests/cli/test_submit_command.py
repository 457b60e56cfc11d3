"""`raybench submit` before anything is submitted; clusters are in tests/launch."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Call


@pytest.fixture
def cluster_config(config: Path) -> Path:
    """The small configuration, for a cluster."""
    config.write_text(config.read_text().replace("pool: local\n", ""))
    return config


def test_the_script_for_slurm_can_be_looked_at(cluster_config: Path, call: Call) -> None:
    said = call("submit", cluster_config, "--via", "slurm", "--nodes", "2", "--sbatch=--partition=gpu", "--dry-run")

    assert said.code == 0
    assert "#SBATCH --nodes=2\n" in said.out
    assert "#SBATCH --partition=gpu\n" in said.out
    assert f"--output {cluster_config.parent / 'runs' / 'small'} " in said.out
    assert sorted(p.name for p in cluster_config.parent.iterdir()) == ["small.yaml"]  # nothing is left behind


def test_a_run_of_this_process_is_not_submitted(config: Path, call: Call) -> None:
    said = call("submit", config, "--via", "slurm", "--dry-run")

    assert said.code == 2
    assert "pool: 'local' cannot be submitted" in said.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--via", "ray"), "--via ray needs --address"),
        (("--via", "ray", "--address", "http://127.0.0.1:1", "--nodes", "2", "--dry-run"), "--nodes, --dry-run: not with --via ray"),
        (("--via", "slurm", "--image", "x", "--address", "http://h:1"), "--image, --address: not with --via slurm"),
        (("--via", "slurm", "--time", "1"), "60 s are too short"),
        (("--via", "slurm", "--env", "MY_TOKEN=x"), "looks like a secret"),
        (("--via", "ray", "--address", "http://127.0.0.1:1", "--env", "MY_TOKEN=x"), "looks like a secret"),
    ],
)
def test_what_cannot_be_honoured_is_refused(words: tuple[str, ...], message: str, cluster_config: Path, call: Call) -> None:
    said = call("submit", cluster_config, *words)

    assert said.code == 2
    assert message in said.err


def test_an_address_in_the_environment_is_for_ray_alone(cluster_config: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:1")

    assert call("submit", cluster_config, "--via", "slurm", "--dry-run").code == 0
