from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raybench.core.errors import InternalError, RunError
from raybench.core.results import Estimate, Result, Results, results_from_json, results_to_json

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
UNKNOWN = st.none() | FLOATS
TEXT = st.text(max_size=12)
ESTIMATES = st.builds(
    Estimate,
    value=UNKNOWN,
    stderr=UNKNOWN,
    ci95=st.none() | st.tuples(FLOATS, FLOATS),
    num_samples=st.integers(0),
    num_errors=st.integers(0),
)
RESULT = st.builds(
    Result, model=TEXT, task=TEXT, form=TEXT, metric=TEXT, estimate=ESTIMATES, value_if_errors_wrong=UNKNOWN, higher_is_better=st.booleans(),
    signature=TEXT, share_length=UNKNOWN, share_unparsed=UNKNOWN, share_truncated=UNKNOWN, withheld=st.none() | TEXT,
)  # fmt: skip
RESULTS = st.builds(
    Results,
    run=TEXT,
    results=st.lists(RESULT, max_size=3).map(tuple),
    warnings=st.lists(TEXT, max_size=2).map(tuple),
    failed_models=st.dictionaries(TEXT, TEXT, max_size=2),
)


def results_with(value: float | None) -> Results:
    estimate = Estimate(value=value, num_samples=1, num_errors=0)
    return Results(
        run="r", results=(Result(model="m", task="t", form="f", metric="acc", estimate=estimate, higher_is_better=True, signature="s"),)
    )


@given(RESULTS)
def test_results_survive_json_text_without_losing_a_bit(results: Results) -> None:
    value = results_to_json(results)

    back = results_from_json(json.loads(json.dumps(value, allow_nan=False)))

    assert back == results
    assert repr(back) == repr(results)  # tells -0.0 from 0.0 and 1 from 1.0, and sees the order of failed models


def test_keys_have_a_fixed_order() -> None:
    value = results_to_json(results_with(0.5))

    assert list(value) == ["format", "run", "failed_models", "warnings", "results"]
    assert list(value["results"][0]) == [
        "model", "task", "form", "metric", "value", "stderr", "ci95", "num_samples", "num_errors", "value_if_errors_wrong",
        "higher_is_better", "share_length", "share_unparsed", "share_truncated", "withheld", "signature",
    ]  # fmt: skip


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_of_json_is_refused(value: float) -> None:
    with pytest.raises(InternalError, match="m, t, f, acc: value is"):
        results_to_json(results_with(value))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"value": "0.5"}, "value: '0.5' found, a finite number or null expected"),
        ({"value": True}, "value: 'True' found"),
        ({"value": math.nan}, "value: 'nan' found"),
        ({"ci95": [0.1]}, "ci95: .* two finite numbers or null expected"),
        ({"num_errors": -1}, "num_errors: '-1' found"),
        ({"higher_is_better": 1}, "higher_is_better: '1' found, true or false expected"),
        ({"extra": 1}, r"missing keys \[\], unknown keys \['extra'\]"),
    ],
)
def test_a_damaged_file_is_refused_with_the_place_of_the_damage(change: dict[str, Any], message: str) -> None:
    value = results_to_json(results_with(0.5))
    value["results"][0].update(change)

    with pytest.raises(RunError, match=r"results\[0\]"):
        results_from_json(value)
    with pytest.raises(RunError, match=message):
        results_from_json(value)


@pytest.mark.parametrize(("value", "message"), [({}, "no format number"), ({"format": 2}, "format 2 found, 1 expected")])
def test_a_file_of_another_version_is_refused(value: dict[str, Any], message: str) -> None:
    with pytest.raises(RunError, match=message):
        results_from_json(value)
