from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from raybench.engines.rolling import windows


@given(st.lists(st.integers(0, 9), max_size=40), st.integers(1, 12))
def test_windows_are_those_of_lm_eval(tokens: list[int], max_length: int) -> None:
    from lm_eval.utils import get_rolling_token_windows, make_disjoint_window  # 0.4.13

    expected = [
        make_disjoint_window(w)
        for w in get_rolling_token_windows(token_list=tokens, prefix_token=-7, max_seq_len=max_length, context_len=1)
    ]

    assert list(windows(tokens, prefix=-7, max_length=max_length)) == expected


@given(st.lists(st.integers(0, 9), max_size=40), st.integers(1, 12))
def test_every_token_is_scored_once_in_order(tokens: list[int], max_length: int) -> None:
    found = list(windows(tokens, prefix=-7, max_length=max_length))

    assert [t for _, scored in found for t in scored] == tokens
    assert all(len(context) >= 1 and len(context) + len(scored) <= max_length + 1 for context, scored in found)
