"""Samples as rows: what goes in comes out, and what JSON or UTF-8 does not have is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raybench.core.sample_rows import samples_from_batch, samples_to_batch
from raybench.core.schema import SAMPLES
from raybench.core.types import Sample
from tests.strategies import samples


@given(st.lists(samples(), max_size=5))
def test_samples_come_back_from_their_rows_as_they_were(drawn: list[Sample]) -> None:
    batch = samples_to_batch(drawn)

    assert batch.schema.equals(SAMPLES)
    assert repr(samples_from_batch(batch)) == repr(drawn)


@pytest.mark.parametrize(
    ("value", "error"),
    [(float("nan"), ValueError), (float("inf"), ValueError), (object(), TypeError), (b"raw", TypeError)],
    ids=["nan", "inf", "object", "bytes"],
)
def test_a_field_that_json_does_not_have_is_refused(value: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        samples_to_batch([Sample(id="s", fields={"x": value})])


def test_a_sample_with_half_of_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(UnicodeEncodeError):
        samples_to_batch([Sample(id="s", fields={}, targets=("\ud800",))])
