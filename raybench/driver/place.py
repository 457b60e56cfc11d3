"""Where the engines of a run will live: chosen by the configuration, and opened beside the planning where that takes time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from raybench.core.config import RunConfig
from raybench.core.pool import Pool
from raybench.driver.environment import has_local_gpus
from raybench.driver.pool import LocalPool


class Place:
    """A pool, perhaps still on its way."""

    def __init__(self, pool: Callable[[], Pool], *, has_gpus: bool, leave: Callable[[], object]) -> None:
        self._pool, self._leave = pool, leave
        self.has_gpus = has_gpus
        """Whether there are GPUs for the engines."""

    def pool(self) -> Pool:
        """The pool, when it is there.

        Raises:
            ConfigError: when the cluster cannot be joined or started.
        """
        return self._pool()

    def leave(self) -> None:
        """The engines are not needed any more. Ray takes more than a second to end, and does so while the scores are computed."""
        self._leave()


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
    """The place of a run; its pool is closed at the end at the latest.

    A cluster that is joined is joined at once, since a plan depends on its GPUs. One that is started on this machine takes seconds of
    waiting for its processes: it starts in a thread, while the prompts are rendered.
    """
    if given is not None or not wants_ray(config):
        pool = LocalPool() if given is None else given
        try:
            yield Place(lambda: pool, has_gpus=_offers_gpus(pool), leave=pool.close)
        finally:
            pool.close()
        return
    from raybench.driver.ray_pool import RayPool

    tell(f"joining Ray at {config.ray.address}" if config.ray.address else "starting Ray on this machine")
    with ThreadPoolExecutor(1, thread_name_prefix="raybench-ray") as beside:
        opening: Future[Pool] = beside.submit(RayPool, config.ray)
        has_gpus = _offers_gpus(opening.result()) if config.ray.address else has_local_gpus()
        try:
            yield Place(opening.result, has_gpus=has_gpus, leave=lambda: beside.submit(opening.result().close))
        finally:
            if opening.exception() is None:
                beside.submit(opening.result().close).result()


def _offers_gpus(pool: Pool) -> bool:
    return has_local_gpus() if isinstance(pool, LocalPool) else pool.capacity().get("GPU", 0.0) > 0
