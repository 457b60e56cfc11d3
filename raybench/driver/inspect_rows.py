"""Single samples of a run: what was asked, what was answered, what it was worth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from raybench.core.errors import ConfigError, IncompleteError
from raybench.core.sample_rows import samples_from_batch
from raybench.core.schema import from_batch
from raybench.core.types import FinishReason, Prediction, Request, Sample
from raybench.driver.choose import choose
from raybench.driver.paths import model_path, task_path
from raybench.driver.plan import Pair, fingerprints_of, read_pair
from raybench.driver.work import make_work, to_requests
from raybench.metrics.registry import get_metric
from raybench.store.run_dir import RunDir
from raybench.tasks.harness.door import PREFIX
from raybench.tasks.harness.scoring import is_right_or_wrong

Which = Literal["all", "wrong", "errors", "truncated", "unparsed", "length"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """One sample of one model."""

    model: str
    task: str
    sample: Sample
    requests: Sequence[Request]
    predictions: Sequence[Prediction]
    scores: Sequence[Mapping[str, Any]]
    """Rows of the score table."""


def inspect_samples(
    path: str | Path, *, task: str, model: str | None = None, which: Which = "all", ids: Sequence[str] = ()
) -> Iterator[Inspected]:
    """Samples of a task in dataset order, read shard by shard.

    Args:
        path: The run directory, or its URI.
        task: Label of the task.
        model: Name of the model; None: all of them.
        which: wrong: answered, and below 1 by the first metric that is between wrong, 0, and right, 1; errors: without an answer;
            truncated: prompt cut; unparsed: nothing extracted; length: stopped by max_tokens.
        ids: Only these samples; empty: all.

    Raises:
        ConfigError: when the run has no such task, model or sample, or no metric by which an answer is wrong.
        IncompleteError: when the pair has not been finished.
    """
    store = RunDir.open(path)
    manifest = store.manifest()
    pairs = [read_pair(value) for value in manifest["plan"]["pairs"]]
    chosen = choose(pairs, task=task, model=model, where=str(path))
    unknown = set(ids)
    for pair in chosen:
        for found in _samples(store, pair):
            unknown.discard(found.sample.id)
            if (not ids or found.sample.id in ids) and (_is_wrong(found, pair) if which == "wrong" else _is_wanted(found, which)):
                yield found
    if unknown:
        raise ConfigError(f"{path}: '{task}' has no sample {', '.join(repr(name) for name in sorted(unknown))}. `--json` prints ids.")


def _samples(store: RunDir, pair: Pair) -> Iterator[Inspected]:
    prompts = store.prompts(pair.prompts)
    names = (task_path(pair.task), model_path(pair.model_name))
    if prompts is None or not store.has_scores(*names):
        raise IncompleteError(
            f"{store.name}: {pair.model_name} {pair.task} has not been scored yet; finish the run, or `raybench score {store.name}`."
        )
    scores = _rows_by_sample(store.scores(*names))
    shots = prompts.shots()
    for shard, batch in enumerate(store.iterate(*names, fingerprints_of(pair.identity, prompts.shards.digest))):
        requests = to_requests(make_work(shard, pair.asking, prompts.requests(shard), shots))
        asked = groupby(zip(requests, from_batch(batch, pair.kind), strict=True), key=lambda both: both[0].sample_id)
        for sample, (_, rows) in zip(samples_from_batch(prompts.samples(shard)), asked, strict=True):
            both = list(rows)
            sample_id, found = next(scores)
            if sample_id != sample.id:
                raise IncompleteError(
                    f"{store.name}: the scores of {pair.model_name} {pair.task} are those of other rows; run `raybench score {store.name}`."
                )
            yield Inspected(
                model=pair.model_name,
                task=pair.task,
                sample=sample,
                requests=[r for r, _ in both],
                predictions=[p for _, p in both],
                scores=found,
            )


def _rows_by_sample(table: Any) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    rows = (row for batch in table.to_batches() for row in batch.to_pylist())
    for sample_id, found in groupby(rows, key=lambda row: row["sample_id"]):
        yield str(sample_id), list(found)


def _is_wrong(found: Inspected, pair: Pair) -> bool:
    judging = [s for s in found.scores if _is_judging(pair, s["metric"].partition("[")[0])]
    if not judging:
        names = ", ".join(s["metric"] for s in found.scores)
        raise ConfigError(f"'{pair.task}': by its metrics ({names}) no answer is right or wrong. Leave `--wrong` out.")
    first = judging[0]
    return first["status"] == "ok" and bool(first["stats"]) and first["stats"][0] < 1.0


def _is_judging(pair: Pair, metric: str) -> bool:
    if pair.identity["task"]["name"].startswith(PREFIX):
        return is_right_or_wrong(metric)
    found = get_metric(metric)
    return found.is_mean and found.higher_is_better


def _is_wanted(found: Inspected, which: Which) -> bool:
    match which:
        case "errors":
            return any(p.error_code is not None for p in found.predictions)
        case "truncated":
            return any(p.num_truncated_tokens for p in found.predictions)
        case "length":
            return any(p.finish_reason is FinishReason.LENGTH for p in found.predictions)
        case "unparsed":
            return any(
                s["status"] == "ok" and None in (s["extracted"] or []) and found.requests[0].kind == "generate" for s in found.scores
            )
    return True
