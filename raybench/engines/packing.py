"""How likelihood requests share work: which contexts begin alike, and which of them go into one forward pass. Pure.

An item is one context with its continuations. Items whose contexts share a prefix form a group; the prefix is computed once. The rest of
the group's items is cut into packs: one row of tokens in which every token sees the prefix, its own context, and its own continuation.

    prefix P, item 1 = context A + continuations b, c; item 2 = context D + continuation e

    pack      A A A b b c D D e e
    sees P    x x x x x x x x x x
    sees A    causal x x x . . . .      c does not see b, D does not see A
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

MIN_SHARED = 32
"""Fewer shared tokens than this are not worth a forward pass of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A context and what may follow it."""

    context: Sequence[int]
    """At least one token."""
    continuations: Sequence[Sequence[int]]
    """Each of at least one token."""

    @property
    def num_branch(self) -> int:
        """Input tokens of all continuations: the last token of each is only predicted, never read."""
        return sum(len(c) - 1 for c in self.continuations)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Items whose contexts begin alike."""

    members: tuple[int, ...]
    """Indices of items."""
    num_shared: int
    """Tokens that all contexts of the group begin with, fewer than the shortest of them; 0 where nothing is shared."""


def common_length(a: Sequence[int], b: Sequence[int]) -> int:
    """Number of tokens that `a` and `b` begin with alike."""
    n = min(len(a), len(b))
    if a[:n] == b[:n]:
        return n
    return next(i for i in range(n) if a[i] != b[i])


def groups(items: Sequence[Item]) -> list[Group]:
    """Cut the items into groups so that sharing prefixes saves the most tokens; items that share nothing come last, as one group.

    Among the contexts in token order, every set that shares a prefix is a range; a range is taken whole, or split where its neighbours
    share least, whichever saves more.
    """
    order = sorted(range(len(items)), key=lambda i: (list(items[i].context), i))
    # what each context shares with the one before it; the last token of a context must stay out of the prefix: its state is needed
    alike = [0] + [
        min(common_length(items[a].context, items[b].context), len(items[a].context) - 1, len(items[b].context) - 1)
        for a, b in pairwise(order)
    ]
    found: list[Group] = []
    alone: list[int] = []
    for start, stop in _best(alike, 0, len(order)):
        shared = min(alike[start + 1 : stop], default=0)
        if stop - start > 1 and shared >= MIN_SHARED:
            found.append(Group(members=tuple(sorted(order[start:stop])), num_shared=shared))
        else:
            alone += order[start:stop]
    if alone:
        found.append(Group(members=tuple(sorted(alone)), num_shared=0))
    return found


def _best(alike: Sequence[int], start: int, stop: int) -> list[tuple[int, int]]:
    """Ranges of [start, stop) that save most; iterative, since nesting can be as deep as the shard is long."""
    ranges = [(start, stop)]
    cuts: list[tuple[int, int, list[int]]] = []  # each range, parents before children, with the indices of its children
    position = 0
    while position < len(ranges):
        a, b = ranges[position]
        inner = alike[a + 1 : b]
        children: list[int] = []
        if inner:
            least = min(inner)
            borders = [a, *(i for i in range(a + 1, b) if alike[i] == least), b]
            for pair in pairwise(borders):
                children.append(len(ranges))
                ranges.append(pair)
        cuts.append((a, b, children))
        position += 1
    saved = [0] * len(cuts)
    chosen: list[list[tuple[int, int]]] = [[] for _ in cuts]
    for i in reversed(range(len(cuts))):
        a, b, children = cuts[i]
        shared = min(alike[a + 1 : b], default=0)
        whole = (b - a - 1) * shared if shared >= MIN_SHARED else 0
        split = sum(saved[c] for c in children)
        if split > whole:
            saved[i], chosen[i] = split, [r for c in children for r in chosen[c]]
        else:
            saved[i], chosen[i] = whole, [(a, b)]
    return chosen[0] if cuts else []


def packs(items: Sequence[Item], group: Group, *, num_tokens: int) -> list[list[int]]:
    """The members of a group in order, cut into packs of at most `num_tokens` tokens beside the prefix; a larger item is a pack alone."""
    found: list[list[int]] = []
    size = 0
    for i in group.members:
        add = len(items[i].context) - group.num_shared + items[i].num_branch
        if not found or size + add > num_tokens:
            found.append([])
            size = 0
        found[-1].append(i)
        size += add
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """One row of tokens, and where in it each continuation is predicted."""

    tokens: list[int]
    positions: list[int]
    """Position of each token in its own sequence."""
    item: list[int]
    """Which item of the pack a token belongs to."""
    branch: list[int]
    """0 for a context token, otherwise 1 + the index of the continuation."""
    scored: list[list[list[int]]]
    """For item and continuation: the row indices whose states predict its tokens, in order."""


def layout(items: Sequence[Item], *, num_shared: int) -> Pack:
    """Lay the items of a pack behind each other."""
    tokens: list[int] = []
    positions: list[int] = []
    owner: list[int] = []
    branch: list[int] = []
    scored: list[list[list[int]]] = []
    for number, item in enumerate(items):
        rest = item.context[num_shared:]
        tokens += rest
        positions += range(num_shared, len(item.context))
        owner += [number] * len(rest)
        branch += [0] * len(rest)
        last = len(tokens) - 1
        rows = []
        for name, continuation in enumerate(item.continuations, start=1):
            first, n = len(tokens), len(continuation) - 1
            tokens += continuation[:-1]
            positions += range(len(item.context), len(item.context) + n)
            owner += [number] * n
            branch += [name] * n
            rows.append([last, *range(first, first + n)])
        scored.append(rows)
    return Pack(tokens=tokens, positions=positions, item=owner, branch=branch, scored=scored)
