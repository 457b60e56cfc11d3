"""How far a run is, read from its directory alone: safe beside the process that writes to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from raybench.core.errors import RunError
from raybench.driver.paths import model_path, task_path
from raybench.driver.plan import fingerprints_of, read_pair
from raybench.store.run_dir import RunDir


@dataclass(frozen=True, slots=True, kw_only=True)
class PairStatus:
    """Samples of one (model, task)."""

    model: str
    task: str
    done: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Of one run."""

    pairs: Sequence[PairStatus]
    state: str
    """running, complete (perhaps without models that failed), or stopped (resume with the same command)."""
    retries: int
    engines: int
    """Engine processes that were started, over all processes of the run."""
    last_commit: float | None
    """Seconds since the epoch."""
    failed_models: Mapping[str, str]

    @property
    def done(self) -> int:
        """Samples that are answered."""
        return sum(p.done for p in self.pairs)

    @property
    def total(self) -> int:
        """Samples of the plan."""
        return sum(p.total for p in self.pairs)

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {**asdict(self), "done": self.done, "total": self.total}


def read_status(path: str | Path) -> Status:
    """Look at a run.

    Raises:
        RunError: when the directory is no run.
    """
    store = RunDir.open(path)
    manifest = store.manifest()
    pairs = []
    for pair in (read_pair(value) for value in manifest["plan"]["pairs"]):
        prompts = store.prompts(pair.prompts)
        if prompts is None:
            raise RunError(f"{path}: the prompts '{pair.prompts}' are missing; run the same command again to render them.")
        found = store.shard_files(task_path(pair.task), model_path(pair.model_name)).scan().shards
        names = fingerprints_of(pair.identity, prompts.shards.digest)
        sizes = prompts.shards.stop - prompts.shards.start
        done = int(sum(size for name, size in zip(names, sizes, strict=True) if name in found))
        pairs.append(PairStatus(model=pair.model_name, task=pair.task, done=done, total=prompts.num_samples))
    events = list(store.events())
    failed = {m["name"]: m["failed"] for m in manifest["plan"]["models"] if m["failed"]} | store.documents.state().get("failed_models", {})
    is_complete = all(p.done == p.total for p in pairs if p.model not in failed)
    over = "complete, without the models that failed" if failed else "complete"
    return Status(
        pairs=pairs,
        state="running" if store.is_held() else over if is_complete else "stopped; the same command resumes",
        retries=sum(e["event"] == "retry" for e in events),
        engines=sum(e["event"] == "engine_started" for e in events),
        last_commit=max((e["time"] for e in events if e["event"] == "commit"), default=None),
        failed_models=failed,
    )
