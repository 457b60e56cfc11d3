"""Shards and answers as bytes, for the way between driver and actor.

Ray pickles what it is given object by object in Python; a shard's tables have dozens of objects. Bytes it passes on as they are: the
tables go as Arrow messages inside one pickle, which saves the driver more than a millisecond a shard.
"""

from __future__ import annotations

import pickle

import pyarrow as pa

from raybench.core import schema
from raybench.core.protocols import Measured, Work
from raybench.core.types import Kind


def pack_work(work: Work) -> bytes:
    """A shard for an actor of the same version of raybench."""
    return pickle.dumps((work.shard, work.asking, _message(work.requests), _message(work.shots)), protocol=5)


def unpack_work(data: bytes) -> Work:
    """Inverse of `pack_work`."""
    shard, asking, requests, shots = pickle.loads(data)
    return Work(shard=shard, asking=asking, requests=_rows(requests, schema.REQUESTS), shots=_rows(shots, schema.SHOTS))


def pack_answer(kind: Kind, batch: pa.RecordBatch, measured: Measured) -> bytes:
    """Content rows and what was measured."""
    return pickle.dumps((kind, _message(batch), measured), protocol=5)


def unpack_answer(data: bytes) -> tuple[pa.RecordBatch, Measured]:
    """Inverse of `pack_answer`."""
    kind, rows, measured = pickle.loads(data)
    return _rows(rows, schema.predictions_schema(kind)), measured


def _message(batch: pa.RecordBatch) -> bytes:
    message: bytes = batch.serialize().to_pybytes()
    return message


def _rows(message: bytes, columns: pa.Schema) -> pa.RecordBatch:
    return pa.ipc.read_record_batch(pa.py_buffer(message), columns)
