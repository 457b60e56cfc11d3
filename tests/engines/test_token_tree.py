from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from raybench.engines.items import Item
from raybench.engines.token_tree import token_tree

TOKENS = st.lists(st.integers(0, 2), min_size=1, max_size=5)
ITEMS = st.lists(st.builds(lambda c, o: Item(context=c, continuations=o), TOKENS, st.lists(TOKENS, min_size=1, max_size=3)), max_size=8)


def inputs_of(items: list[Item]) -> list[list[int]]:
    """What a plain row reads: the last token of a continuation is only predicted."""
    return [[*item.context, *c[:-1]] for item in items for c in item.continuations]


@given(ITEMS)
def test_every_prefix_is_one_node(items: list[Item]) -> None:
    tree = token_tree(items)

    assert len(tree.tokens) == len({tuple(row[:n]) for row in inputs_of(items) for n in range(1, len(row) + 1)})


@given(ITEMS)
def test_what_a_token_sees_is_its_own_row(items: list[Item]) -> None:
    tree = token_tree(items)
    nodes = np.arange(len(tree.tokens))
    sees = tree.sees(nodes, nodes)

    for item, places in zip(items, tree.scored, strict=True):
        for continuation, predicted_at in zip(item.continuations, places, strict=True):
            row = [*item.context, *continuation[:-1]]
            for n, node in enumerate(predicted_at):
                seen = np.flatnonzero(sees[node])
                assert tree.tokens[seen].tolist() == row[: len(item.context) + n]
                assert tree.depth[seen].tolist() == list(range(len(item.context) + n))


@given(ITEMS, st.integers(1, 4))
def test_a_window_leaves_the_nearest(items: list[Item], window: int) -> None:
    tree = token_tree(items)
    nodes = np.arange(len(tree.tokens))

    near = tree.sees(nodes, nodes, window=window)

    for node in nodes:
        assert np.flatnonzero(near[node]).tolist() == np.flatnonzero(tree.sees(nodes, nodes)[node])[-window:].tolist()


@given(ITEMS, st.permutations(range(8)))
def test_the_order_of_the_items_does_not_matter(items: list[Item], order: list[int]) -> None:
    shuffled = [items[i] for i in order if i < len(items)]
    places = [i for i in order if i < len(items)]

    tree, other = token_tree(items), token_tree(shuffled)

    assert tree.tokens.tolist() == other.tokens.tolist()
    assert [tree.scored[i] for i in places] == other.scored


def test_the_example_of_the_module() -> None:
    tree = token_tree([Item(context=[1, 1], continuations=[[2, 3], [2, 4]]), Item(context=[1, 5, 5], continuations=[[6]])])

    assert tree.tokens.tolist() == [1, 1, 2, 5, 5]
    assert tree.end.tolist() == [5, 3, 3, 5, 5]
    assert tree.scored == [[[1, 2], [1, 2]], [[4]]]
