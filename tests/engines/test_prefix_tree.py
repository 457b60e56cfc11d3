from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from raybench.engines.prefix_tree import MIN_SHARED, grow

# prompts of few different runs, so that they begin alike at several depths
RUNS = st.lists(st.sampled_from([1, 2, 3]).map(lambda t: [t] * (MIN_SHARED // 2 + 3)), max_size=6).map(
    lambda runs: [t for r in runs for t in r]
)
PROMPTS = st.lists(st.tuples(RUNS, st.lists(st.integers(0, 4), min_size=1, max_size=4)).map(lambda p: p[0] + p[1]), max_size=12)


@given(PROMPTS)
def test_every_prompt_is_the_path_to_its_leaf(prompts: list[list[int]]) -> None:
    leaves, order = grow(prompts)

    assert [[t for node in leaf.path for t in node.tokens] for leaf in leaves] == prompts
    assert sorted(order) == list(range(len(prompts)))
    for leaf in leaves:
        assert all(node.start == (node.parent.stop if node.parent else 0) and node.tokens for node in leaf.path)


@given(PROMPTS)
def test_a_node_counts_the_prompts_below_it_and_equal_prompts_share_a_leaf(prompts: list[list[int]]) -> None:
    leaves, _ = grow(prompts)

    for leaf in leaves:
        for node in leaf.path:
            assert node.num_prompts == sum(node in other.path for other in leaves)
    assert len({id(leaf) for leaf in leaves}) == len({tuple(p) for p in prompts})


@given(PROMPTS)
def test_no_long_beginning_is_computed_twice(prompts: list[list[int]]) -> None:
    leaves, _ = grow(prompts)

    for a in leaves:
        for b in leaves:
            if a is not b:
                first = next(i for i, (x, y) in enumerate(zip([*a.path, None], [*b.path, None], strict=False)) if x is not y)
                left, right = a.path[first], b.path[first]
                # the last token of a prompt is its own
                n = min(len(left.tokens), len(right.tokens), MIN_SHARED)
                assert len(left.tokens) <= MIN_SHARED or len(right.tokens) <= MIN_SHARED or left.tokens[:n] != right.tokens[:n]


def test_examples_and_instruction_are_nodes() -> None:
    instruction, shots = list(range(100, 140)), list(range(200, 260))
    leaves, _ = grow([[*instruction, *shots, 1], [*instruction, *shots, 2], [*instruction, 3]])

    assert [(node.start, node.stop, node.num_prompts) for node in leaves[0].path] == [(0, 40, 3), (40, 100, 2), (100, 101, 1)]
    assert [(node.start, node.stop) for node in leaves[2].path] == [(0, 40), (40, 41)]
