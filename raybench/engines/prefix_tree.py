"""Which prompts of a shard begin alike: a radix tree of token prefixes. Pure.

A node is a run of tokens behind the run of its parent; every prompt is the path from a node without parent to its own leaf. What a model
computes for a node, it computes once for all prompts below it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from raybench.engines.token_tree import common_length

MIN_SHARED = 16
"""Fewer common tokens than this are computed by each prompt itself."""


@dataclass(slots=True, kw_only=True, eq=False)
class Node:
    """A run of tokens that all prompts below share."""

    parent: Node | None
    start: int
    """Position of its first token in the prompts."""
    tokens: tuple[int, ...]
    """At least one."""
    num_prompts: int
    """Prompts below, repeats counted."""

    @property
    def stop(self) -> int:
        """Position behind its last token."""
        return self.start + len(self.tokens)

    @property
    def path(self) -> list[Node]:
        """The nodes from the beginning of the prompts to this one."""
        found: list[Node] = []
        node: Node | None = self
        while node is not None:
            found.append(node)
            node = node.parent
        return found[::-1]


def grow(prompts: Sequence[Sequence[int]]) -> tuple[list[Node], list[int]]:
    """The tree of `prompts`.

    Args:
        prompts: Token ids, each at least one; equal prompts share a leaf.

    Returns:
        The leaf of each prompt; and the prompts' indices in the tree's order, in which the prompts below a node are neighbours.
    """
    order = sorted(range(len(prompts)), key=lambda i: (list(prompts[i]), i))
    leaves: list[Node | None] = [None] * len(prompts)
    distinct = [order[k] for k in range(len(order)) if k == 0 or list(prompts[order[k]]) != list(prompts[order[k - 1]])]
    equal: dict[int, list[int]] = {}
    for i in order:
        if not equal or list(prompts[i]) != list(prompts[next(reversed(equal))]):
            equal[i] = []
        equal[next(reversed(equal))].append(i)
    # what each prompt shares with the one before it; its last token stays out, so that every leaf has one
    alike = [0, *(min(common_length(prompts[a], prompts[b]), len(prompts[a]) - 1, len(prompts[b]) - 1) for a, b in pairwise(distinct))]
    ranges: list[tuple[int, int, Node | None]] = [(0, len(distinct), None)] if distinct else []
    while ranges:
        first, last, parent = ranges.pop()
        depth = 0 if parent is None else parent.stop
        borders = [first, *(i for i in range(first + 1, last) if alike[i] < depth + MIN_SHARED), last]
        for a, b in pairwise(borders):
            prompt = prompts[distinct[a]]
            stop = len(prompt) if b - a == 1 else min(alike[a + 1 : b])
            count = sum(len(equal[distinct[k]]) for k in range(a, b))
            node = Node(parent=parent, start=depth, tokens=tuple(prompt[depth:stop]), num_prompts=count)
            if b - a > 1:
                ranges.append((a, b, node))
                continue
            for i in equal[distinct[a]]:
                leaves[i] = node
    return [leaf for leaf in leaves if leaf is not None], order
