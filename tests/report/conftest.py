"""Results of a small made-up run, as the report gets them: invented numbers, since only their writing is tested."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from raybench.core.results import Estimate, Result, Results

MakeResult = Callable[..., Result]


@pytest.fixture
def make_result() -> MakeResult:
    """A result with everything set that a test does not name."""

    def make(model: str = "tiny", task: str = "arc_easy", metric: str = "acc", value: float | None = 0.5, **other: object) -> Result:
        form = str(other.pop("form", "loglikelihood"))
        n, errors = int(str(other.pop("n", 100))), int(str(other.pop("errors", 0)))
        ci95 = other.pop("ci95", None)
        stderr = other.pop("stderr", None)
        assert ci95 is None or isinstance(ci95, tuple)
        assert stderr is None or isinstance(stderr, float)
        fields: dict[str, object] = {
            "higher_is_better": True,
            "signature": f"task:{task}|v:1|form:{form}|split:test|shots:0|n:{n}|err:{errors}|metric:{metric}",
            **other,
        }
        estimate = Estimate(value=value, stderr=stderr, ci95=ci95, num_samples=n, num_errors=errors)
        return Result(model=model, task=task, form=form, metric=metric, estimate=estimate, **fields)  # type: ignore[arg-type]  # a test's own fields

    return make


@pytest.fixture
def mixed(make_result: MakeResult) -> Results:
    """Two models with numbers, a failed one, a withheld metric, a group, errors, shares above and below the warning, a limit."""
    rolling = {"form": "rolling", "higher_is_better": False, "n": 12}
    generate = {"form": "generate", "n": 20, "signature": "task:gsm8k|v:1|form:generate|limit:20|metric:exact_match"}
    group = {"form": "group", "signature": "group:suite|v:1|members:arc_easy,gsm8k"}
    return Results(
        run="quick",
        results=(
            make_result("small", value=0.4123, stderr=0.0142, ci95=(0.385, 0.4401), n=1197, errors=3, value_if_errors_wrong=0.4112),
            make_result("small", metric="acc_norm", value=0.5, stderr=0.0144, n=1197, errors=3, value_if_errors_wrong=0.49875),
            make_result("small", "gsm8k", "exact_match[strict]", 0.25, share_length=0.25, share_unparsed=0.005, **generate),
            make_result("small", "wikitext", "word_perplexity", 23.456, **rolling),
            make_result("small", "suite", "acc", 0.33115, **group),
            make_result("large", value=0.6, stderr=0.0141, n=1200),
            make_result("large", metric="acc_norm", value=0.5004, stderr=0.0144, n=1200),
            make_result("large", "gsm8k", "exact_match[strict]", None, withheld="2 of 20 keys are missing", **generate),
            make_result("large", "wikitext", "word_perplexity", 12.0, **rolling),
            make_result("large", "suite", "acc", None, withheld="member gsm8k is withheld", **group),
        ),
        warnings=("arc_easy: 3 prompts do not fit into 2048 tokens",),
        failed_models={"broken": "model.safetensors is truncated"},
    )
