"""The noise floor of a run: some of its samples answered again by the PyTorch engine in float32.

An engine in a short number format, with batches formed by chance, or with quantised weights answers a little differently from the model
itself. How much is measured here, on the samples of the run: a difference between two runs that is smaller says nothing about models.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from random import Random
from typing import Any

from raybench.core.config import RunConfig
from raybench.core.errors import CheckpointError, ConfigError, IncompleteError
from raybench.core.fingerprint import seed_for
from raybench.core.protocols import Engine, EngineSpec, Scored
from raybench.core.recheck import Recheck, RecheckedSample
from raybench.core.sample_rows import samples_from_batch
from raybench.core.schema import from_batch
from raybench.core.types import Prediction, Request, Sample
from raybench.driver.catalog import Catalog, open_catalog
from raybench.driver.choose import choose
from raybench.driver.drift import decision, distances
from raybench.driver.models import open_models
from raybench.driver.paths import model_path, task_path
from raybench.driver.plan import Pair, PlannedModel, fingerprints_of, read_pair
from raybench.driver.prepare import versions_of
from raybench.driver.score import columns_of, extract, is_unlabelled
from raybench.driver.stored_rows import missing_keys
from raybench.driver.work import check_one_to_one, make_work, to_requests
from raybench.engines.registry import make_engine
from raybench.metrics.interval import estimate
from raybench.store.run_dir import RunDir

_KEPT = ("threads", "max_length", "batch_tokens", "overlong", "doc_stride", "max_answer_tokens", "n_best", "pooling", "normalize")
"""Options that say what is asked, not how exactly it is computed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """One sample of a run with its answers, none of which is an error."""

    sample: Sample
    requests: Sequence[Request]
    predictions: Sequence[Prediction]


def recheck(
    path: str | Path,
    *,
    num_samples: int = 50,
    seed: int = 0,
    task: str | None = None,
    model: str | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> list[Recheck]:
    """Answer a random part of a run again, and keep what was found in its directory.

    Args:
        path: The run directory, or its URI.
        num_samples: Drawn of each (model, task); the same ones for all models.
        seed: Of the draw.
        task: Only this one, by its label.
        model: Only this one, by its name.
        tell: Gets a line about what takes time, and about what cannot be compared.

    Raises:
        ConfigError: when the run has no such task or model, or nothing that can be compared.
        CheckpointError: when a checkpoint is gone or broken by now.
        IncompleteError: when answers are missing.
    """
    store = RunDir.open(path)
    manifest = store.manifest()
    config = RunConfig.model_validate(manifest["config"])
    pairs = _chosen([read_pair(value) for value in manifest["plan"]["pairs"]], task, model, path)
    with store.lock(started=time.time()):
        catalog = open_catalog(config)
        models = {m.name: m for m in open_models(config)}
        failed = store.documents.state().get("failed_models", {})
        found: list[Recheck] = []
        for name, mine in groupby(pairs, key=lambda pair: pair.model_name):
            if name in failed:
                tell(f"{name}: left out, it has no answers: {failed[name]}")
                continue
            if (broken := models[name].failed) is not None:
                raise CheckpointError(broken)
            found += _recheck_model(store, catalog, models[name], list(mine), num_samples, seed, tell)
        if not found:
            raise ConfigError(
                f"{path}: nothing to compare: its answers are drawn, or errors, or there are none. Answers at temperature 0 can be compared."
            )
        kept = {r.key: r for r in (*store.documents.rechecks(), *found)}
        store.documents.write_rechecks(list(kept.values()))
    return found


def _chosen(pairs: Sequence[Pair], task: str | None, model: str | None, path: str | Path) -> list[Pair]:
    chosen = choose(pairs, task=task, model=model, where=str(path))
    fake = next((p for p in chosen if p.identity["engine"]["kind"] == "fake"), None)
    if fake is not None:
        raise ConfigError(f"{path}: {fake.model_name} was answered by the fake engine: there is no model that could answer again.")
    return sorted(chosen, key=lambda p: p.model)


def _recheck_model(
    store: RunDir, catalog: Catalog, model: PlannedModel, pairs: Sequence[Pair], num_samples: int, seed: int, tell: Callable[[str], None]
) -> Iterator[Recheck]:
    engine: Engine | None = None
    options: dict[str, Any] = {}
    try:
        for pair in pairs:
            if pair.asking.sampling is not None and pair.asking.sampling.temperature > 0:
                tell(f"{pair.model_name} {pair.task}: left out, its answers are drawn (temperature {pair.asking.sampling.temperature:g})")
                continue
            if pair.identity["checkpoint"] != model.checkpoint.identity:
                raise ConfigError(
                    f"{store.name}: the checkpoint of '{pair.model_name}' is not the one that was evaluated: its files have changed."
                )
            asked = list(_asked(store, pair, num_samples, seed))
            if not asked:
                tell(f"{pair.model_name} {pair.task}: left out, all samples that were drawn are errors")
                continue
            wanted = _reference_options(pair.identity["engine"])
            if engine is None or wanted != options:
                if engine is not None:
                    engine.close()
                tell(f"loading {model.name} in float32")
                engine, options = make_engine(EngineSpec(kind="pytorch", checkpoint=model.checkpoint, options=wanted)), wanted
            tell(f"{pair.model_name} {pair.task}: {len(asked)} samples again")
            yield _compared(catalog, pair, asked, _again(engine, asked), seed)
    finally:
        if engine is not None:
            engine.close()


def _reference_options(engine: Mapping[str, Any]) -> dict[str, Any]:
    """The engine block of the PyTorch engine that asks the same questions in float32."""
    return {**{name: engine[name] for name in _KEPT if name in engine}, "dtype": "float32", "device": "auto"}


def _asked(store: RunDir, pair: Pair, num_samples: int, seed: int) -> Iterator[_Asked]:
    """The drawn samples of a pair, in dataset order; the same ones for all models."""
    prompts = store.prompts(pair.prompts)
    names = (task_path(pair.task), model_path(pair.model_name))
    if prompts is None:
        raise IncompleteError(f"{store.name}: {pair.model_name} {pair.task} is not finished: it has no prompts.")
    fingerprints, shots = fingerprints_of(pair.identity, prompts.shards.digest), prompts.shots()
    absent = missing_keys(store.scan(*names).shards, prompts, fingerprints)
    if absent is not None:
        raise IncompleteError(f"{store.name}: {pair.model_name} {pair.task} is not finished: {absent}.")
    total = prompts.num_samples
    drawn = sorted(Random(seed_for(seed, pair.task, "", 0, "recheck")).sample(range(total), min(num_samples, total)))
    for shard, (start, stop) in enumerate(zip(prompts.shards.start, prompts.shards.stop, strict=True)):
        wanted = {n - int(start) for n in drawn if start <= n < stop}
        if not wanted:
            continue
        requests = to_requests(make_work(shard, pair.asking, prompts.requests(shard), shots))
        rows = zip(requests, from_batch(store.read(*names, fingerprints[shard]), pair.kind), strict=True)
        groups = [list(group) for _, group in groupby(rows, key=lambda row: row[0].sample_id)]
        for n, (sample, both) in enumerate(zip(samples_from_batch(prompts.samples(shard)), groups, strict=True)):
            if n in wanted and all(p.error_code is None for _, p in both):
                yield _Asked(sample=sample, requests=[r for r, _ in both], predictions=[p for _, p in both])


def _again(engine: Engine, asked: Sequence[_Asked]) -> list[list[Prediction]]:
    requests = [r for one in asked for r in one.requests]
    predictions = engine.run(requests)
    check_one_to_one(requests, predictions)
    in_order = iter(predictions)
    return [[next(in_order) for _ in one.requests] for one in asked]


def _compared(catalog: Catalog, pair: Pair, asked: Sequence[_Asked], again: Sequence[Sequence[Prediction]], seed: int) -> Recheck:
    # a group of samples is hardly ever drawn whole
    columns = [[c for c in columns_of(catalog, pair) if c.groups is None] for _ in range(2)]
    samples: list[RecheckedSample] = []
    drifts: list[float] = []
    for one, second in zip(asked, again, strict=True):
        if any(p.error_code is not None for p in second):
            samples.append(RecheckedSample(id=one.sample.id, drift=None, is_flipped=True))
            continue
        mine = distances(one.predictions, second)
        drifts += mine
        decided = []
        for rows, side in zip((one.predictions, second), columns, strict=True):
            said: list[str | None] = []
            for column in side:
                found = extract(rows, column)
                said += found
                if is_unlabelled(one.sample, rows[0].output):
                    continue
                column.statistics.add([column.metric.score(Scored(sample=one.sample, predictions=rows, extracted=found))], None)
            decided.append(decision(rows, said))
        is_flipped = None if decided[0] is None else decided[0] != decided[1]
        samples.append(RecheckedSample(id=one.sample.id, drift=max(mine, default=None), is_flipped=is_flipped))
    values = [[estimate(c.statistics, num_errors=0, draws=0, seed=0).value for c in side] for side in columns]
    return Recheck(
        model=pair.model_name,
        task=pair.task,
        form=pair.kind.value,
        reference=f"pytorch float32 {versions_of('pytorch')}",
        seed=seed,
        samples=tuple(samples),
        drift_median=statistics.median(drifts) if drifts else None,
        drift_max=max(drifts, default=None),
        metrics={c.name: both for c, both in zip(columns[0], zip(*values, strict=True), strict=True)},
    )
