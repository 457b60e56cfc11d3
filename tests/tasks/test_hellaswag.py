"""HellaSwag's texts are cleaned as lm-eval cleans them."""

from __future__ import annotations

import importlib.util
import re

from hypothesis import given
from hypothesis import strategies as st

from raybench.tasks.hellaswag import clean, to_prompt, to_sample


def harness_preprocess(text: str) -> str:
    """lm-eval 0.4.13, tasks/hellaswag/utils.py, preprocess, written down by hand (its file imports `datasets`)."""
    return re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". ")).replace("  ", " ")


@given(
    st.text(alphabet=" []abt\n", max_size=30) | st.lists(st.sampled_from([" [title]", "[header]", "  ", " a", "[", "]", "\n"])).map("".join)
)
def test_any_mixture_of_brackets_is_cleaned_as_by_the_harness(text):
    assert clean(text) == harness_preprocess(text)


def test_the_comparison_is_with_the_formula_of_the_installed_harness():
    spec = importlib.util.find_spec("lm_eval")
    if spec is not None and spec.submodule_search_locations:
        from pathlib import Path

        source = (Path(spec.submodule_search_locations[0]) / "tasks" / "hellaswag" / "utils.py").read_text()
        assert 'text.replace(" [title]", ". ")' in source
        assert r're.sub("\\[.*?\\]", "", text)' in source


def test_a_text_of_opening_brackets_takes_no_quadratic_time():
    assert clean("[" * 1_000_000) == "[" * 1_000_000


def test_the_second_half_of_the_context_begins_with_a_capital():
    row = {"activity_label": "Diving", "ctx_a": "A man stands on a board.", "ctx_b": "he", "endings": ["jumps.", "sits."], "label": "0"}
    assert to_prompt(to_sample(row, "validation-0")).text == "Diving: A man stands on a board. He"
