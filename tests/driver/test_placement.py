"""Engines that spread over several GPUs get whole, disjoint sets of them on one machine: a Ray cluster that claims eight GPUs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from raybench.core.config import RayConfig
from raybench.core.errors import ConfigError
from raybench.core.ray_auth import has_token
from raybench.driver.ray_cluster import make_token
from raybench.driver.ray_pool import RayPool
from raybench.driver.run import run
from tests.driver.runs import fake_config, read_rows

pytestmark = [pytest.mark.ray, pytest.mark.xdist_group("ray")]


@pytest.fixture(scope="module")
def eight_gpus() -> Iterator[None]:
    if not has_token():
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(make_token())
    import ray

    ray.init(
        address="local",
        num_cpus=8,
        num_gpus=8,
        include_dashboard=False,
        logging_level="ERROR",
        log_to_driver=False,
        configure_logging=False,
    )
    yield
    ray.shutdown()


def test_tensor_parallel_four_times_data_parallel_two(eight_gpus: None, tmp_path: Path) -> None:
    config = fake_config(
        tmp_path / "run",
        tasks=[{"name": "quickstart/arithmetic", "limit": 60, "shard_size": 2}],
        # one shard takes a while, so that both engines get some
        engine={"kind": "tests.driver.engines:Devices", "shard_s": 0.05},
        resources={"gpus_per_engine": 4, "engines": 2, "cpus_per_engine": 1},
        pool="ray",
    )

    report = run(config, pool=RayPool(RayConfig()))

    assert report.outcome.num_engines_started == 2
    seen = {row["output"]["text"] for row in read_rows(tmp_path / "run")}
    sets = [set(text.split(",")) for text in seen]
    assert [len(devices) for devices in sets] == [4] * len(sets)
    assert len(set.union(*sets)) == 4 * len(sets)


def test_more_gpus_than_any_machine_has_are_refused_before_anything_starts(eight_gpus: None, tmp_path: Path) -> None:
    config = fake_config(tmp_path / "run", engine={"kind": "tests.driver.engines:Devices"}, resources={"gpus_per_engine": 16}, pool="ray")

    with pytest.raises(ConfigError, match=r"GPU:16, .*no node of the cluster can ever give that"):
        run(config, pool=RayPool(RayConfig()))
