"""Scores of the harness's tasks: stored answers go back to its own code; what comes out becomes results of ours and files of its own."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from raybench.core.config import RunConfig
from raybench.core.fingerprint import digest
from raybench.core.results import Estimate, Result
from raybench.core.sample_rows import samples_from_batch
from raybench.core.types import Kind
from raybench.driver.catalog import Catalog
from raybench.driver.paths import model_path, task_path
from raybench.driver.plan import Pair
from raybench.driver.signature import signature
from raybench.driver.stored_rows import SCORES, Counts, Incomplete, answers, score_batch, warnings_of
from raybench.metrics.interval import Z95
from raybench.store.prompt_set import PromptSet
from raybench.store.run_dir import RunDir
from raybench.tasks.harness.door import PREFIX, version
from raybench.tasks.harness.files import results_file, sample_line
from raybench.tasks.harness.library import HarnessGroup, HarnessTask
from raybench.tasks.harness.scoring import Answered, HarnessScorer, Unscorable, Worth, aggregate, is_right_or_wrong, merged

_NOT_FOUND = "[invalid]"
"""What the harness's filters give where they find no answer (lm_eval filters/extraction.py)."""


@dataclass(slots=True, kw_only=True)
class _Scored:
    """A pair that was scored."""

    pair: Pair
    scorer: HarnessScorer
    collected: Any
    counts: Counts


class HarnessScores:
    """Scores pairs one by one, then their groups, then the files; one for a run."""

    def __init__(self, store: RunDir, config: RunConfig, catalog: Catalog) -> None:
        self._store = store
        self._config = config
        self._catalog = catalog
        self._done: dict[str, list[_Scored]] = {}
        self._asked: dict[str, list[Pair]] = {}
        self._began = next((float(event["time"]) for event in store.events()), 0.0)
        """Seconds since the epoch: the first event, which stays the same when a run is copied; 0 where the events are gone."""

    def score(self, pair: Pair, prompts: PromptSet, warnings: list[str]) -> list[Result]:
        """Results of one pair; writes its score table and its sample file."""
        self._asked.setdefault(pair.model_name, []).append(pair)
        task = self._catalog.by_label[pair.task].task
        assert isinstance(task, HarnessTask), "only pairs of the harness come here"
        (first,) = samples_from_batch(prompts.samples(0).slice(0, 1))
        wanted = self._catalog.by_label[pair.task].config.repeats or task.repeats
        scorer = HarnessScorer(
            task,
            pair.task.removeprefix(PREFIX),  # its own name, or the label that the run gives it
            first.fields,
            num_documents=prompts.meta["num_documents"],
            shots=pair.identity["task"]["shots"],
            repeats=wanted,
        )
        counts = Counts()
        try:
            self._write(pair, prompts, scorer, counts)
            collected = scorer.collect(draws=self._config.bootstrap)
        except (Incomplete, Unscorable) as error:
            return [_withheld(pair, name, str(error)) for name in scorer.metric_names()]
        warnings += warnings_of(pair, counts)
        scored = _Scored(pair=pair, scorer=scorer, collected=collected, counts=counts)
        self._done.setdefault(pair.model_name, []).append(scored)
        return self._results(scored, digest(list(prompts.shards.digest)))

    def groups(self) -> list[Result]:
        """Results of the groups, of every model that has any of their tasks, and the harness's file of each model's results."""
        results: list[Result] = []
        for model in self._asked:
            done = self._done.get(model, [])
            collected = merged([s.collected for s in done])
            there = {s.scorer.name: s for s in done}
            whole: dict[str, Any] = {}
            for group in self._catalog.harness_groups:
                leaves = [t.task_name for t in group.group.get_all_tasks()]
                absent = [name for name in leaves if name not in there]
                if absent:
                    results += _withheld_group(model, group, absent, len(leaves))
                else:
                    whole[group.group.name] = group
            aggregate(collected, [group.group for group in whole.values()])
            for group in whole.values():
                results += _group_results(model, group, collected, there)
            if done:
                self._write_results(model, collected, done)
        return results

    def _write(self, pair: Pair, prompts: PromptSet, scorer: HarnessScorer, counts: Counts) -> None:
        name = f"samples_{task_path(scorer.name)}_{self._time}.jsonl"
        with ExitStack() as stack:
            path = stack.enter_context(self._store.export("lm-eval", model_path(pair.model_name), name))
            lines = stack.enter_context(path.open("w", encoding="utf-8"))
            table = stack.enter_context(self._store.score_writer(task_path(pair.task), model_path(pair.model_name), SCORES))

            def take(worths: Iterable[list[Worth]], names: list[str]) -> None:
                rows: list[tuple[Any, ...]] = []
                for sample_id, found in zip(names, worths, strict=True):
                    lines.writelines(sample_line(worth.logged) for worth in found)
                    rows += list(_table_rows(found)) or [(sample_id, metric, "error", None, None) for metric in scorer.metric_names()]
                table.write(score_batch(iter(rows)))

            waiting: list[str] = []
            for shard, answered in enumerate(answers(self._store, pair, prompts, counts)):
                arguments = _arguments(prompts.requests(shard).to_pylist(), pair.kind)
                given = [
                    Answered(
                        sample_id=sample.id,
                        document=dict(sample.fields),
                        arguments=arguments[sample.id],
                        predictions=rows if counts.add(rows) else [],
                    )
                    for sample, rows in answered
                ]
                waiting += [a.sample_id for a in given]
                if worths := scorer.add(given):
                    take(worths, waiting)
                    waiting = []
            if waiting:
                take(scorer.finish(), waiting)

    def _results(self, scored: _Scored, data_prompt: str) -> list[Result]:
        pair, counts = scored.pair, scored.counts
        values = scored.collected.metrics[scored.scorer.name]
        better = scored.collected.higher_is_better[scored.scorer.name]
        found = []
        for metric, filter, value, stderr in _values(values):
            n = scored.scorer.num_values(metric, filter)
            drawn = _estimate(metric, value, stderr, is_mean=scored.scorer.is_mean(metric), num_samples=n, num_errors=counts.errors)
            found.append(
                Result(
                    model=pair.model_name,
                    task=pair.task,
                    form=pair.kind.value,
                    metric=_label(metric, filter),
                    estimate=drawn,
                    higher_is_better=bool(better.get(metric, True)),
                    signature=signature(
                        pair,
                        metric=metric,
                        metric_signature=f"lm-eval:{version()}|stderr-draws:{self._config.bootstrap}{_interval_signature(drawn)}",
                        extract=filter if filter != "none" else None,
                        num_samples=n,
                        counts={"err": counts.errors, "trunc": counts.truncated},
                        data_prompt=data_prompt,
                        numerics=counts.numerics,
                    ),
                    share_length=counts.stopped_by_length / counts.answered if pair.kind is Kind.GENERATE and counts.answered else None,
                    share_truncated=counts.truncated / counts.rows if counts.rows else None,
                )
            )
        return found or [_withheld(pair, name, "no document has an answer") for name in scored.scorer.metric_names()]

    def _write_results(self, model: str, collected: Any, done: list[_Scored]) -> None:
        engine = done[0].pair.identity["engine"]
        config = {
            "dtype": engine["dtype"],
            "device": engine["device"],
            "limit": done[0].pair.limit,
            "bootstrap_iters": self._config.bootstrap,
            "fewshot_seed": self._config.lm_eval.fewshot_seed,
        }
        text = results_file(
            collected,
            model=model,
            source=str(engine["kind"]),
            config=config,
            task_hashes={s.scorer.name: s.scorer.task_hash for s in done},
            seconds=self._began,
        )
        with self._store.export("lm-eval", model_path(model), f"results_{self._time}.json") as path:
            path.write_text(text, encoding="utf-8")

    @property
    def _time(self) -> str:
        """When the run began, as the harness writes times in file names: scoring again replaces the files."""
        return datetime.fromtimestamp(self._began, UTC).replace(tzinfo=None).isoformat(timespec="microseconds").replace(":", "-")


def _arguments(rows: list[dict[str, Any]], kind: Kind) -> dict[str, list[tuple[Any, ...]]]:
    """What was asked of each sample, an entry an instance; conversations as JSON, since the template is the engine's."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    for sample_id, requests in groupby(rows, key=lambda row: row["sample_id"]):
        asked: list[tuple[Any, ...]] = []
        for row in requests:
            prompt = row["prompt"] if row["messages"] is None else json.dumps(row["messages"], ensure_ascii=False)
            asked += [(prompt, option) for option in row["continuations"]] if kind is Kind.LOGLIKELIHOOD else [(prompt,)]
        found[sample_id] = asked
    return found


def _table_rows(worths: list[Worth]) -> Iterator[tuple[str, str, str, list[float], list[str | None] | None]]:
    """Rows of the score table; what is no number, or no text, is left out."""
    for worth in worths:
        texts = [f for f in worth.filtered if isinstance(f, str)]
        extracted = [None if text == _NOT_FOUND else text for text in texts] if len(texts) == len(worth.filtered) else None
        for metric, value in worth.metrics.items():
            numbers = list(value) if isinstance(value, tuple | list) else [value]
            stats = [float(n) for n in numbers] if all(_number(n) is not None for n in numbers) else []
            yield worth.sample_id, _label(metric, worth.filter), "ok", stats, extracted


def _values(metrics: Mapping[str, Any]) -> Iterator[tuple[str, str, Any, Any]]:
    """(metric, filter, value, standard error) of what the harness calls `metric,filter` and `metric_stderr,filter`."""
    for key, value in metrics.items():
        metric, comma, filter = key.partition(",")
        if comma and not metric.endswith("_stderr"):
            yield metric, filter, value, metrics.get(f"{metric}_stderr,{filter}")


def _estimate(metric: str, value: Any, stderr: Any, *, is_mean: bool, num_samples: int, num_errors: int) -> Estimate:
    """The harness's value and standard error, with the normal 95 % interval where that is sound.

    It is for means, whose standard errors are analytic; not for what is bootstrapped (a perplexity is skewed), and not where all documents came to
    the same: a standard error of 0 says nothing.
    """
    mean, error = _number(value), _number(stderr)
    ci95 = None
    if mean is not None and error and is_mean:
        low, high = mean - Z95 * error, mean + Z95 * error
        ci95 = (max(low, 0.0), min(high, 1.0)) if is_right_or_wrong(metric) and 0 <= mean <= 1 else (low, high)
    return Estimate(value=mean, stderr=error, ci95=ci95, num_samples=num_samples, num_errors=num_errors)


def _interval_signature(estimate: Estimate) -> str:
    return "" if estimate.ci95 is None else "|ci:normal"


def _number(value: Any) -> float | None:
    """A finite number, or None for what is none (`N/A`, NaN)."""
    try:
        number = float(value) if not isinstance(value, str) else math.nan
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _label(metric: str, filter: str) -> str:
    return metric if filter == "none" else f"{metric}[{filter}]"


def _withheld(pair: Pair, metric: str, reason: str) -> Result:
    nothing = Estimate(value=None, num_samples=0, num_errors=0)
    return Result(
        model=pair.model_name, task=pair.task, form=pair.kind.value, metric=metric, estimate=nothing, higher_is_better=True, signature="",
        withheld=reason,
    )  # fmt: skip


def _group_results(model: str, group: HarnessGroup, collected: Any, there: Mapping[str, _Scored]) -> Iterator[Result]:
    values = collected.metrics[group.group.name]
    leaves = [there[t.task_name] for t in group.group.get_all_tasks()]
    for metric, filter, value, stderr in _values(values):
        better = [s.collected.higher_is_better[s.scorer.name].get(metric, True) for s in leaves]
        n = values["sample_count"][f"{metric},{filter}"]
        errors = sum(s.counts.errors for s in leaves)
        is_mean = all(s.scorer.is_mean(metric) for s in leaves if s.scorer.num_values(metric, filter))
        drawn = _estimate(metric, value, stderr, is_mean=is_mean, num_samples=n, num_errors=errors)
        sign = f"group:{group.name}|v:{group.group.version}|metric:{metric}|members:{len(leaves)}|n:{n}|err:{errors}|lm-eval:{version()}"
        sign += _interval_signature(drawn)
        yield Result(
            model=model,
            task=group.name,
            form="group",
            metric=_label(metric, filter),
            estimate=drawn,
            higher_is_better=all(better),
            signature=f"{sign}|PARTIAL" if any(s.pair.limit is not None for s in leaves) else sign,
        )


def _withheld_group(model: str, group: HarnessGroup, absent: list[str], num_leaves: int) -> Iterator[Result]:
    for rule in group.group.aggregate_metric_list or ():
        yield Result(
            model=model,
            task=group.name,
            form="group",
            metric=rule.metric,
            estimate=Estimate(value=None, num_samples=0, num_errors=0),
            higher_is_better=True,
            signature="",
            withheld=f"{len(absent)} of {num_leaves} members have no value, the first: {PREFIX}{absent[0]}",
        )
