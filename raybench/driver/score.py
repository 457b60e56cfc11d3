"""From stored rows to numbers: needs the run directory, no model and no GPU, and can be repeated.

A metric is computed only from a complete set of rows: every expected key once, none doubled, none foreign; otherwise it is withheld and says why.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa

from raybench.core.config import RunConfig
from raybench.core.errors import InternalError
from raybench.core.fingerprint import digest, seed_for
from raybench.core.outputs import Classification, Spans
from raybench.core.protocols import AnyMetric, Scored
from raybench.core.results import results_to_json
from raybench.core.schema import from_batch, keys_of, samples_from_batch
from raybench.core.types import Estimate, FinishReason, Generation, Kind, Output, Prediction, Result, Results, Sample
from raybench.driver.catalog import Catalog, open_catalog
from raybench.driver.groups import group_results
from raybench.driver.paths import model_path, task_path
from raybench.driver.plan import Pair, fingerprints_of, read_pair
from raybench.driver.signature import numerics_of, signature
from raybench.metrics.grouped import GroupMetric, Groups
from raybench.metrics.interval import estimate, method, value_if_errors_wrong
from raybench.metrics.registry import get_metric
from raybench.metrics.statistics import Statistics
from raybench.store.prompt_set import PromptSet
from raybench.store.run_dir import RunDir
from raybench.store.shard_reader import DamagedShard
from raybench.tasks.task import Extractor

SCORES = pa.schema(
    [
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("metric", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),  # ok, error, unlabelled
        pa.field("stats", pa.list_(pa.float64())),  # null for an error
        pa.field("extracted", pa.list_(pa.string())),  # one a row of the sample
    ]
)
"""One row a sample and metric, in the order of the plan."""

WARN_SHARE = 0.01
"""Above this share of cut, unparsed or truncated answers a score comes with a warning."""


_ScoreRow = tuple[str, str, str, tuple[float, ...] | None, list[str | None] | None]


@dataclass(slots=True, kw_only=True)
class Column:
    """One metric over one filter: what is collected while rows stream by."""

    name: str
    metric: AnyMetric
    filter: str
    extract: Extractor | None
    statistics: Statistics
    groups: Groups | None = None
    """Only of a metric whose units are groups of samples."""
    unparsed: int = 0


@dataclass(slots=True, kw_only=True)
class _Counts:
    samples: int = 0
    errors: int = 0
    unlabelled: int = 0
    rows: int = 0
    stopped_by_length: int = 0
    truncated: int = 0
    codes: dict[str, int] = field(default_factory=dict)


def score(store: RunDir) -> Results:
    """Compute every metric of a run from its stored rows; writes scores/ and results.json.

    Raises:
        RunError: when the directory is no run.
    """
    manifest = store.manifest()
    config = RunConfig.model_validate(manifest["config"])
    catalog = open_catalog(config)
    pairs = [read_pair(value) for value in manifest["plan"]["pairs"]]
    failed = {m["name"]: m["failed"] for m in manifest["plan"]["models"] if m["failed"]} | store.state().get("failed_models", {})
    prompts: dict[str, PromptSet] = {}
    results: list[Result] = []
    warnings: list[str] = list(manifest["warnings"])
    for pair in pairs:
        if pair.model_name in failed:
            continue
        if pair.prompts not in prompts:
            found = store.prompts(pair.prompts)
            if found is None:
                raise InternalError(f"{store.name}: the prompts '{pair.prompts}' are missing.")
            prompts[pair.prompts] = found
        results += _score_pair(store, config, catalog, pair, prompts[pair.prompts], warnings)
    results += group_results(catalog, [p.model_name for p in pairs], results)
    whole = Results(run=config.name, results=tuple(results), warnings=tuple(warnings), failed_models=failed)
    store.write_results(results_to_json(whole))
    return whole


def score_run(path: str | Path) -> Results:
    """Score the run in a directory again; needs no model.

    Raises:
        RunError: when it is no run directory, or another process writes to it.
    """
    store = RunDir.open(path)
    with store.lock(started=time.time()):
        return score(store)


def _score_pair(store: RunDir, config: RunConfig, catalog: Catalog, pair: Pair, prompts: PromptSet, warnings: list[str]) -> list[Result]:
    columns = columns_of(catalog, pair)
    names = fingerprints_of(pair.identity, prompts.shards.digest)
    found = store.scan(task_path(pair.task), model_path(pair.model_name)).shards
    withheld = missing_keys(found, prompts, names)
    if withheld is not None:
        return [_withheld(pair, column, withheld) for column in columns]
    counts = _Counts()
    has_clusters = bool(prompts.meta["has_clusters"])
    if has_clusters:
        for column in columns:
            column.statistics = Statistics(column.metric, has_clusters=True)
    try:
        with store.score_writer(task_path(pair.task), model_path(pair.model_name), SCORES) as writer:
            batches = store.iterate(task_path(pair.task), model_path(pair.model_name), names)
            for shard, batch in enumerate(batches):
                problem = check_shard(batch, prompts.requests(shard), pair)
                if problem is not None:
                    return [_withheld(pair, column, problem) for column in columns]
                samples = samples_from_batch(prompts.samples(shard))
                rows = _score_shard(samples, from_batch(batch, pair.kind), columns, counts, has_clusters)
                writer.write(_score_batch(rows))
    except DamagedShard as error:
        # so that it is computed anew, as the message says
        store.discard(task_path(pair.task), model_path(pair.model_name), error.fingerprint)
        return [_withheld(pair, column, error.message) for column in columns]
    for column in columns:
        if column.groups is not None:
            units, clusters = column.groups.units()
            column.statistics.add(units, clusters if has_clusters else None)
    _warn(pair, counts, columns, warnings)
    if counts.unlabelled and counts.unlabelled + counts.errors == counts.samples:
        return []  # a test split: its answers are for a submission file
    numerics = numerics_of(found[name].mark for name in names)
    return [_result(config, pair, column, counts, prompts, numerics) for column in columns]


def columns_of(catalog: Catalog, pair: Pair) -> list[Column]:
    """The metrics of a pair, each with every filter, before any sample is scored."""
    form = catalog.by_label[pair.task].form(pair.kind)
    filters: Mapping[str, Extractor | None] = {"": None}
    if pair.kind is Kind.GENERATE and form.extract:
        filters = form.extract
    return [
        Column(
            name=f"{name}[{key}]" if len(filters) > 1 else name,
            metric=get_metric(name),
            filter=key,
            extract=extract,
            statistics=Statistics(get_metric(name)),
            groups=Groups(metric) if isinstance(metric := get_metric(name), GroupMetric) else None,
        )
        for name in pair.metrics
        for key, extract in filters.items()
    ]


def missing_keys(found: Collection[str], prompts: PromptSet, names: Sequence[str]) -> str | None:
    """Why a pair is incomplete: shards that are not there, with the first samples they hold; None when all are."""
    absent = [i for i, name in enumerate(names) if name not in found]
    if not absent:
        return None
    table = prompts.shards
    num = int(sum(table.stop[i] - table.start[i] for i in absent))
    first = ", ".join(prompts.samples(absent[0]).column("id").slice(0, 3).to_pylist())
    return f"{num} of {prompts.num_samples} samples have no answer yet ({len(absent)} of {len(names)} shards), the first: {first}"


def check_shard(batch: pa.RecordBatch, requests: pa.RecordBatch, pair: Pair) -> str | None:
    """Which keys of a shard are missing, doubled or foreign; None when every expected one is there once, in order."""
    expected = keys_of(requests, pair.asking.num_repeats)
    found = tuple(batch.column(name) for name in ("sample_id", "request", "repeat"))
    if all(a.equals(b) for a, b in zip(expected, found, strict=True)):
        return None
    wanted = list(zip(*(c.to_pylist() for c in expected), strict=True))
    there = list(zip(*(c.to_pylist() for c in found), strict=True))
    known, seen = set(wanted), set(there)
    lists = {
        "missing": [k for k in wanted if k not in seen],
        "doubled": sorted({k for k in seen if there.count(k) > 1}),
        "foreign": sorted(seen - known),
    }
    told = [f"{len(keys)} {what}: {', '.join(map(str, keys[:5]))}" for what, keys in lists.items() if keys]
    return "; ".join(told) or "the rows are not in the order of the plan"


def _score_shard(
    samples: Sequence[Sample], predictions: Sequence[Prediction], columns: Sequence[Column], counts: _Counts, has_clusters: bool
) -> Iterator[_ScoreRow]:
    """Score the samples of one shard into the columns; yields the rows of the score table."""
    # requests x repeats of a sample lie together, as the keys have shown; samples may differ in how many they have
    groups = [list(rows) for _, rows in groupby(predictions, key=lambda row: row.sample_id)]
    stats: list[list[tuple[float, ...]]] = [[] for _ in columns]
    clusters: list[str | None] = []
    table: list[_ScoreRow] = []
    for sample, rows in zip(samples, groups, strict=True):
        counts.samples += 1
        counts.rows += len(rows)
        failed = False
        for row in rows:
            counts.stopped_by_length += row.finish_reason is FinishReason.LENGTH
            counts.truncated += row.num_truncated_tokens > 0
            if row.error_code is not None:
                failed = True
                counts.codes[row.error_code.value] = counts.codes.get(row.error_code.value, 0) + 1
        if failed:
            counts.errors += 1
            table += _left_out(sample, columns, "error")
            continue
        if is_unlabelled(sample, rows[0].output):
            counts.unlabelled += 1
            table += _left_out(sample, columns, "unlabelled")
            continue
        clusters.append(sample.cluster)
        for index, column in enumerate(columns):
            extracted = extract(rows, column)
            values = column.metric.score(Scored(sample=sample, predictions=rows, extracted=extracted))
            if column.groups is None:
                stats[index].append(values)
            else:
                column.groups.add(sample, values)
            table.append((sample.id, column.name, "ok", values, extracted))
    for column, found in zip(columns, stats, strict=True):
        if column.groups is None:
            column.statistics.add(found, clusters if has_clusters else None)
    return iter(table)


def _left_out(sample: Sample, columns: Sequence[Column], status: str) -> list[_ScoreRow]:
    """The score rows of a sample that is in no value."""
    for column in columns:
        if column.groups is not None:
            column.groups.drop(sample, is_error=status == "error")
    return [(sample.id, column.name, status, None, None) for column in columns]


def is_unlabelled(sample: Sample, output: Output | None) -> bool:
    """Whether one of several options or labels is right and the data does not say which."""
    is_choice = bool(sample.choices) or isinstance(output, Classification)
    return is_choice and sample.label is None and not sample.targets


def extract(rows: Sequence[Prediction], column: Column) -> list[str | None]:
    """What a column's filter finds in the answers to one sample; None for what is no text, or holds no answer."""
    answers: list[str | None] = []
    for row in rows:
        text = row.output.text if isinstance(row.output, Generation | Spans) else None
        answer = text if text is None or column.extract is None else column.extract(text)
        column.unparsed += text is not None and answer is None
        answers.append(answer)
    return answers


def _score_batch(rows: Iterator[tuple[Any, ...]]) -> pa.RecordBatch:
    columns = list(zip(*rows, strict=True)) or [()] * len(SCORES)
    return pa.record_batch([pa.array(c, f.type) for c, f in zip(columns, SCORES, strict=True)], schema=SCORES)


def _result(config: RunConfig, pair: Pair, column: Column, counts: _Counts, prompts: PromptSet, numerics: Mapping[str, str]) -> Result:
    is_text = pair.kind is Kind.GENERATE
    seed = seed_for(config.seed, pair.task, "", 0, f"bootstrap {column.name}")
    num_errors = counts.errors if column.groups is None else column.groups.num_errors
    drawn = estimate(column.statistics, num_errors=num_errors, draws=config.bootstrap, seed=seed)
    how = f"{method(column.statistics)}-{config.bootstrap}" if config.bootstrap else "none"
    answered = counts.rows - sum(counts.codes.values())
    return Result(
        model=pair.model_name,
        task=pair.task,
        form=pair.kind.value,
        metric=column.name,
        estimate=drawn,
        value_if_errors_wrong=value_if_errors_wrong(column.statistics, num_errors=num_errors) if num_errors else None,
        higher_is_better=column.metric.higher_is_better,
        signature=signature(
            pair,
            metric=column.metric.name,
            metric_signature="|".join(s for s in (column.metric.signature, f"ci:{how}") if s),
            extract=column.filter or None,
            num_samples=drawn.num_samples,
            counts={"err": counts.errors, "trunc": counts.truncated},
            data_prompt=digest(list(prompts.shards.digest)),
            numerics=numerics,
        ),
        share_length=_share(counts.stopped_by_length, answered) if is_text else None,
        share_unparsed=_share(column.unparsed, answered) if is_text and column.extract is not None else None,
        share_truncated=_share(counts.truncated, counts.rows),
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _withheld(pair: Pair, column: Column, reason: str) -> Result:
    """A result without a number: what is not complete is not printed."""
    return Result(
        model=pair.model_name,
        task=pair.task,
        form=pair.kind.value,
        metric=column.name,
        estimate=Estimate(value=None, num_samples=0, num_errors=0),
        higher_is_better=column.metric.higher_is_better,
        signature="",
        withheld=reason,
    )


def _warn(pair: Pair, counts: _Counts, columns: Sequence[Column], warnings: list[str]) -> None:
    answered = counts.rows - sum(counts.codes.values())
    where = f"{pair.model_name} {pair.task}"
    if pair.kind is Kind.GENERATE and answered:
        if counts.stopped_by_length > WARN_SHARE * answered:
            warnings.append(f"{where}: {counts.stopped_by_length} of {answered} answers were stopped by max_tokens.")
        for column in columns:
            if column.extract is not None and column.unparsed > WARN_SHARE * answered:
                warnings.append(f"{where}: no answer was found in {column.unparsed} of {answered} generations ({column.name}).")
    if counts.truncated > WARN_SHARE * counts.rows:
        warnings.append(f"{where}: {counts.truncated} of {counts.rows} prompts were cut to fit the context.")
    if counts.errors:
        codes = ", ".join(f"{code} {n}" for code, n in sorted(counts.codes.items()))
        warnings.append(f"{where}: {counts.errors} of {counts.samples} samples have no answer ({codes}); they are not in the score.")
    if counts.unlabelled:
        told = "there is no score" if counts.unlabelled + counts.errors == counts.samples else "they are not in the score"
        warnings.append(f"{where}: the data has no right answer for {counts.unlabelled} of {counts.samples} samples; {told}.")
