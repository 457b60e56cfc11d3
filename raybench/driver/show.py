"""The first prompts of a task exactly as each model would see them, with what is expected of the answer."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from raybench.core.config import RunConfig
from raybench.core.sample_rows import samples_from_batch
from raybench.core.types import Request, Sample
from raybench.driver.choose import choose
from raybench.driver.environment import has_local_gpus
from raybench.driver.prepare import prepare
from raybench.driver.work import make_work, to_requests
from raybench.engines.shown import Shown, show
from raybench.store.run_dir import RunDir


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownSample:
    """One sample before one model."""

    model: str
    task: str
    sample: Sample
    requests: Sequence[Request]
    shown: Sequence[Shown]


def show_samples(config: RunConfig, *, task: str | None, model: str | None, count: int) -> Iterator[ShownSample]:
    """The first `count` samples of each chosen (model, task).

    Raises:
        ConfigError: when the configuration has no such task or model.
    """
    with tempfile.TemporaryDirectory(prefix="raybench-show-") as folder:
        limited = config.model_copy(update={"limit": min(count, config.limit or count)})
        prepared = prepare(limited, RunDir(Path(folder)), has_gpus=has_local_gpus())
        for pair in choose(prepared.plan.pairs, task=task, model=model, where=config.name):
            prompts = prepared.prompts[pair.prompts]
            shots = prompts.shots()
            for shard in range(len(prompts.shards)):
                requests = [r for r in to_requests(make_work(shard, pair.asking, prompts.requests(shard), shots)) if r.repeat == 0]
                rendered = show(prepared.plan.specs[pair.spec], requests)
                grouped = groupby(zip(requests, rendered, strict=True), key=lambda both: both[0].sample_id)
                for sample, (_, rows) in zip(samples_from_batch(prompts.samples(shard)), grouped, strict=True):
                    both = list(rows)
                    yield ShownSample(
                        model=pair.model_name, task=pair.task, sample=sample, requests=[r for r, _ in both], shown=[s for _, s in both]
                    )  # fmt: skip
