"""The stored answers of a pair, checked against the plan, counted, and gathered by sample: what every way of scoring starts from."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import pyarrow as pa

from raybench.core.sample_rows import samples_from_batch
from raybench.core.schema import from_batch, keys_of
from raybench.core.types import FinishReason, Kind, Prediction, Sample
from raybench.driver.paths import model_path, task_path
from raybench.driver.plan import Pair, fingerprints_of
from raybench.driver.signature import numerics_of
from raybench.store.prompt_set import PromptSet
from raybench.store.run_dir import RunDir
from raybench.store.shard_reader import DamagedShard

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


class Incomplete(Exception):
    """A pair cannot be scored; the message says why."""


@dataclass(slots=True, kw_only=True)
class Counts:
    """What happened to the rows of a pair."""

    samples: int = 0
    errors: int = 0
    unlabelled: int = 0
    rows: int = 0
    stopped_by_length: int = 0
    truncated: int = 0
    codes: dict[str, int] = field(default_factory=dict)
    numerics: Mapping[str, str] = field(default_factory=dict)
    """What the engines really computed with, for the signature."""

    @property
    def answered(self) -> int:
        """Rows that are no error."""
        return self.rows - sum(self.codes.values())

    def add(self, rows: Sequence[Prediction]) -> bool:
        """Count the rows of one sample; False when one of them is an error, so that the sample has no answer."""
        self.samples += 1
        self.rows += len(rows)
        failed = False
        for row in rows:
            self.stopped_by_length += row.finish_reason is FinishReason.LENGTH
            self.truncated += row.num_truncated_tokens > 0
            if row.error_code is not None:
                failed = True
                self.codes[row.error_code.value] = self.codes.get(row.error_code.value, 0) + 1
        self.errors += failed
        return not failed


def answers(store: RunDir, pair: Pair, prompts: PromptSet, counts: Counts) -> Iterator[list[tuple[Sample, list[Prediction]]]]:
    """The samples of a pair with all their rows, shard by shard; `counts` learns with what numerics they were computed.

    Raises:
        Incomplete: when keys are missing, doubled or foreign, or a shard is damaged; such a shard is given up, so that it is computed anew.
    """
    names = fingerprints_of(pair.identity, prompts.shards.digest)
    task, model = task_path(pair.task), model_path(pair.model_name)
    found = store.scan(task, model).shards
    withheld = missing_keys(found, prompts, names)
    if withheld is not None:
        raise Incomplete(withheld)
    counts.numerics = numerics_of(found[name].mark for name in names)
    try:
        for shard, batch in enumerate(store.iterate(task, model, names)):
            problem = check_shard(batch, prompts.requests(shard), pair)
            if problem is not None:
                raise Incomplete(problem)
            # requests x repeats of a sample lie together, as the keys have shown; samples may differ in how many they have
            groups = [list(rows) for _, rows in groupby(from_batch(batch, pair.kind), key=lambda row: row.sample_id)]
            yield list(zip(samples_from_batch(prompts.samples(shard)), groups, strict=True))
    except DamagedShard as error:
        store.discard(task, model, error.fingerprint)
        raise Incomplete(error.message) from error


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


def score_batch(rows: Iterator[tuple[Any, ...]]) -> pa.RecordBatch:
    """Rows of the score table."""
    columns = list(zip(*rows, strict=True)) or [()] * len(SCORES)
    return pa.record_batch([pa.array(c, f.type) for c, f in zip(columns, SCORES, strict=True)], schema=SCORES)


def warnings_of(pair: Pair, counts: Counts, unparsed: Sequence[tuple[str, int]] = ()) -> Iterator[str]:
    """What a reader of the scores should know, a sentence each; `unparsed`: metric and generations without an answer."""
    where = f"{pair.model_name} {pair.task}"
    if pair.kind is Kind.GENERATE and counts.answered:
        if counts.stopped_by_length > WARN_SHARE * counts.answered:
            yield f"{where}: {counts.stopped_by_length} of {counts.answered} answers were stopped by max_tokens."
        for name, number in unparsed:
            if number > WARN_SHARE * counts.answered:
                yield f"{where}: no answer was found in {number} of {counts.answered} generations ({name})."
    if counts.truncated > WARN_SHARE * counts.rows:
        yield f"{where}: {counts.truncated} of {counts.rows} prompts were cut to fit the context."
    if counts.errors:
        codes = ", ".join(f"{code} {n}" for code, n in sorted(counts.codes.items()))
        yield f"{where}: {counts.errors} of {counts.samples} samples have no answer ({codes}); they are not in the score."
    if counts.unlabelled:
        told = "there is no score" if counts.unlabelled + counts.errors == counts.samples else "they are not in the score"
        yield f"{where}: the data has no right answer for {counts.unlabelled} of {counts.samples} samples; {told}."
