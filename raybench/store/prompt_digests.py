"""Digests of rendered requests: what a shard asks, examples included, whatever row numbers the examples have."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raybench.core.fingerprint import batch_digest, canonical_json, digest

_BYTES = 16


def body_digest(requests: pa.RecordBatch) -> str:
    """Digest of requests without their references to examples."""
    return batch_digest(requests.drop_columns(["shots"]))


class ShotDigests:
    """One digest an example, 16 bytes each, so that a shard's digest can name the examples it uses by their text.

    Row numbers would not do: they depend on which other samples were drawn for, and so on `limit`.
    """

    def __init__(self, shots: pa.RecordBatch) -> None:
        texts = zip(shots.column("question").to_pylist(), shots.column("answer").to_pylist(), strict=True)
        joined = b"".join(hashlib.sha256(canonical_json(text).encode()).digest()[:_BYTES] for text in texts)
        self._digests = np.frombuffer(joined, dtype=f"V{_BYTES}")

    def chain(self, body: str, references: pa.Array) -> str:
        """The digest of a shard: its requests and the texts of their examples, in order.

        Args:
            body: `body_digest` of the requests.
            references: Their `shots` column: lists of row numbers.

        Raises:
            IndexError: when a row number is not that of an example.
        """
        rows = references.flatten().to_numpy(zero_copy_only=False)
        if len(rows) and int(rows.min()) < 0:
            raise IndexError(f"example {int(rows.min())}: row numbers count from 0")
        texts = hashlib.sha256(self._digests[rows].tobytes()).hexdigest()
        return digest(body, pc.list_value_length(references).to_pylist() if len(rows) else [], texts)
