"""The windows in which a long text is scored: every token exactly once, each with as much context as the model can hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def windows(tokens: Sequence[int], *, prefix: int, max_length: int) -> Iterator[tuple[list[int], list[int]]]:
    """Disjoint (context, scored) pairs over a text; context + scored has at most max_length + 1 tokens.

    As lm-evaluation-harness 0.4.13 (utils.py, get_rolling_token_windows with context_len 1, then make_disjoint_window). With max_length 4:

        tokens   a b c d e f g h i j
        window 1 P>a b c d                 the prefix token alone is the context
        window 2       d>e f g h           one token of context, max_length scored
        window 3           f g h>i j       the rest, with full context

    Args:
        tokens: The text, without the prefix token.
        prefix: Stands before the first token, so that it can be scored too.
        max_length: Context of the model in tokens.
    """
    done = min(max_length, len(tokens))
    if done:
        yield [prefix], list(tokens[:done])
    while done < len(tokens):
        num_scored = min(len(tokens) - done, max_length)
        stop = done + num_scored
        yield list(tokens[stop - max_length - 1 : done]), list(tokens[done:stop])
        done = stop
