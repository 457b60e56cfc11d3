from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raybench.engines.answer import AnswerReader, cut, split_reasoning, stop_window

TEXTS = ["so 4</think>\n\n4\nQ: x", "one</think>two</think> three", "no trace at all\nQ: y", "", "</think>", " leading"]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("think_end", [None, "</think>"])
@pytest.mark.parametrize("stops", [(), ("\nQ:",), ("\n", "three"), ("",)])
def test_answers_are_those_of_lm_eval(text: str, think_end: str | None, stops: tuple[str, ...]) -> None:
    from lm_eval.models.utils import postprocess_generated_text  # 0.4.13

    _, answer = split_reasoning(text, think_end)

    assert cut(answer, stops) == postprocess_generated_text(text, list(stops), think_end)


def test_the_trace_is_what_stands_before_its_last_end() -> None:
    assert split_reasoning("one</think>two</think> three", "</think>") == ("one</think>two", "three")
    assert split_reasoning("nothing", "</think>") == (None, "nothing")


def test_the_window_holds_the_longest_stop_string_in_bytes() -> None:
    assert stop_window(["", "ab", "北"]) == 3 + 2
    assert stop_window([]) == stop_window([""]) == 0


@pytest.fixture(scope="module")
def tokenizer(tiny_llama: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_llama)


def test_a_special_token_can_end_a_trace(tokenizer: Any) -> None:
    # lm_eval 0.4.13 models/huggingface.py, generate_until with an integer think_end_token: split behind its last occurrence, lstrip
    tokens = tokenizer.encode("a\nb<|im_end|>c<|im_end|> d\ne", add_special_tokens=False)

    assert AnswerReader(tokenizer, "<|im_end|>").read(tokens, ["\n"], is_stopped=True) == ("a\nbc", "d")


def test_a_special_token_can_be_a_stop_string(tokenizer: Any) -> None:
    tokens = tokenizer.encode("ab<|im_end|>cd", add_special_tokens=False)

    assert AnswerReader(tokenizer).read(tokens, ["<|im_end|>"], is_stopped=True) == (None, "ab")
