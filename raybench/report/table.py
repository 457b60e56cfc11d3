"""Results of one or several runs as one table: a column a model, a row a (task, form, metric). Pure; knows no output format."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from raybench.core.errors import InternalError
from raybench.core.recheck import Recheck
from raybench.core.results import Result, Results
from raybench.report.plain import plain

GROUP_FORM = "group"
"""The form of rows that average other rows."""

_Key = tuple[str, str, str]  # task, form, metric

_PERCENT = re.compile(r"((.*_)?acc|exact_match|token_f1$|pass@\d+$)")
_PERPLEXITY = re.compile(r"(.*_)?perplexity$")
_SAME_QUESTION = ("v", "split", "data", "prompt", "shots", "limit", "max_tokens")
"""Signature parts that must be equal for two models' numbers to be compared; engine, dtype and chat template may differ."""
_SAME_SAMPLES = ("v", "split", "data", "limit")
"""... and where a head and a prompted model are compared, who are asked about the same samples in different words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How the numbers of a metric are written."""

    factor: float
    """What a value is multiplied by."""
    decimals: int
    unit: str
    """`%` or nothing."""

    def write(self, value: float) -> str:
        """The number without its unit; six digits before the point at most, since nobody reads more."""
        scaled = value * self.factor
        return f"{scaled:.3g}" if abs(scaled) >= 1e6 else f"{scaled:.{self.decimals}f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One model of one run."""

    run: str
    label: str
    """The model's name, with the run's where two columns would have the same."""
    failure: str | None
    """Why the model has no results."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What one model has for one row."""

    state: Literal["value", "undefined", "withheld", "failed", "absent"]
    """`absent`: the model was never asked this."""
    text: str
    """The number in the row's scale, or the state with the number of its footnote."""
    result: Result | None
    is_best: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One (task, metric) in one form, or in several where every model has one of them."""

    task: str
    title: str
    """The task, with its form where the table has it in several."""
    form: str
    """Several with commas between them."""
    metric: str
    scale: Scale
    higher_is_better: bool
    num_asked: str
    """Samples, answered or not; `20 to 100` where models differ."""
    cells: tuple[Cell, ...]
    """One a column, in the order of the columns."""
    difference: str | None
    """Why the cells cannot be compared: `shots: 0, 5`."""

    @property
    def is_group(self) -> bool:
        """Whether the row averages others."""
        return self.form == GROUP_FORM

    @property
    def metric_title(self) -> str:
        """`acc, % ↑`: the metric, its unit, and the direction that is better."""
        unit = f", {self.scale.unit}" if self.scale.unit else ""
        return f"{self.metric}{unit} {'↑' if self.higher_is_better else '↓'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Everything that a report shows, with all text from outside made harmless."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    """Tasks in the order of the runs, then groups."""
    footnotes: tuple[str, ...]
    """Reasons; the first has number 1."""
    warnings: tuple[str, ...]
    rechecks: tuple[tuple[int, Recheck], ...] = ()
    """Noise floors, each with the number of its column."""


def tabulate(runs: Sequence[Results]) -> Table:
    """The models of all runs side by side.

    Raises:
        InternalError: A run has two results for the same model, task, form and metric.
    """
    places = [(i, model) for i, run in enumerate(runs) for model in _models(run)]
    labels = _labels([(plain(model), plain(runs[i].run)) for i, model in places])
    columns = tuple(
        Column(run=plain(runs[i].run), label=label, failure=_reason(runs[i].failed_models.get(model)))
        for (i, model), label in zip(places, labels, strict=True)
    )
    numbers = {place: index for index, place in enumerate(places)}
    found: dict[_Key, dict[int, Result]] = {}
    for i, run in enumerate(runs):
        for result in run.results:
            cells = found.setdefault((result.task, result.form, result.metric), {})
            if cells.setdefault(numbers[i, result.model], result) is not result:
                raise InternalError(
                    f"run {run.run}: two results for {result.model}, {result.task}, {result.form}, {result.metric}; expected one. "
                    "Score the run again: raybench score RUN"
                )
    found = _side_by_side(found)
    footnotes: dict[str, int] = {}
    num_forms = Counter(task for task, _ in {(task, form) for task, form, _ in found})
    ordered = sorted(found, key=lambda key: key[1] == GROUP_FORM)  # stable: groups last, everything else in the order of the runs
    rows = tuple(_row(key, found[key], columns, footnotes, has_forms=num_forms[key[0]] > 1) for key in ordered)
    for column in columns:
        if column.failure is not None:  # also said when the table has no row in which the model could be missing
            _footnote(footnotes, f"{column.label}: {column.failure}")
    warnings = tuple(f"{plain(run.run)}: {plain(text)}" if len(runs) > 1 else plain(text) for run in runs for text in run.warnings)
    rechecks = tuple((numbers[i, r.model], r) for i, run in enumerate(runs) for r in run.rechecks if (i, r.model) in numbers)
    return Table(columns=columns, rows=rows, footnotes=tuple(footnotes), warnings=warnings, rechecks=rechecks)


def _models(run: Results) -> list[str]:
    """Those with results or a failure, in the order of the configuration where it is known."""
    shown = dict.fromkeys([*(r.model for r in run.results), *run.failed_models])
    places = {model: place for place, model in enumerate(run.models)}
    return sorted(shown, key=lambda model: places.get(model, len(places)))  # stable


def _side_by_side(found: Mapping[_Key, dict[int, Result]]) -> dict[_Key, dict[int, Result]]:
    """Rows of one task and metric in several forms as one row, where no model has two of them: a head beside a prompted decoder."""
    rows: list[tuple[list[str], dict[int, Result]]] = []  # forms and cells
    by_metric: dict[tuple[str, str], list[int]] = {}
    for (task, form, metric), cells in found.items():
        known = by_metric.setdefault((task, metric), [])
        place = next((i for i in known if not rows[i][1].keys() & cells.keys()), None) if form != GROUP_FORM else None
        if place is None:
            known.append(len(rows))
            rows.append(([form], dict(cells)))
        else:
            rows[place][0].append(form)
            rows[place][1].update(cells)
    names = {i: key for key, places in by_metric.items() for i in places}
    return {(names[i][0], ", ".join(forms), names[i][1]): cells for i, (forms, cells) in enumerate(rows)}


def scale_of(metric: str) -> Scale:
    """How a metric is written, by the family of its name: percent for means of 0 and 1, two decimals for perplexities, else three."""
    name = metric.partition("[")[0]
    if _PERCENT.match(name):
        return Scale(factor=100.0, decimals=1, unit="%")
    return Scale(factor=1.0, decimals=2 if _PERPLEXITY.match(name) else 3, unit="")


def signature_parts(signature: str) -> dict[str, str]:
    """The `key:value` pairs of a signature; a part without a colon has an empty value."""
    return {key: value for key, _, value in (part.partition(":") for part in signature.split("|"))}


def _reason(text: str | None) -> str | None:
    return None if text is None else plain(text) or "no reason was recorded"


def _labels(names: Sequence[tuple[str, str]]) -> list[str]:
    """A different label for each (model, run): the model, else with its run, else with a number."""
    num_models = Counter(model for model, _ in names)
    num_both = Counter(names)
    seen: Counter[tuple[str, str]] = Counter()
    labels = []
    for model, run in names:
        seen[model, run] += 1
        number = f" #{seen[model, run]}" if num_both[model, run] > 1 else ""
        labels.append(f"{model} ({run}{number})" if num_models[model] > 1 else model)
    return labels


def _row(key: _Key, found: dict[int, Result], columns: Sequence[Column], footnotes: dict[str, int], *, has_forms: bool) -> Row:
    task, form, metric = (plain(part) for part in key)
    scale = scale_of(metric)
    results = list(found.values())
    cells = [_cell(found.get(index), column, scale, footnotes) for index, column in enumerate(columns)]
    asked = sorted({r.estimate.num_samples + r.estimate.num_errors for r in results if r.withheld is None})
    difference = _difference([cell.result for cell in cells if cell.state == "value" and cell.result is not None])
    higher_is_better = results[0].higher_is_better
    return Row(
        task=task,
        title=f"{task} ({form})" if has_forms else task,
        form=form,
        metric=metric,
        scale=scale,
        higher_is_better=higher_is_better,
        num_asked="–" if not asked else str(asked[0]) if len(asked) == 1 else f"{asked[0]} to {asked[-1]}",
        cells=tuple(cells if difference else _mark_best(cells, higher_is_better=higher_is_better)),
        difference=difference,
    )


def _cell(result: Result | None, column: Column, scale: Scale, footnotes: dict[str, int]) -> Cell:
    if column.failure is not None and (result is None or result.estimate.value is None or result.withheld is not None):
        return Cell(state="failed", text=f"failed ({_footnote(footnotes, f'{column.label}: {column.failure}')})", result=result)
    if result is None:
        return Cell(state="absent", text="–", result=None)
    if result.withheld is not None:
        return Cell(state="withheld", text=f"withheld ({_footnote(footnotes, _reason(result.withheld) or '')})", result=result)
    value = result.estimate.value
    if value is None or not math.isfinite(value):
        reason = (
            "undefined: no sample was answered" if result.estimate.num_samples == 0 else "undefined for these answers (a constant column?)"
        )
        return Cell(state="undefined", text=f"undefined ({_footnote(footnotes, reason)})", result=result)
    return Cell(state="value", text=scale.write(value), result=result)


def _footnote(footnotes: dict[str, int], reason: str) -> int:
    """The number of a reason, the same for the same reason."""
    return footnotes.setdefault(reason, len(footnotes) + 1)


def _difference(results: Sequence[Result]) -> str | None:
    """What the results were not asked alike: another number of samples, other shots, another prompt."""
    parts = [signature_parts(result.signature) for result in results]
    said = {"n": {str(r.estimate.num_samples + r.estimate.num_errors) for r in results}}
    compared = _SAME_QUESTION if len({result.form for result in results}) == 1 else _SAME_SAMPLES
    said |= {key: {part.get(key, "none") for part in parts} for key in compared}
    different = [f"{plain(key)}: {', '.join(plain(value) for value in sorted(values))}" for key, values in said.items() if len(values) > 1]
    return "; ".join(different) or None


def _mark_best(cells: Sequence[Cell], *, higher_is_better: bool) -> list[Cell]:
    """Mark the best of at least two values. Values that are written alike are ties: the table shows no difference between them."""
    values = [
        cell.result.estimate.value for cell in cells if cell.state == "value" and cell.result and cell.result.estimate.value is not None
    ]
    if len(values) < 2:
        return list(cells)
    best = max(values) if higher_is_better else min(values)
    best_text = next(c.text for c in cells if c.state == "value" and c.result and c.result.estimate.value == best)
    return [Cell(state=c.state, text=c.text, result=c.result, is_best=c.state == "value" and c.text == best_text) for c in cells]
