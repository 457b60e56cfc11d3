"""What a run would do, without doing it: its plan, its demand, and how far it is already. Touches no GPU and no run directory."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from raybench.core.config import RunConfig
from raybench.driver.environment import has_local_gpus
from raybench.driver.place import wants_ray
from raybench.driver.plan import Plan
from raybench.driver.prepare import Prepared, prepare
from raybench.driver.run import committed, output_of
from raybench.store.run_dir import RunDir


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """A plan in numbers."""

    prepared: Prepared
    pool: str
    path: str
    num_done: int
    """Shards that are in the run directory already."""

    @property
    def plan(self) -> Plan:
        """The plan itself."""
        return self.prepared.plan

    def pairs(self) -> list[Mapping[str, object]]:
        """One row a (model, task): samples, shards, characters, engine."""
        rows: list[Mapping[str, object]] = []
        for pair in self.plan.pairs:
            requests = self.prepared.prompts[pair.prompts].shards.num_requests.sum() * pair.asking.num_repeats
            spec = self.plan.specs[pair.spec]
            rows.append(
                {
                    "model": pair.model_name,
                    "task": pair.task,
                    "form": pair.kind.value,
                    "samples": pair.num_samples,
                    "requests": int(requests),
                    "shards": len(pair.shards),
                    "characters": int(self.plan.shard_cost[pair.first_shard : pair.stop_shard].sum()) * pair.asking.num_repeats,
                    "engine": f"{spec.kind} {spec.options['dtype']} on {spec.options['device']}",
                }
            )
        return rows


def plan_run(config: RunConfig) -> Survey:
    """Plan a run.

    Raises:
        ConfigError, DataError, CheckpointError: what is wrong with it.
    """
    with tempfile.TemporaryDirectory(prefix="raybench-plan-") as folder:
        prepared = prepare(config, RunDir(Path(folder)), has_gpus=has_local_gpus())
        store = RunDir.at(output_of(config))
        num_done = len(committed(store, prepared.plan)) if store.has_manifest() else 0
        # shard counts live on in memory; the tables go with the folder
        return Survey(prepared=prepared, pool="ray" if wants_ray(config) else "local", path=store.name, num_done=num_done)
