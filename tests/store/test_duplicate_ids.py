from __future__ import annotations

from collections import Counter

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from raybench.store.duplicate_ids import Duplicate, IdHashes


def duplicates(batches: list[list[str]]) -> list[Duplicate]:
    arrays = [pa.array(batch, pa.string()) for batch in batches]
    hashes = IdHashes()
    for array in arrays:
        hashes.add(array)
    return hashes.duplicates(lambda: iter(arrays))


def test_the_first_five_duplicates_are_named_with_their_first_rows() -> None:
    ids = [f"{i}" for i in range(8)]

    found = duplicates([ids, ["x"], ids, ids[:1] * 9])

    assert found[0] == Duplicate(id="0", rows=(0, 9, 17, 18, 19))
    assert [d.id for d in found] == ["0", "1", "2", "3", "4"]
    assert found[4].rows == (4, 13)


def test_no_ids_have_no_duplicates() -> None:
    assert duplicates([]) == []


@given(st.lists(st.lists(st.text("ab", max_size=3), max_size=6), max_size=6))
def test_an_id_is_reported_exactly_when_it_is_repeated(batches: list[list[str]]) -> None:
    rows = [name for batch in batches for name in batch]
    repeated = [name for name, count in Counter(rows).items() if count > 1]  # in the order of their first rows

    found = duplicates(batches)

    assert [d.id for d in found] == repeated[:5]
    assert all(rows[row] == d.id for d in found for row in d.rows)
