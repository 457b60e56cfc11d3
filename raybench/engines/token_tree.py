"""The token sequences of a shard as one tree of prefixes, so that every token that several sequences begin with is computed once. Pure.

Sequences in sorted order are a walk through the tree, depth first: each one leaves its predecessor where they stop being alike, and what
is new of it are new nodes. A node's subtree is a range of nodes, so who is an ancestor of whom is a comparison of two numbers.

    context A, options b c and b d; context A E, option f        (the last token of an option is only predicted, never read)

    node       0 1 2 3 4      A sees A; b sees A b; E sees A E: a token sees itself and its ancestors
    token      A A b E E
    end        5 5 3 5 5      node 1 ends at 5: nodes 1 to 4 stand behind it
    predicts   - b c - f
               - - d - -
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from raybench.engines.items import Item

Ints = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenTree:
    """All nodes in the order of the walk: ancestors stand before their descendants."""

    tokens: Ints
    depth: Ints
    """Position of the token in its sequence, from 0."""
    end: Ints
    """First node that is no longer in the subtree: `a` is `t` or an ancestor of it exactly when a <= t < end[a]."""
    scored: list[list[list[int]]]
    """For item and continuation: the nodes behind which its tokens are predicted, in order."""

    def sees(self, queries: Ints, keys: Ints, *, window: int | None = None) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which tokens attend to which.

        Args:
            queries: Nodes [Q].
            keys: Nodes [K].
            window: Tokens that a token sees at most, itself included; None: all before it.

        Returns:
            Array [Q, K].
        """
        seen: np.ndarray[Any, np.dtype[np.bool_]] = (keys[None] <= queries[:, None]) & (queries[:, None] < self.end[keys][None])
        return seen if window is None else seen & (self.depth[queries][:, None] - self.depth[keys][None] < window)


def token_tree(items: Sequence[Item]) -> TokenTree:
    """The tree of all contexts with their continuations; depends on the items alone, not on their order."""
    rows = sorted((([*item.context, *c[:-1]], i, j) for i, item in enumerate(items) for j, c in enumerate(item.continuations)))
    scored: list[list[list[int]]] = [[[] for _ in item.continuations] for item in items]
    tokens: list[int] = []
    depth: list[int] = []
    end: list[int] = []
    path: list[int] = []  # nodes of the row before
    before: list[int] = []
    for row, i, j in rows:
        alike = common_length(before, row)
        for node in path[alike:]:
            end[node] = len(tokens)
        path[alike:] = range(len(tokens), len(tokens) + len(row) - alike)
        tokens += row[alike:]
        depth += range(alike, len(row))
        end += [0] * (len(row) - alike)
        scored[i][j] = path[len(items[i].context) - 1 :]
        before = row
    for node in path:
        end[node] = len(tokens)
    return TokenTree(tokens=np.array(tokens, np.int64), depth=np.array(depth, np.int64), end=np.array(end, np.int64), scored=scored)


def common_length(a: Sequence[int], b: Sequence[int]) -> int:
    """Number of tokens that `a` and `b` begin with alike."""
    n = min(len(a), len(b))
    if a[:n] == b[:n]:
        return n
    return next(i for i in range(n) if a[i] != b[i])
