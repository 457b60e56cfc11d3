"""The mark of a finished shard: what was completed, in the footer of the very file that holds the rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import pyarrow as pa

from raybench.core.fingerprint import batch_digest, digest

_KEY_COLUMNS = ("sample_id", "request", "repeat")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardMark:
    """What one committed shard holds and how it came about."""

    fingerprint: str
    """Name of the shard: everything that can change its numbers."""
    start: int
    """First sample index."""
    stop: int
    """Last sample index + 1."""
    num_rows: int
    """Rows of the shard: one a (sample, request, repeat)."""
    ids_digest: str
    """`keys_digest` of the rows."""
    content_digest: str
    """`batch_digest` of the rows."""
    attempt: int = 1
    """Which try succeeded, from 1. Measured, not content."""
    batch_tokens: int | None = None
    """Effective token budget of a forward pass; None where the engine has none."""
    is_budget_halved: bool = False
    """Whether memory ran out and the budget was reduced: the rows then stand outside the promise of equal numbers."""
    numerics: Mapping[str, str] = field(default_factory=dict)
    """What decided the last digits: attention backend, number format, as the engine told them. Measured, not content."""
    isolated: tuple[str, ...] = ()
    """Samples that kill engines and got an error row each; outside the promise as well."""

    @classmethod
    def of(cls, batch: pa.RecordBatch, *, fingerprint: str, start: int, stop: int, **extra: Any) -> ShardMark:
        """The mark of `batch`, with counts and digests taken from its rows; `extra` are the fields that have a default."""
        return cls(
            fingerprint=fingerprint,
            start=start,
            stop=stop,
            num_rows=batch.num_rows,
            ids_digest=keys_digest(*(batch.column(name) for name in _KEY_COLUMNS)),
            content_digest=batch_digest(batch),
            **extra,
        )


_FIELDS = tuple(f.name for f in fields(ShardMark))


def keys_digest(sample_ids: pa.Array, requests: pa.Array, repeats: pa.Array) -> str:
    """Digest of the keys of rows in their order; `schema.keys_of` gives the expected ones."""
    return batch_digest(pa.record_batch([sample_ids, requests, repeats], names=list(_KEY_COLUMNS)))


def marks_to_footer(marks: Sequence[ShardMark], **columns: Sequence[int]) -> dict[str, str]:
    """Marks as footer metadata, in columns to keep it short, with a digest of the text: a flipped bit must not rename a shard.

    Args:
        marks: In file order.
        **columns: Further columns of the same length.
    """
    table = {name: [getattr(mark, name) for mark in marks] for name in _FIELDS} | {name: list(values) for name, values in columns.items()}
    text = json.dumps(table, separators=(",", ":"))
    return {"raybench.shards": text, "raybench.check": digest(text)}


def columns_from_footer(metadata: Mapping[bytes, bytes] | None) -> dict[str, list[Any]]:
    """Inverse of `marks_to_footer`: the columns.

    Raises:
        ValueError: when there are no marks or the digest does not fit; says which.
    """
    text = (metadata or {}).get(b"raybench.shards")
    if text is None:
        raise ValueError("its footer has no mark of raybench")
    if digest(text.decode()) != (metadata or {}).get(b"raybench.check", b"").decode():
        raise ValueError("the mark in its footer was changed")
    table: dict[str, list[Any]] = json.loads(text)
    return table


def mark_at(table: Mapping[str, Sequence[Any]], index: int) -> ShardMark:
    """One row of the columns."""
    values = {name: table[name][index] for name in _FIELDS if name in table}  # marks of older runs have fewer fields
    return ShardMark(**values | {"isolated": tuple(values["isolated"])})
