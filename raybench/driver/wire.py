"""Shards and answers as bytes, for the way between driver and actor.

Ray pickles what it is given object by object in Python; a shard's tables have dozens of objects. Bytes it passes on as they are: the
tables go as Arrow messages inside one pickle, which saves the driver more than a millisecond a shard.
"""

from __future__ import annotations

import pickle

import pyarrow as pa

from raybench.core import schema
from raybench.core.pool import Measured, Work
from raybench.core.types import Kind

LARGE = 100_000
"""Bytes from which Ray (2.60: max_direct_call_object_size) keeps a result in its object store instead of sending it along with the reply."""
Packed = bytes | tuple[bytes, pa.Buffer]


def pack_work(work: Work) -> bytes:
    """A shard for an actor of the same version of raybench."""
    return pickle.dumps((work.shard, work.asking, _message(work.requests), _message(work.shots)), protocol=5)


def unpack_work(data: bytes) -> Work:
    """Inverse of `pack_work`."""
    shard, asking, requests, shots = pickle.loads(data)
    return Work(
        shard=shard, asking=asking, requests=_rows(pa.py_buffer(requests), schema.REQUESTS), shots=_rows(pa.py_buffer(shots), schema.SHOTS)
    )


def pack_answer(kind: Kind, batch: pa.RecordBatch, measured: Measured) -> Packed:
    """Content rows and what was measured; many rows in a buffer of their own, which Ray writes to its object store without another copy."""
    message = batch.serialize()
    if message.size < LARGE:
        return pickle.dumps((kind, message.to_pybytes(), measured), protocol=5)
    return pickle.dumps((kind, None, measured), protocol=5), message


def unpack_answer(data: Packed) -> tuple[pa.RecordBatch, Measured]:
    """Inverse of `pack_answer`; the rows of a buffer stay where they are, in the object store, until they are let go."""
    head, message = (data, None) if isinstance(data, bytes) else data
    kind, rows, measured = pickle.loads(head)
    return _rows(message or pa.py_buffer(rows), schema.predictions_schema(kind)), measured


def _message(batch: pa.RecordBatch) -> bytes:
    message: bytes = batch.serialize().to_pybytes()
    return message


def _rows(message: pa.Buffer, columns: pa.Schema) -> pa.RecordBatch:
    return pa.ipc.read_record_batch(message, columns)
