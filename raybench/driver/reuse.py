"""Shards of other runs (`--reuse`): taken over where their fingerprints are those of the plan."""

from __future__ import annotations

from pathlib import Path

from raybench.driver.paths import model_path, task_path
from raybench.driver.plan import Plan
from raybench.store.objects import is_uri
from raybench.store.run_dir import RunDir
from raybench.store.shard_reader import DamagedShard


def take_over(store: RunDir, plan: Plan, other: RunDir) -> int:
    """Copy the shards of another run that have the fingerprints of this plan; returns how many.

    Shards whose budget was halved or that hold isolated samples stand outside the promise of equal numbers and are left, and so are
    those that can no longer be read.
    """
    wanted = {name: s for s, name in enumerate(plan.fingerprints)}
    count = 0
    other.bring("predictions")
    for task, model in other.pairs():
        for name, info in other.scan(task, model).shards.items():
            if name not in wanted or info.mark.is_budget_halved or info.mark.isolated:
                continue
            try:
                batch = other.read(task, model, name)
            except DamagedShard:
                continue  # it is computed
            pair = plan.pairs[plan.shard_pair[wanted[name]]]
            store.commit(task_path(pair.task), model_path(pair.model_name), batch, info.mark)
            count += 1
    return count


def is_name_of(name: str | Path, run: RunDir) -> bool:
    """Whether a folder or URI is that of a run, also of one that was moved aside from there."""
    if is_uri(name) or is_uri(run.name):
        return str(name).rstrip("/") == run.name.rstrip("/")
    return Path(name).expanduser().resolve() == run.path.resolve()
