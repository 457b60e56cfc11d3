from __future__ import annotations

import gc

import pytest

from raybench.core.garbage import fewer_collections


def test_the_thresholds_are_put_back_also_after_an_error() -> None:
    before = gc.get_threshold()
    inside = []

    @fewer_collections()
    def fail() -> None:
        inside.append(gc.get_threshold())
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    assert inside[0][0] > 10 * before[0]
    assert gc.get_threshold() == before


def test_a_search_that_was_turned_off_stays_off() -> None:
    gc.disable()
    try:
        with fewer_collections():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()
