from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from raybench.engines.packing import MIN_SHARED, Item, groups, layout, packs

TOKENS = st.lists(st.integers(0, 1), min_size=1, max_size=6)
CONTEXTS = st.builds(lambda a, b, c: [7] * a + [b] * 40 + c, st.sampled_from([0, 10, 40, 80]), st.integers(0, 1), TOKENS)
ITEMS = st.lists(st.builds(lambda c, o: Item(context=c, continuations=o), CONTEXTS, st.lists(TOKENS, min_size=1, max_size=3)), max_size=12)


@given(ITEMS)
def test_groups_hold_every_item_once_and_share_what_they_say(items: list[Item]) -> None:
    found = groups(items)

    assert sorted(i for g in found for i in g.members) == list(range(len(items)))
    for group in found:
        starts = {tuple(items[i].context[: group.num_shared]) for i in group.members}
        assert len(starts) == 1
        assert all(len(items[i].context) > group.num_shared for i in group.members)
        assert group.num_shared == 0 or (group.num_shared >= MIN_SHARED and len(group.members) > 1)


@given(ITEMS, st.integers(1, 200))
def test_packs_keep_the_order_and_the_budget(items: list[Item], num_tokens: int) -> None:
    for group in groups(items):
        found = packs(items, group, num_tokens=num_tokens)

        assert [i for pack in found for i in pack] == list(group.members)
        for pack in found:
            row = layout([items[i] for i in pack], num_shared=group.num_shared)
            assert len(row.tokens) == len(row.positions) == len(row.item) == len(row.branch)
            assert len(row.tokens) <= num_tokens or len(pack) == 1


def test_a_common_start_is_kept_apart_from_a_longer_one_that_saves_more() -> None:
    description, shots = [1] * 40, [2] * 400
    few = [Item(context=[*description, *shots, n, n], continuations=[[1]]) for n in (3, 4, 5)]
    none = Item(context=[*description, 9, 9], continuations=[[1]])

    shared = {g.members: g.num_shared for g in groups([none, *few])}

    # 2 x 440 tokens saved among the three, against 3 x 40 among all four
    assert shared == {(1, 2, 3): 440, (0,): 0}


def test_equal_contexts_keep_their_last_token_out_of_the_prefix() -> None:
    items = [Item(context=[1] * 50, continuations=[[2]])] * 3

    assert groups(items)[0].num_shared == 49


def test_a_pack_says_where_each_token_is_predicted() -> None:
    row = layout(
        [Item(context=[1, 2, 3], continuations=[[4, 5], [6]]), Item(context=[1, 2, 7, 8], continuations=[[9, 9, 9]])], num_shared=2
    )

    assert row.tokens == [3, 4, 7, 8, 9, 9]
    assert row.positions == [2, 3, 2, 3, 4, 5]
    assert row.item == [0, 0, 1, 1, 1, 1]
    assert row.branch == [0, 1, 0, 0, 1, 1]
    assert row.scored == [[[0, 1], [0]], [[3, 4, 5]]]
