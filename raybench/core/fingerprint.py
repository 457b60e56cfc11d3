"""Digests that name what can change a number, and seeds that depend on nothing but the sample."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

DIGEST_LENGTH = 32
"""Hexadecimal digits kept of a sha256: 128 bits, short enough for a file name."""


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text. NaN is refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(*values: Any) -> str:
    """Name of a tuple of JSON values."""
    return hashlib.sha256(canonical_json(values).encode("utf-8", "surrogatepass")).hexdigest()[:DIGEST_LENGTH]


def seed_for(run_seed: int, task: str, sample_id: str, repeat: int, purpose: str) -> int:
    """A seed of 63 bits that depends on the sample alone, never on the order of work."""
    text = canonical_json([run_seed, task, sample_id, repeat, purpose])
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big") >> 1


def batch_digest(batch: pa.RecordBatch) -> str:
    """Digest of the rows of `batch`: equal for equal values, whatever the offsets, slices or validity buffers."""
    hasher = hashlib.sha256()
    hasher.update(canonical_json([batch.num_rows, [[f.name, str(f.type)] for f in batch.schema]]).encode())
    for column in batch.columns:
        _update(hasher, column)
    return hasher.hexdigest()[:DIGEST_LENGTH]


def _update(hasher: hashlib._Hash, array: pa.Array) -> None:
    """Feed the values of one array: nulls, then lengths, then the values that are not null."""
    if array.null_count:
        hasher.update(b"n" + np.packbits(array.is_null().to_numpy(zero_copy_only=False)).tobytes())
    else:
        hasher.update(b"v")
    kind = array.type
    if pa.types.is_struct(kind):
        for index in range(kind.num_fields):
            # flatten-like access that keeps the parent's nulls
            _update(hasher, pc.struct_field(array, index))
        return
    if array.null_count:
        array = array.drop_null()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        hasher.update(_bytes(pc.list_value_length(array)))
        _update(hasher, array.flatten())
    elif pa.types.is_string(kind) or pa.types.is_binary(kind) or pa.types.is_large_string(kind):
        hasher.update(_bytes(pc.binary_length(array)))
        hasher.update(_text_bytes(array))
    elif pa.types.is_boolean(kind):
        hasher.update(np.packbits(array.to_numpy(zero_copy_only=False)).tobytes())
    elif pa.types.is_null(kind):
        hasher.update(str(len(array)).encode())
    else:
        hasher.update(_bytes(array))


def _bytes(array: pa.Array) -> bytes:
    return bytes(array.to_numpy(zero_copy_only=False).tobytes())


def _text_bytes(array: pa.Array) -> memoryview:
    """The bytes of all strings of an array without nulls, joined, without copying."""
    wide = pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type)
    _, offsets_buffer, data = array.buffers()
    if data is None or len(array) == 0:
        return memoryview(b"")
    offsets = np.frombuffer(offsets_buffer, dtype=np.int64 if wide else np.int32)
    start, stop = int(offsets[array.offset]), int(offsets[array.offset + len(array)])
    return memoryview(data)[start:stop]
