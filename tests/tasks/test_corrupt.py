"""Texts with spans taken out: nothing is lost, and as much is taken as T5 takes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raybench.core.errors import DataError
from raybench.tasks.corrupt import infilled, spans, t5_corrupted, t5_spans
from raybench.tasks.template import text_template

WORDS = st.lists(st.text("abc", min_size=1, max_size=4), min_size=2, max_size=300).map(" ".join)


def parts(text: str) -> list[str]:
    """Words between sentinels, which have to be numbered from 0."""
    pieces = re.split(r" ?<extra_id_(\d+)> ?", text)
    assert pieces[1::2] == [str(i) for i in range(len(pieces) // 2)]
    return pieces[::2]


@given(WORDS)
def test_what_is_kept_and_what_is_taken_make_the_text(text: str) -> None:
    *kept, end = parts(t5_corrupted(text))
    start, *taken = parts(t5_spans(text))

    assert (start, end) == ("", "")
    assert " ".join(piece for both in zip(kept, taken, strict=True) for piece in both) == text
    assert infilled(text) == infilled(text)
    assert infilled(text, "[M]").count("[M]") == len(spans(text, share=0.3))


@pytest.mark.parametrize(("num_words", "num_taken", "num_spans"), [(2, 1, 1), (10, 2, 1), (40, 6, 2), (100, 15, 5), (512, 77, 26)])
def test_as_much_is_taken_as_t5_takes(num_words: int, num_taken: int, num_spans: int) -> None:
    # random_spans_noise_mask of t5/data/preprocessors.py: round(0.15 n) noise tokens in round(noise / 3) spans
    found = spans(" ".join(f"w{i}" for i in range(num_words)), share=0.15)

    assert len(found) == num_spans
    assert sum(len(taken.split()) for _, taken in found) == num_taken
    assert all(kept and taken for kept, taken in found)


def test_another_text_loses_other_words() -> None:
    places = {tuple(len(kept.split()) for kept, _ in spans(" ".join([f"w{i}"] * 60), share=0.15)) for i in range(30)}

    assert len(places) > 20


def test_templates_know_them() -> None:
    text = "Thank you for inviting me to your party last week ."

    assert text_template("{{ text|t5_corrupted }}", "here")({"text": text}) == t5_corrupted(text)
    assert text_template("{{ text|infilled('[MASK]') }}", "here")({"text": text}) == infilled(text, "[MASK]")
    with pytest.raises(DataError, match="here: a text of 1 words cannot lose some and keep some"):
        text_template("{{ text|t5_spans }}", "here")({"text": "one"})


def test_more_spans_than_sentinels_are_refused() -> None:
    with pytest.raises(DataError, match="needs more than T5's 100 sentinels"):
        t5_corrupted("word " * 2500)
