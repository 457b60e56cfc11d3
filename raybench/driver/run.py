"""A run from beginning to end: the page to read first.

prepare   find checkpoints and tasks, render prompts, cut everything into shards        (prepare.py, plan.py)
resume    the plan minus the shards that are in the run directory                       (below)
execute   engines answer shards, the driver commits them                                (loop.py, dispatch.py, pool.py, ray_pool.py)
score     metrics of the stored rows                                                    (score.py)
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from raybench.core.config import RunConfig
from raybench.core.errors import RunError
from raybench.core.pool import Pool
from raybench.core.results import Results
from raybench.core.secrets import refuse_secrets
from raybench.driver.actions import Shape
from raybench.driver.compactor import Compactor
from raybench.driver.environment import describe_machine
from raybench.driver.loop import Loop, Outcome, Watcher
from raybench.driver.models import skips_broken
from raybench.driver.paths import model_path, task_path
from raybench.driver.place import open_place
from raybench.driver.plan import Plan
from raybench.driver.pool import LocalPool
from raybench.driver.prepare import Prepared, prepare
from raybench.driver.reuse import is_name_of, take_over
from raybench.driver.score import score
from raybench.driver.stop import StopFlag, stop_on_signals
from raybench.store.events import EventLog
from raybench.store.manifest import differences
from raybench.store.objects import is_uri
from raybench.store.run_dir import RunDir


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a run came to."""

    path: Path
    """The run directory; the working copy of one on an object store."""
    name: str
    """What the user calls it: a folder or a URI."""
    results: Results
    outcome: Outcome
    num_samples: int
    num_resumed: int
    """Samples that were there before."""
    exit_code: int
    """0 complete, 3 incomplete but resumable, 4 more errors than allowed, 130 interrupted."""
    problems: tuple[str, ...] = ()
    """Why the exit code is not 0, a sentence each."""


class Silent:
    """A watcher that shows nothing."""

    def update(self, *, done_samples: int, engines: int, active: list[tuple[str, int, int]]) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""


WatcherFactory = Any
"""(total samples, samples done before) -> context manager that gives a Watcher."""


def run(
    config: RunConfig,
    *,
    new: bool = False,
    reuse: Sequence[str | Path] = (),
    pool: Pool | None = None,
    watch: WatcherFactory = None,
    tell: Any = lambda text: None,
    echo: Callable[[str], None] | None = None,
) -> Report:
    """Evaluate: do what is left of the plan, then score.

    The same configuration again resumes: what is committed is not computed again.

    Args:
        config: The run.
        new: Move an existing run directory aside and start afresh.
        reuse: Run directories whose shards count where their fingerprints are equal; with `new` also the one that is moved aside, by its old name.
        pool: Where engines live; None: as the configuration says.
        watch: Makes the progress display.
        tell: Gets a line about what takes time before engines start.
        echo: Gets every line of the event log, as it is written.

    Raises:
        RaybenchError: with the exit code that fits; everything committed before stays.
    """
    store = RunDir.at(output_of(config))
    before = store.move_aside() if new else None
    store.create()
    with store.lock(started=time.time()), open_place(config, pool, tell) as place:
        prepared = prepare(config, store, has_gpus=place.has_gpus, tell=tell)
        plan = prepared.plan
        shapes = _shapes(plan, place.pool())
        resume_or_begin(store, config, prepared)
        for source in reuse:
            take_over(store, plan, RunDir.open(before if before is not None and is_name_of(source, store) else source))
        done = committed(store, plan)
        with store.event_log(echo) as events:
            with Compactor(store, plan, events) as compactor:
                outcome = _execute(config, store, prepared, place.pool(), shapes, done, watch, events, compactor)
                place.leave()
            events.append("end", time=time.time(), stopped=outcome.is_stopped, given_up=len(outcome.given_up))
        store.documents.write_state(
            {
                "failed_models": dict(outcome.failed_models),
                "given_up": {plan.fingerprints[s]: reason for s, reason in outcome.given_up.items()},
                "is_stopped": outcome.is_stopped,
            }
        )
        tell("scoring")
        results = score(store)
        store.documents.write_efficiency(efficiency(store, outcome))
    resumed = int(sum(plan.shard_stop[s] - plan.shard_start[s] for s in done))
    code, problems = _judge(config, plan, results, outcome)
    return Report(
        path=store.path,
        name=store.name,
        results=results,
        outcome=outcome,
        num_samples=plan.num_samples,
        num_resumed=resumed,
        exit_code=code,
        problems=problems,
    )


def output_of(config: RunConfig) -> str:
    """The run directory, or its URI."""
    name = config.output or f"runs/{config.name}"
    return name if is_uri(name) else str(Path(name).expanduser())


def _shapes(plan: Plan, pool: Pool) -> list[Shape]:
    """What engines occupy in this place; in one process there is one engine, whatever it would take on a cluster."""
    for shape in plan.shapes:
        pool.check(shape.demand)
    if isinstance(pool, LocalPool):
        return [replace(shape, demand={"engine": 1.0}, max_engines=1, min_engines=1) for shape in plan.shapes]
    return list(plan.shapes)


def resume_or_begin(store: RunDir, config: RunConfig, prepared: Prepared) -> None:
    """Write the manifest, or compare with the one that is there.

    Raises:
        RunError: when the plan is another one; lists the fields that differ.
        ConfigError: when it holds a secret of the environment.
    """
    content = {
        "config": config.model_dump(mode="json"),
        "plan": prepared.plan.describe(),
        "warnings": list(prepared.warnings),
        "made_by": describe_machine(),
    }
    refuse_secrets(content, os.environ)
    if store.write_manifest(content):
        return
    changed = differences(store.manifest()["plan"], json.loads(json.dumps(content["plan"])))
    if changed:
        raise RunError(
            f"{store.name}: holds a run with another plan:\n"
            + "".join(f"  {line}\n" for line in changed[:20])
            + (f"  ... and {len(changed) - 20} more\n" if len(changed) > 20 else "")
            + "Start afresh with --new (with --reuse for shards that are equal), or choose another --output."
        )


def committed(store: RunDir, plan: Plan) -> set[int]:
    """Indices of the shards that are in the run directory."""
    done: set[int] = set()
    for pair in plan.pairs:
        found = store.scan(task_path(pair.task), model_path(pair.model_name)).shards
        if found:
            done |= {s for s in pair.shards if plan.fingerprints[s] in found}
    return done


def _execute(
    config: RunConfig,
    store: RunDir,
    prepared: Prepared,
    pool: Pool,
    shapes: list[Shape],
    done: set[int],
    watch: WatcherFactory,
    events: EventLog,
    compactor: Compactor,
) -> Outcome:
    plan = prepared.plan
    flag = StopFlag()
    samples_done = int(sum(plan.shard_stop[s] - plan.shard_start[s] for s in done))
    display: AbstractContextManager[Watcher] = nullcontext(Silent()) if watch is None else watch(plan.num_samples, samples_done)
    with store.telemetry_writer() as telemetry, display as watcher, stop_on_signals(flag):
        events.append("begin", time=time.time(), shards=plan.num_shards, done=len(done))
        loop = Loop(
            plan,
            prepared.prompts,
            store,
            pool,
            shapes=shapes,
            done=done,
            max_attempts=config.max_attempts,
            stall_timeout_s=config.stall_timeout_s,
            start_timeout_s=config.ray.start_timeout_s,
            skips_broken=skips_broken(config, len(plan.models)),
            events=events,
            telemetry=telemetry,
            compactor=compactor,
            watcher=watcher,
            is_stop_wanted=flag,
        )
        outcome = loop.run()
    outcome.exit_code = flag.exit_code if flag.signal is not None else 0
    return outcome


def _judge(config: RunConfig, plan: Plan, results: Results, outcome: Outcome) -> tuple[int, tuple[str, ...]]:
    """The exit code and the reasons for it."""
    if outcome.is_stopped:
        return outcome.exit_code, ("stopped before the end; the same command resumes",)
    if outcome.given_up:
        reasons = list(dict.fromkeys(outcome.given_up.values()))
        more = f" and {len(reasons) - 1} other reasons" if len(reasons) > 1 else ""
        return 3, (
            f"{len(outcome.given_up)} of {plan.num_shards} shards were given up: {reasons[0].rstrip('.')}{more}; the same command tries them again",
        )
    problems = [f"{name}: {reason}" for name, reason in results.failed_models.items()]
    seen: set[tuple[str, str]] = set()
    for result in results.results:
        key = (result.model, result.task)
        if key in seen or result.form == "group":
            continue
        seen.add(key)
        asked = result.estimate.num_samples + result.estimate.num_errors
        allowed = config.max_row_errors * asked if config.max_row_errors < 1 else config.max_row_errors
        if result.withheld is not None:
            return 3, (f"{result.model} {result.task}: {result.withheld}",)
        if result.estimate.num_errors > allowed:
            problems.append(f"{result.model} {result.task}: {result.estimate.num_errors} error rows, {allowed:g} allowed (max_row_errors)")
    return (4, tuple(problems)) if problems else (0, ())


def efficiency(store: RunDir, outcome: Outcome) -> dict[str, Any]:
    """Measured summaries of a run: what its telemetry says, by model and task."""
    table = store.telemetry().to_pylist()
    pairs: dict[str, dict[str, float]] = {}
    for row in table:
        entry = pairs.setdefault(f"{row['model']} {row['task']}", {"shards": 0, "seconds": 0.0, "prompt_tokens": 0, "output_tokens": 0})
        entry["shards"] += 1
        entry["seconds"] += row["seconds"] or 0.0
        entry["prompt_tokens"] += row["num_prompt_tokens"] or 0
        entry["output_tokens"] += row["num_output_tokens"] or 0
    return {
        "pairs": pairs,
        "last": {"seconds": outcome.seconds, "engines_started": outcome.num_engines_started, "retries": outcome.num_retries},
    }
