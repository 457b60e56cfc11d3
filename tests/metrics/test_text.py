"""Exact match against lm-evaluation-harness 0.4.13, token F1 against the SQuAD evaluation script."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raybench.core.errors import DataError
from raybench.core.outputs import Generation
from raybench.core.protocols import Scored
from raybench.core.types import FinishReason, Prediction, Sample
from raybench.metrics.text import EXACT_MATCH, EXACT_MATCH_GSM8K, EXACT_MATCH_SQUAD, TOKEN_F1, exact_match, squad_f1

TEXTS = st.text(alphabet="aAthe 0123,.$#-\n é北", max_size=30)


def scored(answers: list[str | None], *targets: str) -> Scored:
    rows = [
        Prediction(sample_id="s", repeat=i, finish_reason=FinishReason.STOP, output=Generation(text=a or "")) for i, a in enumerate(answers)
    ]
    return Scored(sample=Sample(id="s", fields={}, targets=targets), predictions=rows, extracted=answers)


def lm_eval_match(answer: str, target: str, **options: object) -> float:
    from lm_eval.api.metrics import exact_match_hf_evaluate

    return float(exact_match_hf_evaluate([answer], [target], **options)["exact_match"])


# options of lm-evaluation-harness 0.4.13, tasks/gsm8k/gsm8k.yaml
GSM8K = {"regexes_to_ignore": [",", "\\$", "(?s).*#### ", "\\.$"], "ignore_case": True, "ignore_punctuation": False}


@pytest.mark.parametrize(
    ("answer", "target", "expected"),
    [
        ("18", "She makes 9 * 2 = $<<9*2=18>>18.\n#### 18", 1.0),
        ("$1,000.", "#### 1000", 1.0),
        ("1000.0", "#### 1000", 0.0),
        ("#### 7\n#### 8", "8", 1.0),  # the last mark counts
        ("####8", "8", 0.0),  # without the space it is no mark
        ("ABC", "abc", 1.0),
        ("8 ", "8", 0.0),
    ],
)
def test_gsm8k_answers_match_as_in_lm_eval(answer: str, target: str, expected: float) -> None:
    assert lm_eval_match(answer, target, **GSM8K) == expected
    assert EXACT_MATCH_GSM8K.score(scored([answer], target)) == (expected,)


@settings(deadline=None)
@given(TEXTS | TEXTS.map(lambda t: f"{t}#### {t}"), TEXTS | TEXTS.map(lambda t: f"x\n#### {t}"))
def test_gsm8k_matching_is_that_of_lm_eval(answer: str, target: str) -> None:
    assert EXACT_MATCH_GSM8K.score(scored([answer], target)) == (lm_eval_match(answer, target, **GSM8K),)


@settings(deadline=None)
@given(TEXTS, TEXTS, st.booleans(), st.booleans(), st.booleans())
def test_every_option_means_what_it_means_in_lm_eval(answer: str, target: str, case: bool, punctuation: bool, numbers: bool) -> None:
    metric = exact_match("m", ignore_case=case, ignore_punctuation=punctuation, ignore_numbers=numbers, regexes_to_ignore=("#",))
    expected = lm_eval_match(
        answer, target, regexes_to_ignore=["#"], ignore_case=case, ignore_punctuation=punctuation, ignore_numbers=numbers
    )

    assert metric.score(scored([answer], target)) == (expected,)


def test_patterns_are_removed_before_case_and_punctuation() -> None:
    metric = exact_match("m", regexes_to_ignore=("B",), ignore_case=True)

    assert metric.score(scored(["aB"], "a")) == (1.0,)
    assert metric.score(scored(["ab"], "a")) == (0.0,)  # lower-case b is none of the pattern's


def test_any_target_counts() -> None:
    assert EXACT_MATCH.score(scored(["b"], "a", "b")) == (1.0,)
    assert EXACT_MATCH.score(scored(["B"], "a", "b")) == (0.0,)


def test_an_answer_that_was_not_found_is_wrong() -> None:
    here = scored([None], "", "None")

    assert EXACT_MATCH.score(here) == EXACT_MATCH_GSM8K.score(here) == EXACT_MATCH_SQUAD.score(here) == TOKEN_F1.score(here) == (0.0,)


def test_repeats_are_averaged_per_sample() -> None:
    assert EXACT_MATCH.score(scored(["a", "b", None, "a"], "a")) == (0.5,)


def test_a_sample_without_target_is_an_error() -> None:
    for metric in (EXACT_MATCH, EXACT_MATCH_GSM8K, TOKEN_F1):
        with pytest.raises(DataError, match="sample 's': it has no target"):
            metric.score(scored(["a"]))


def test_the_signature_names_what_is_ignored() -> None:
    assert EXACT_MATCH.signature == ""
    assert exact_match("m", ignore_case=True, ignore_numbers=True).signature == "ignore:case+numbers"
    assert EXACT_MATCH_GSM8K.signature != exact_match("m", regexes_to_ignore=(",",), ignore_case=True).signature


# metric card of Hugging Face evaluate, metrics/squad/README.md, example "partial match": exact_match and f1 are 66.67
CARD = [("1976", "1976", 1.0), ("Beyonce", "Beyoncé and Bruno Mars", 0.0), ("climate change", "climate change", 1.0)]


@pytest.mark.parametrize(
    ("answer", "target", "expected"),
    [
        *CARD,
        ("the Denver Broncos", "Denver Broncos!", 1.0),
        ("an owl", "Owl", 1.0),
        ("Denver", "Denver Broncos", 2 / 3),  # precision 1, recall 1/2
        ("a b c", "c d", 0.5),  # "a" is an article: precision 1/2, recall 1/2
        ("the", "the", 0.0),  # SQuAD 1.1: no token is shared, since none is left
    ],
)
def test_token_f1_is_that_of_squad(answer: str, target: str, expected: float) -> None:
    assert TOKEN_F1.score(scored([answer], target))[0] == pytest.approx(expected, abs=1e-15)


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_token_f1_and_match_equal_the_squad_script(answer: str, target: str) -> None:
    # its SQuAD 2.0 successor; the two differ only where a side has no token
    from transformers.data.metrics.squad_metrics import compute_exact, compute_f1, get_tokens

    if get_tokens(answer) and get_tokens(target):
        assert squad_f1(answer, target) == compute_f1(target, answer)
    assert EXACT_MATCH_SQUAD.score(scored([answer], target)) == (compute_exact(target, answer),)


def test_the_best_target_counts_in_full() -> None:
    # not "any overlap is right", as in correctness trap T30 (lm_eval/api/task.py): the highest F1, as a fraction
    assert TOKEN_F1.score(scored(["Denver"], "Denver Broncos", "Colorado"))[0] == pytest.approx(2 / 3)
