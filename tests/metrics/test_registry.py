"""Metrics by name."""

from __future__ import annotations

import math
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from raybench.core.errors import ConfigError
from raybench.core.outputs import Embedding, Generation, Likelihoods, Output, Tags, TextLikelihood
from raybench.core.protocols import Metric, Scored, TableMetric
from raybench.core.types import FinishReason, Kind, Prediction, Sample
from raybench.metrics.registry import about, get_metric, kinds, metric_names, requests


def scored(name: str, *, is_right: bool) -> Scored:
    """A sample that the metric can score, answered well or badly."""
    outputs: dict[Kind, Output] = {
        Kind.LOGLIKELIHOOD: Likelihoods(
            logprobs=(-1.0, -9.0) if is_right else (-9.0, -1.0), is_greedy=(is_right, False), num_tokens=(1, 1)
        ),
        Kind.ROLLING: TextLikelihood(logprob=-1.0 if is_right else -9.0, num_tokens=3),
        Kind.GENERATE: Generation(text=("" if name == "squad2_noans" else "yes") if is_right else "no"),
        Kind.TAG: Tags(labels=("B-PER", "O") if is_right else ("O", "B-PER")),
    }
    output = outputs[sorted(kinds(name) & set(outputs) or {Kind.LOGLIKELIHOOD})[-1]]
    if name in ("ece", "brier"):
        output = Likelihoods(logprobs=(0.0, -math.inf) if is_right else (-math.inf, 0.0), is_greedy=(False, False), num_tokens=(1, 1))
    if name in ("perplexity", "greedy_acc", "pseudo_perplexity", "mlm_loss", "denoising_loss"):
        output = Likelihoods(logprobs=(-1.0 if is_right else -9.0,), is_greedy=(is_right,), num_tokens=(1,))
    if name == "mc2":  # a share of probability: wrong is when nothing is left for the right options
        output = Likelihoods(logprobs=(-1.0, -math.inf) if is_right else (-math.inf, -1.0), is_greedy=(False, False), num_tokens=(1, 1))
    num_repeats = 100 if name.startswith("pass@") else 1
    rows = [Prediction(sample_id="s", repeat=r, finish_reason=FinishReason.STOP, output=output) for r in range(num_repeats)]
    if "uncond" in requests(name):
        even = Likelihoods(logprobs=(-1.0, -1.0), is_greedy=(False, False), num_tokens=(1, 1))
        rows.append(Prediction(sample_id="s", request="uncond", finish_reason=FinishReason.SCORED, output=even))
    targets = {"squad2_noans": (), "seqeval": ("B-PER", "O"), "tag_acc": ("B-PER", "O")}.get(
        name.partition("_f1")[0].partition("_pre")[0].partition("_rec")[0], ("yes", "aa")
    )
    if name == "info_nce":  # the text, its counterpart, another one
        vectors = [(1.0, 0.0), (1.0, 0.0), (0.0, 1.0)] if is_right else [(1.0, 0.0), (0.0, 1.0), (1.0, 0.0)]
        rows = [Prediction(sample_id="s", finish_reason=FinishReason.SCORED, output=Embedding(vector=v)) for v in vectors]
    sample = Sample(id="s", fields={}, choices=("aa", "bb"), label=0, targets=targets)
    return Scored(sample=sample, predictions=rows, extracted=[getattr(r.output, "text", None) for r in rows])


# one answer tells nothing of gender_parity, which compares answers: tests/metrics/test_grouped.py
@pytest.mark.parametrize("name", [name for name in metric_names() if isinstance(get_metric(name), Metric) and name != "gender_parity"])
def test_a_built_in_metric_keeps_the_protocol(name: str) -> None:
    metric = get_metric(name)
    right, wrong = metric.score(scored(name, is_right=True)), metric.score(scored(name, is_right=False))
    sums = np.array([right, wrong, right])

    assert isinstance(metric, Metric)
    assert metric.name == name
    assert about(name)
    assert kinds(name)
    assert len(right) == len(wrong) == len(metric.stats)
    assert all(type(x) is float for x in right)
    assert not isinstance(metric.wrong, tuple) or wrong == metric.wrong
    assert (metric.value(sums[0], 1) > metric.value(sums[1], 1)) == metric.higher_is_better
    assert metric.value(sums, 1).tolist() == [float(metric.value(s, 1)) for s in sums]
    assert metric.value(sums, np.array([1, 1, 1])).tolist() == metric.value(sums, 1).tolist()
    if metric.is_mean:
        assert metric.value(sums[0], 4) == sums[0, 0] / 4


@pytest.mark.parametrize("name", [name for name in metric_names() if isinstance(get_metric(name), TableMetric) and "_best_" not in name])
def test_a_built_in_metric_of_the_table_keeps_the_protocol(name: str) -> None:
    metric = get_metric(name)
    assert isinstance(metric, TableMetric)
    rows = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    if name == "auroc_ovr":  # a score for each of the two classes
        rows = np.column_stack([rows[:, 0], 1 - rows[:, 1], rows[:, 1]])
    value_of = metric.over(rows)
    weights = np.array([[2.0, 1.0, 2.0, 3.0], [1.0, 0.0, 0.0, 1.0]])  # some wrong, none wrong

    assert metric.name == name
    assert about(name)
    assert kinds(name)
    assert not metric.is_mean
    assert len(metric.stats) == 2 or metric.stats[2:] == ("...",)
    assert np.array_equal(value_of(weights), [value_of(w) for w in weights], equal_nan=True)
    assert metric.slopes(rows, weights[0]).shape == (4,)
    assert (value_of(weights[1]) > value_of(weights[0])) == metric.higher_is_better


def test_pass_at_k_exists_for_every_k() -> None:
    assert get_metric("pass@7").name == "pass@7"
    assert kinds("pass@7") == {Kind.GENERATE}


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("exact_mach", "Did you mean 'exact_match'?"),
        ("pass@0", "`raybench list metrics` shows all"),
        ("pass@", "Did you mean"),
        ("bleu", "write package.module:NAME for your own"),
    ],
)
def test_an_unknown_name_is_refused_with_a_hint(name: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        get_metric(name)

    assert f"metric '{name}'" in caught.value.message
    assert hint in caught.value.message


@pytest.fixture
def own_module(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    module = types.ModuleType("own_metrics")
    monkeypatch.setitem(sys.modules, "own_metrics", module)
    return module


def test_an_object_of_ones_own_is_found_by_module_and_name(own_module: types.ModuleType) -> None:
    class Length:
        """Mean length of the answers.

        In characters.
        """

        name, stats, signature = "length", ("characters",), ""
        is_mean, higher_is_better, wrong = True, False, None
        kinds = ("generate",)

        def score(self, scored: Scored) -> tuple[float, ...]:
            return (float(len(scored.extracted[0] or "")),)

        def value(self, sums: np.ndarray, n: int) -> np.ndarray:
            return sums[..., 0] / n

    own_module.LENGTH = Length()  # type: ignore[attr-defined]
    own_module.Length = Length  # type: ignore[attr-defined]

    assert get_metric("own_metrics:LENGTH").name == "length"
    assert about("own_metrics:LENGTH") == "Mean length of the answers."
    assert kinds("own_metrics:LENGTH") == {Kind.GENERATE}
    assert requests("own_metrics:LENGTH") == ("",)
    with pytest.raises(ConfigError, match="a class, not an object of it"):
        get_metric("own_metrics:Length")
    with pytest.raises(ConfigError, match=r"has no 'LENGHT'\. Did you mean 'LENGTH'"):
        get_metric("own_metrics:LENGHT")


def test_a_metric_of_the_table_may_be_ones_own(own_module: types.ModuleType) -> None:
    own_module.KENDALL = types.SimpleNamespace(over=len, **dict.fromkeys(("name", "stats", "signature", "score"), ""))  # type: ignore[attr-defined]
    own_module.F1 = get_metric("f1")  # type: ignore[attr-defined]

    assert get_metric("own_metrics:F1").name == "f1"
    with pytest.raises(ConfigError, match="SimpleNamespace without is_mean, higher_is_better, wrong, slopes"):
        get_metric("own_metrics:KENDALL")


def test_an_object_that_is_no_metric_is_refused_with_what_it_lacks(own_module: types.ModuleType) -> None:
    own_module.HALF = types.SimpleNamespace(name="half", stats=("x",), score=len)  # type: ignore[attr-defined]

    with pytest.raises(ConfigError, match="SimpleNamespace without is_mean, higher_is_better, signature, wrong, value"):
        get_metric("own_metrics:HALF")


def test_a_module_that_cannot_be_imported_is_refused_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_metrics.py").write_text("raise ZeroDivisionError('at import')")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(ConfigError, match="ModuleNotFoundError: No module named 'nowhere'"):
        get_metric("nowhere.metrics:X")
    with pytest.raises(ConfigError, match="ZeroDivisionError: at import"):
        get_metric("broken_metrics:X")
