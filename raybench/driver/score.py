"""From stored rows to numbers: needs the run directory, no model and no GPU, and can be repeated.

A metric is computed only from a complete set of rows: every expected key once, none doubled, none foreign; otherwise it is withheld and says why.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from raybench.core.config import RunConfig
from raybench.core.errors import InternalError
from raybench.core.fingerprint import digest, seed_for
from raybench.core.garbage import fewer_collections
from raybench.core.outputs import Classification, Generation, Output, Spans
from raybench.core.protocols import AnyMetric, Scored
from raybench.core.results import Estimate, Result, Results, results_to_json
from raybench.core.types import Kind, Prediction, Sample
from raybench.driver.catalog import Catalog, open_catalog
from raybench.driver.groups import group_results
from raybench.driver.paths import model_path, task_path
from raybench.driver.plan import Pair, read_pair
from raybench.driver.score_harness import HarnessScores
from raybench.driver.signature import signature
from raybench.driver.stored_rows import SCORES, Counts, Incomplete, answers, score_batch, warnings_of
from raybench.metrics.grouped import GroupMetric, Groups
from raybench.metrics.interval import estimate, method, value_if_errors_wrong, wrong_row
from raybench.metrics.registry import get_metric
from raybench.metrics.statistics import Statistics
from raybench.store.manifest import models_of
from raybench.store.prompt_set import PromptSet
from raybench.store.run_dir import RunDir
from raybench.tasks.harness.library import HarnessTask
from raybench.tasks.task import Extractor

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
    errors: Counter[tuple[float, ...] | None] = field(default_factory=Counter)
    """What the samples without an answer would add if they were wrong."""


@fewer_collections()
def score(store: RunDir) -> Results:
    """Compute every metric of a run from its stored rows; writes scores/ and results.json.

    Raises:
        RunError: when the directory is no run.
    """
    manifest = store.manifest()
    config = RunConfig.model_validate(manifest["config"])
    catalog = open_catalog(config)
    pairs = [read_pair(value) for value in manifest["plan"]["pairs"]]
    failed = {m["name"]: m["failed"] for m in manifest["plan"]["models"] if m["failed"]} | store.documents.state().get("failed_models", {})
    prompts: dict[str, PromptSet] = {}
    results: list[Result] = []
    warnings: list[str] = list(manifest["warnings"])
    theirs = HarnessScores(store, config, catalog)
    for pair in pairs:
        if pair.model_name in failed:
            continue
        if pair.prompts not in prompts:
            found = store.prompts(pair.prompts)
            if found is None:
                raise InternalError(f"{store.name}: the prompts '{pair.prompts}' are missing.")
            prompts[pair.prompts] = found
        if isinstance(catalog.by_label[pair.task].task, HarnessTask):
            results += theirs.score(pair, prompts[pair.prompts], warnings)
            continue
        results += _score_pair(store, config, catalog, pair, prompts[pair.prompts], warnings)
    results += group_results(catalog, [p.model_name for p in pairs], results)
    results += theirs.groups()
    whole = Results(run=config.name, results=tuple(results), warnings=tuple(warnings), failed_models=failed, models=models_of(manifest))
    store.documents.write_results(results_to_json(whole))
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
    counts = Counts()
    has_clusters = bool(prompts.meta["has_clusters"])
    if has_clusters:
        for column in columns:
            column.statistics = Statistics(column.metric, has_clusters=True)
    try:
        with store.score_writer(task_path(pair.task), model_path(pair.model_name), SCORES) as writer:
            for answered in answers(store, pair, prompts, counts):
                writer.write(score_batch(_score_shard(answered, columns, counts, has_clusters)))
    except Incomplete as error:
        return [_withheld(pair, column, str(error)) for column in columns]
    for column in columns:
        if column.groups is not None:
            units, clusters = column.groups.units()
            wrong = column.metric.wrong
            column.errors[None if callable(wrong) else wrong] = column.groups.num_errors  # no single sample speaks for a group
            column.statistics.add(units, clusters if has_clusters else None)
    warnings += warnings_of(pair, counts, [(c.name, c.unparsed) for c in columns if c.extract is not None])
    if counts.unlabelled and counts.unlabelled + counts.errors == counts.samples:
        return []  # a test split: its answers are for a submission file
    return [_result(config, pair, column, counts, prompts) for column in columns]


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


def _score_shard(
    answered: Sequence[tuple[Sample, list[Prediction]]], columns: Sequence[Column], counts: Counts, has_clusters: bool
) -> Iterator[_ScoreRow]:
    """Score the samples of one shard into the columns; yields the rows of the score table."""
    stats: list[list[tuple[float, ...]]] = [[] for _ in columns]
    clusters: list[str | None] = []
    table: list[_ScoreRow] = []
    for sample, rows in answered:
        if not counts.add(rows):
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
        elif status == "error":
            column.errors[wrong_row(column.metric, sample)] += 1
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


def _result(config: RunConfig, pair: Pair, column: Column, counts: Counts, prompts: PromptSet) -> Result:
    is_text = pair.kind is Kind.GENERATE
    seed = seed_for(config.seed, pair.task, "", 0, f"bootstrap {column.name}")
    num_errors = counts.errors if column.groups is None else column.groups.num_errors
    drawn = estimate(column.statistics, num_errors=num_errors, draws=config.bootstrap, seed=seed)
    how = f"{method(column.statistics)}-{config.bootstrap}" if config.bootstrap else "none"
    return Result(
        model=pair.model_name,
        task=pair.task,
        form=pair.kind.value,
        metric=column.name,
        estimate=drawn,
        value_if_errors_wrong=value_if_errors_wrong(column.statistics, column.errors) if num_errors else None,
        higher_is_better=column.metric.higher_is_better,
        signature=signature(
            pair,
            metric=column.metric.name,
            metric_signature="|".join(s for s in (column.metric.signature, f"ci:{how}") if s),
            extract=column.filter or None,
            num_samples=drawn.num_samples,
            counts={"err": counts.errors, "trunc": counts.truncated},
            data_prompt=digest(list(prompts.shards.digest)),
            numerics=counts.numerics,
        ),
        share_length=_share(counts.stopped_by_length, counts.answered) if is_text else None,
        share_unparsed=_share(column.unparsed, counts.answered) if is_text and column.extract is not None else None,
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
