"""What answers are worth: the numbers of a run, and how they become results.json and come back without losing a bit.

None means unknown. Ratios lie between 0 and 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from raybench.core.errors import InternalError, RunError
from raybench.core.recheck import Recheck

FORMAT = 1
"""Version of the JSON; raised when a key is added, renamed or changes its meaning."""

_TEXT = ("model", "task", "form", "metric", "signature")
_COUNTS = ("num_samples", "num_errors")
_NUMBERS = ("value", "stderr", "value_if_errors_wrong", "share_length", "share_unparsed", "share_truncated")
_RESULT_KEYS = frozenset({*_TEXT, *_COUNTS, *_NUMBERS, "ci95", "higher_is_better", "withheld"})
_RESULTS_KEYS = frozenset({"format", "run", "failed_models", "warnings", "results"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number and how sure it is."""

    value: float | None
    """None when it is withheld or undefined (no answered sample, a constant column)."""
    stderr: float | None = None
    """Standard error; None when it is unknown (one sample)."""
    ci95: tuple[float, float] | None = None
    """Percentile interval of the bootstrap."""
    num_samples: int
    """Samples the value stands on: answered ones."""
    num_errors: int
    """Samples without an answer; they are not in the value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One number of the final table, with everything needed to name it."""

    model: str
    task: str
    form: str
    """The request kind it was measured by, or `group`."""
    metric: str
    """With the filter in brackets where a task has several: `exact_match[strict]`."""
    estimate: Estimate
    value_if_errors_wrong: float | None = None
    """The value if every error row were a wrong answer; None where that has no meaning (perplexity)."""
    higher_is_better: bool
    signature: str
    share_length: float | None = None
    """Generations that were stopped by the token budget."""
    share_unparsed: float | None = None
    """Generations from which no answer could be extracted."""
    share_truncated: float | None = None
    """Requests whose prompt was cut."""
    withheld: str | None = None
    """Why there is no value although the run ended: missing, doubled or foreign keys, a failed model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """All numbers of one run; what results.json holds."""

    run: str
    results: tuple[Result, ...]
    warnings: tuple[str, ...] = ()
    """One sentence each, in plan order."""
    failed_models: Mapping[str, str] = field(default_factory=dict)
    """Model name to the reason why it has no results."""
    models: tuple[str, ...] = ()
    """All models in the order of the configuration, which results.json does not know; empty: as they stand in the results, failed ones last."""
    rechecks: tuple[Recheck, ...] = ()
    """Noise floors that were measured afterwards; they are no part of results.json, which is content only."""


def results_to_json(results: Results) -> dict[str, Any]:
    """The JSON value of all numbers of a run; keys come in a fixed order, floats are those of `results`.

    Raises:
        InternalError: A number is NaN or infinite, which JSON cannot say; an unknown number is None.
    """
    return {
        "format": FORMAT,
        "run": results.run,
        "failed_models": dict(results.failed_models),
        "warnings": list(results.warnings),
        "results": [_result_to_json(result) for result in results.results],
    }


def results_from_json(value: Mapping[str, Any]) -> Results:
    """The results that `results_to_json` made this value of.

    Raises:
        RunError: The value is not one that `results_to_json` makes.
    """
    where = "results"
    if not isinstance(value, Mapping) or "format" not in value:
        raise RunError(f"{where}: no format number found; expected the results.json of a run. Score the run again: raybench score RUN")
    if value["format"] != FORMAT or isinstance(value["format"], bool):
        raise RunError(
            f"{where}: format {value['format']!r} found, {FORMAT} expected. Read it with the raybench that wrote it, or score the run again"
        )
    _check_keys(value, _RESULTS_KEYS, where)
    failed = value["failed_models"]
    if not isinstance(failed, Mapping):
        raise _mismatch(f"{where}.failed_models", failed, "an object of model name to reason")
    return Results(
        run=_text(value["run"], f"{where}.run"),
        results=tuple(_result_from_json(item, f"{where}[{i}]") for i, item in enumerate(_list(value["results"], where))),
        warnings=tuple(_text(item, f"{where}.warnings[{i}]") for i, item in enumerate(_list(value["warnings"], f"{where}.warnings"))),
        failed_models={_text(name, where): _text(reason, f"{where}.failed_models.{name}") for name, reason in failed.items()},
    )


def _result_to_json(result: Result) -> dict[str, Any]:
    estimate = result.estimate
    where = f"{result.model}, {result.task}, {result.form}, {result.metric}"
    return {
        "model": result.model,
        "task": result.task,
        "form": result.form,
        "metric": result.metric,
        "value": _finite(estimate.value, where, "value"),
        "stderr": _finite(estimate.stderr, where, "stderr"),
        "ci95": None if estimate.ci95 is None else [_finite(bound, where, "ci95") for bound in estimate.ci95],
        "num_samples": int(estimate.num_samples),
        "num_errors": int(estimate.num_errors),
        "value_if_errors_wrong": _finite(result.value_if_errors_wrong, where, "value_if_errors_wrong"),
        "higher_is_better": bool(result.higher_is_better),
        "share_length": _finite(result.share_length, where, "share_length"),
        "share_unparsed": _finite(result.share_unparsed, where, "share_unparsed"),
        "share_truncated": _finite(result.share_truncated, where, "share_truncated"),
        "withheld": result.withheld,
        "signature": result.signature,
    }


def _result_from_json(value: Any, where: str) -> Result:
    if not isinstance(value, Mapping):
        raise _mismatch(where, value, "an object")
    _check_keys(value, _RESULT_KEYS, where)
    if not isinstance(value["higher_is_better"], bool):
        raise _mismatch(f"{where}.higher_is_better", value["higher_is_better"], "true or false")
    text = {key: _text(value[key], f"{where}.{key}") for key in _TEXT}
    number = {key: _number(value[key], f"{where}.{key}") for key in _NUMBERS}
    estimate = Estimate(
        value=number["value"],
        stderr=number["stderr"],
        ci95=_interval(value["ci95"], f"{where}.ci95"),
        num_samples=_count(value["num_samples"], f"{where}.num_samples"),
        num_errors=_count(value["num_errors"], f"{where}.num_errors"),
    )
    return Result(
        model=text["model"],
        task=text["task"],
        form=text["form"],
        metric=text["metric"],
        estimate=estimate,
        value_if_errors_wrong=number["value_if_errors_wrong"],
        higher_is_better=value["higher_is_better"],
        signature=text["signature"],
        share_length=number["share_length"],
        share_unparsed=number["share_unparsed"],
        share_truncated=number["share_truncated"],
        withheld=None if value["withheld"] is None else _text(value["withheld"], f"{where}.withheld"),
    )


def _finite(value: float | None, where: str, name: str) -> float | None:
    if value is None:
        return None
    if not math.isfinite(value):
        raise InternalError(f"{where}: {name} is {value}; expected a finite number, or None where it is unknown. Please report this")
    return float(value)


def _check_keys(value: Mapping[str, Any], expected: frozenset[str], where: str) -> None:
    missing, foreign = sorted(expected - value.keys()), sorted(map(str, value.keys() - expected))
    if missing or foreign:
        raise RunError(f"{where}: missing keys {missing}, unknown keys {foreign}. Score the run again: raybench score RUN")


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise _mismatch(where, value, "text")
    return value


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise _mismatch(where, value, "a list")
    return value


def _count(value: Any, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _mismatch(where, value, "a whole number, 0 or more")
    return value


def _number(value: Any, where: str) -> float | None:
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise _mismatch(where, value, "a finite number or null")
    return float(value)


def _interval(value: Any, where: str) -> tuple[float, float] | None:
    if value is None:
        return None
    bounds = [_number(bound, where) for bound in _list(value, where)]
    if len(bounds) != 2 or bounds[0] is None or bounds[1] is None:
        raise _mismatch(where, value, "two finite numbers or null")
    return bounds[0], bounds[1]


def _mismatch(where: str, found: Any, expected: str) -> RunError:
    return RunError(f"{where}: {str(found)[:80]!r} found, {expected} expected. Score the run again: raybench score RUN")
