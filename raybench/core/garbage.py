"""Python's search for cyclic garbage, kept out of phases that make many objects and hardly any cycles."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_THRESHOLDS = (100_000, 50, 100)
"""Objects between two searches, and how often the older ones are searched too; Python's own are 700, 10, 10."""


@contextmanager
def fewer_collections() -> Iterator[None]:
    """Search less often inside the block or the decorated function.

    A search walks through every object that lives: while torch and transformers are imported that is a fifth of the time, while samples are
    scored a third. Objects without cycles are freed at once as always.
    """
    before = gc.get_threshold()
    gc.set_threshold(*_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
