"""Where the engines of a run will live: chosen by the configuration, and opened beside the planning where that takes time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from raybench.core.config import RunConfig
from raybench.core.protocols import Pool
from raybench.driver.environment import has_local_gpus
from raybench.driver.pool import LocalPool


class Place:
    """A pool, perhaps still on its way."""

    def __init__(self, pool: Callable[[], Pool], *, has_gpus: bool) -> None:
        self._pool = pool
        self.has_gpus = has_gpus
        """Whether there are GPUs for the engines."""

    def pool(self) -> Pool:
        """The pool, when it is there.

        Raises:
            ConfigError: when the cluster cannot be joined or started.
        """
        return self._pool()


def wants_ray(config: RunConfig) -> bool:
    """Whether the engines live on a Ray cluster: as configured; by default when there is an address or more than one engine is asked for."""
    if config.pool != "auto":
        return config.pool == "ray"
    blocks = [
        config.resources.engines,
        *(m.resources.get("engines") for m in config.models),
        *(t.resources.get("engines") for t in config.tasks),
    ]
    return config.ray.address is not None or any(isinstance(n, int) and n > 1 for n in blocks)


@contextmanager
def open_place(config: RunConfig, given: Pool | None, tell: Callable[[str], None]) -> Iterator[Place]:
    """The place of a run; closed at the end unless it was given.

    A cluster that is joined is joined at once, since a plan depends on its GPUs. One that is started on this machine takes seconds of
    waiting for its processes: it starts in a thread, while the prompts are rendered.
    """
    if given is not None:
        yield Place(lambda: given, has_gpus=_offers_gpus(given))
        return
    if not wants_ray(config):
        local = LocalPool()
        try:
            yield Place(lambda: local, has_gpus=has_local_gpus())
        finally:
            local.close()
        return
    from raybench.driver.ray_pool import RayPool

    if config.ray.address:
        tell(f"joining Ray at {config.ray.address}")
        joined = RayPool(config.ray)
        try:
            yield Place(lambda: joined, has_gpus=_offers_gpus(joined))
        finally:
            joined.close()
        return
    tell("starting Ray on this machine")
    with ThreadPoolExecutor(1, thread_name_prefix="raybench-ray") as starter:
        opening: Future[Pool] = starter.submit(RayPool, config.ray)
        try:
            yield Place(opening.result, has_gpus=has_local_gpus())
        finally:
            if opening.exception() is None:
                opening.result().close()


def _offers_gpus(pool: Pool) -> bool:
    return has_local_gpus() if isinstance(pool, LocalPool) else pool.capacity().get("GPU", 0.0) > 0
