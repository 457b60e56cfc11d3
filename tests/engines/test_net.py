"""Batches: every row once, within the budget, and back in its place whatever side the padding stands on."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raybench.engines.net import Net, TokenRow, batches

LENGTHS = st.lists(st.integers(0, 40), max_size=30)


@given(LENGTHS, st.integers(1, 100), st.none() | st.integers(1, 5))
def test_every_row_is_in_one_batch_within_the_budget(lengths: list[int], budget: int, most_rows: int | None) -> None:
    found = list(batches(lengths, budget=budget, most_rows=most_rows))

    assert sorted(i for members in found for i in members) == list(range(len(lengths)))
    for members in found:
        longest = max(lengths[i] for i in members)
        assert len(members) == 1 or len(members) * longest <= budget
        assert most_rows is None or len(members) <= most_rows
        assert all(lengths[i] * 4 >= longest * 3 for i in members)


@pytest.mark.parametrize("pads_left", [False, True])
def test_rows_get_their_own_outputs_back(pads_left: bool) -> None:
    import torch

    def forward(inputs: dict[str, Any]) -> Any:
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        assert torch.equal(ids == 9, mask == 0)
        assert torch.equal(inputs["token_type_ids"] == 3, mask == 0)
        return torch.stack([ids, ids * 2], dim=-1).float()

    net = Net(forward, device="cpu", batch_tokens=12, pad_id=9, pad_type=3, pads_left=pads_left)
    rows = [TokenRow(ids=list(range(1, 1 + n)), types=[0] * n) for n in (3, 7, 1, 5)]

    tokens = net.per_token(rows)
    sums = net.per_row(rows, lambda output, mask: (output[..., 0] * mask).sum(1))
    ends = [[0, len(r.ids) - 1] for r in rows]
    seconds = {at: row[1].item() for where, found in net.at(rows, ends, 2) for at, row in zip(where, found, strict=True)}

    for i, row in enumerate(rows):
        assert tokens[i].tolist() == [[t, 2 * t] for t in row.ids]
        assert sums[i].item() == sum(row.ids)
        assert seconds[i, 0] == 2 * row.ids[0]
        assert seconds[i, len(row.ids) - 1] == 2 * row.ids[-1]
