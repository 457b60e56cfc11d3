from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raybench.report.plain import is_unsafe, plain


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # sequences from ECMA-48 (5th edition): CSI 5.4, control strings 5.6, each in 7-bit and 8-bit form
        ("a\x1b[31mb", "ab"),
        ("a\x9b31mb", "ab"),
        ("a\x1b]0;title\x07b", "ab"),
        ("a\x1b]8;;http://x\x1b\\b", "ab"),
        ("a\x90payload\x9cb", "ab"),
        ("a\x1b\x1b[31m[2Jb", "a[2Jb"),  # what is left of a nested one is text
        ("a\x1b]no end", "ano end"),
        ("a\nb\tc", "a b c"),
        ("a\u202eb\u2066c", "abc"),  # bidirectional overrides
        ("\ud800", "\ufffd"),
        ("中文 é ±", "中文 é ±"),
    ],
)
def test_escape_sequences_and_controls_are_removed_and_text_is_kept(text: str, expected: str) -> None:
    assert plain(text) == expected


@given(st.text(st.characters(codec=None), max_size=40) | st.text("\x1b[]0m\x9b\x9d\x07\\P;", max_size=40))
def test_nothing_unsafe_is_left_and_a_second_pass_changes_nothing(text: str) -> None:
    once = plain(text)

    assert not any(is_unsafe(character) for character in once)
    assert plain(once) == once
    once.encode()
