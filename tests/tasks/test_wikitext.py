"""The pages of WikiText are scored as lm-eval scores them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raybench.core.types import Kind
from raybench.tasks.prompts import render
from raybench.tasks.wikitext import TASK, detokenize


def harness_detokenizer() -> Callable[[dict[str, str]], str]:
    """The function of lm-eval 0.4.13, from its file, without importing the package."""
    spec = importlib.util.find_spec("lm_eval")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("lm-eval is not installed")
    file = Path(spec.submodule_search_locations[0]) / "tasks" / "wikitext" / "preprocess_wikitext.py"
    loaded = importlib.util.spec_from_file_location("preprocess_wikitext", file)
    module = importlib.util.module_from_spec(loaded)
    loaded.loader.exec_module(module)
    return module.wikitext_detokenizer


def test_texts_equal_those_of_the_harness(data, reference, asked):
    expected = reference("wikitext_pages")
    found = asked(render(TASK, Kind.ROLLING, limit=len(expected), data=data))
    assert [[text] for text, _ in found] == [s["arguments"][0] for s in expected]


def test_words_are_counted_on_the_page_before_detokenising(data, reference):
    import re

    shard = next(render(TASK, Kind.ROLLING, limit=2, data=data).shards())
    for targets, sample in zip(shard.samples["targets"].to_pylist(), reference("wikitext_pages"), strict=True):
        words, size = len(re.split(r"\s+", targets[0])), len(targets[0].encode())
        assert [words, size] == [sample["word_perplexity"][1], sample["byte_perplexity"][1]]


def test_every_page_is_detokenised_as_by_the_harness(shared):
    theirs = harness_detokenizer()
    for page in pq.read_table(shared / "data" / "wikitext_2" / "test_pages.parquet")["page"].to_pylist():
        assert detokenize(page) == theirs({"page": page})


@given(st.text(alphabet=" \n()[]{}\"'/@-,.:;!?=sN°3\u00a0\u2028", max_size=60))
def test_any_mixture_of_marks_is_detokenised_as_by_the_harness(text):
    assert detokenize(text) == harness_detokenizer()({"page": text})


def test_a_page_of_opening_brackets_takes_no_quadratic_time():
    # the harness' patterns look for the end from every bracket: minutes for a megabyte
    assert detokenize("(" * 1_000_000) == "(" * 1_000_000
