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
    hasher = hashlib.sha256(canonical_json([batch.num_rows, [[f.name, str(f.type)] for f in batch.schema]]).encode())
    for column in batch.columns:
        _update(hasher, column)
    return hasher.hexdigest()[:DIGEST_LENGTH]


def _update(hasher: hashlib._Hash, array: pa.Array) -> None:
    """Feed the values of one array: nulls, then lengths, then the values that are not null."""
    kind, has_nulls = array.type, array.null_count > 0
    if has_nulls:
        hasher.update(b"n" + np.packbits(array.is_null().to_numpy(zero_copy_only=False)).tobytes())
    else:
        hasher.update(b"v")
    number = kind.id
    if number == pa.lib.Type_STRUCT:
        for index in range(kind.num_fields):
            # with the parent's nulls, which `field` leaves out
            _update(hasher, pc.struct_field(array, index) if has_nulls else array.field(index))
        return
    if has_nulls:
        array = array.drop_null()
    if number in _LISTS:
        hasher.update(np.diff(array.offsets.to_numpy()).tobytes())
        _update(hasher, array.flatten())
    elif number in _TEXTS:
        lengths, text = _lengths_and_bytes(array)
        hasher.update(lengths)
        hasher.update(text)
    elif number == pa.lib.Type_BOOL:
        hasher.update(np.packbits(array.to_numpy(zero_copy_only=False)).tobytes())
    elif number == pa.lib.Type_NA:
        hasher.update(str(len(array)).encode())
    else:
        hasher.update(array.to_numpy(zero_copy_only=False).tobytes())


_LISTS = frozenset({pa.lib.Type_LIST, pa.lib.Type_LARGE_LIST})
_TEXTS = {
    pa.lib.Type_STRING: np.int32,
    pa.lib.Type_BINARY: np.int32,
    pa.lib.Type_LARGE_STRING: np.int64,
    pa.lib.Type_LARGE_BINARY: np.int64,
}
"""Type to that of its offsets; numbers of types are compared, since Arrow's `is_string` and the like take a microsecond each."""


def _lengths_and_bytes(array: pa.Array) -> tuple[bytes, memoryview]:
    """The lengths of all strings of an array without nulls, and their bytes, joined, without copying."""
    _, offsets_buffer, data = array.buffers()
    if len(array) == 0:
        return b"", memoryview(b"")
    offsets = np.frombuffer(offsets_buffer, dtype=_TEXTS[array.type.id])[array.offset : array.offset + len(array) + 1]
    text = memoryview(b"") if data is None else memoryview(data)[int(offsets[0]) : int(offsets[-1])]
    return np.diff(offsets).tobytes(), text
