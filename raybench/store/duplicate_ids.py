"""Sample ids that occur twice, found in a million rows without holding a million strings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

SHOWN = 5
"""Duplicated ids, and rows of each, that are told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate:
    """An id that occurs more than once."""

    id: str
    rows: tuple[int, ...]
    """The first rows that have it, from 0."""


class IdHashes:
    """64-bit hashes of ids in row order: 8 bytes a row."""

    def __init__(self) -> None:
        self._parts: list[NDArray[np.int64]] = []

    def add(self, ids: pa.Array) -> None:
        """Take in the ids of the next rows."""
        # Python's own hash of a string (SipHash, salted in every process): nobody can make ids that collide
        self._parts.append(np.fromiter(map(hash, ids.to_pylist()), np.int64, len(ids)))

    def duplicates(self, read: Callable[[], Iterator[pa.Array]]) -> list[Duplicate]:
        """The first ids that occur more than once, in the order of their first rows.

        Args:
            read: Gives all ids again, batch by batch; called only when two hashes are equal.
        """
        hashes = np.concatenate(self._parts) if self._parts else np.empty(0, np.int64)
        ordered = np.sort(hashes)
        repeated = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
        if not len(repeated):
            return []
        # Enough candidates, the earliest, for the case that a few of them are mere collisions.
        rows = np.flatnonzero(np.isin(hashes, repeated))
        _, first = np.unique(hashes[rows], return_index=True)
        candidates = hashes[rows[np.sort(first)[: 20 * SHOWN]]]
        found = _rows_by_id(read(), hashes, candidates)
        return [Duplicate(id=name, rows=tuple(rows)) for name, rows in found.items() if len(rows) > 1][:SHOWN]


def _rows_by_id(batches: Iterator[pa.Array], hashes: NDArray[np.int64], candidates: NDArray[np.int64]) -> dict[str, list[int]]:
    """The first rows of every id whose hash is among the candidates."""
    found: dict[str, list[int]] = {}
    start = 0
    for ids in batches:
        for index in np.flatnonzero(np.isin(hashes[start : start + len(ids)], candidates)):
            rows = found.setdefault(ids[int(index)].as_py(), [])
            if len(rows) < SHOWN:
                rows.append(start + int(index))
        start += len(ids)
    return found
