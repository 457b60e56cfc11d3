"""One Ray cluster for the tests of a file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from raybench.core.config import RayConfig
from raybench.driver.ray_pool import RayPool


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[str]:
    """A cluster of this machine, started as a run starts one; every run in this process joins it. Gives its address."""
    owner = RayPool(RayConfig())
    import ray

    yield ray.get_runtime_context().gcs_address
    owner.close()
