"""Parquet as the store writes it: compressed, page checksums, an encoding that fits each column; read from a footer or a whole file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from raybench.store.files import storage_errors

_TAIL_BYTES = 8192
"""Read at once from the end of a file: the footer of a single shard fits."""
_MAGIC = b"PAR1"


class DamagedFile(Exception):
    """A file is not what was written; the text says what is wrong with it. Never leaves the store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Footer:
    """What a footer says."""

    metadata: Any
    """pyarrow.parquet.FileMetaData."""
    num_bytes: int
    """Size of the file."""


@lru_cache(maxsize=64)
def writer_options(schema: pa.Schema, *, is_final: bool) -> dict[str, Any]:
    """Options of `pq.ParquetWriter` for tables of predictions and the like.

    Args:
        schema: Of the table.
        is_final: True: small, for what stays (zstd, dictionaries). False: quick, for the files of single shards, which compaction
            replaces: LZ4 without dictionaries takes a third of the time for half as many bytes more.

    Floating-point numbers have random low bits: splitting their bytes into streams lets the high ones compress. Ids share prefixes:
    delta encoding. Texts are nearly all different: a dictionary would hold each of them. Everything else repeats itself: a dictionary.
    Statistics are left out, nobody filters by them, and every footer is read at a resume. Names inside lists stay `item`: Parquet's
    own `element` would change the type's name and so the digest of the content.
    """
    encodings: dict[str, str] = {}
    dictionaries: list[str] = []
    for path, kind in _leaves(schema):
        if pa.types.is_floating(kind):
            encodings[path] = "BYTE_STREAM_SPLIT"
        elif path == "sample_id":
            encodings[path] = "DELTA_BYTE_ARRAY"
        elif path == "output.text":
            encodings[path] = "DELTA_LENGTH_BYTE_ARRAY"
        elif not pa.types.is_boolean(kind):
            dictionaries.append(path)
    return {
        "compression": "zstd" if is_final else "lz4",
        "compression_level": 3 if is_final else None,
        "write_page_checksum": True,
        "write_statistics": False,
        "use_compliant_nested_type": False,
        "use_dictionary": dictionaries if is_final else False,
        "column_encoding": encodings or None,
    }


def _leaves(fields: Any, prefix: str = "") -> Iterator[tuple[str, pa.DataType]]:
    """Column paths as Parquet names them, with their types."""
    for field in fields:
        path, kind = prefix + field.name, field.type
        while pa.types.is_list(kind):
            path, kind = f"{path}.list.{kind.value_field.name}", kind.value_type
        if pa.types.is_struct(kind):
            yield from _leaves(kind, f"{path}.")
        else:
            yield path, kind


def encode(batch: pa.RecordBatch, metadata: Mapping[str, str]) -> pa.Buffer:
    """One record batch as a quickly written Parquet file in memory, one row group, with `metadata` in the footer."""
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, batch.schema, **writer_options(batch.schema, is_final=False)) as writer:
        writer.write_batch(batch, row_group_size=max(1, batch.num_rows))
        writer.add_key_value_metadata(dict(metadata))
    return sink.getvalue()


def read_footer(path: Path | str) -> Footer:
    """The footer of a file, without its pages: two small reads at most.

    Raises:
        FileNotFoundError: when it is gone.
        DamagedFile: when it is no whole Parquet file.
        StorageError: when the device fails.
    """
    with storage_errors(Path(path)):
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            num_bytes = os.fstat(handle).st_size
            tail = os.pread(handle, _TAIL_BYTES, max(0, num_bytes - _TAIL_BYTES))
            length = int.from_bytes(tail[-8:-4], "little") + 8
            if len(tail) < length <= num_bytes:
                tail = os.pread(handle, length, num_bytes - length)
        finally:
            os.close(handle)
    if len(tail) < 12 or tail[-4:] != _MAGIC or length > num_bytes - 4:
        raise DamagedFile(f"it is cut off or no Parquet file ({num_bytes:,} bytes)")
    with parsing():
        # the parser wants a file: magic bytes and a footer make the smallest one
        return Footer(metadata=pq.read_metadata(pa.BufferReader(_MAGIC + tail[-length:])), num_bytes=num_bytes)


def read_bytes(path: Path) -> bytes:
    """A whole file; device errors as StorageError, a missing file as FileNotFoundError."""
    with storage_errors(path):
        return path.read_bytes()


@contextmanager
def parsing() -> Iterator[None]:
    """Whatever pyarrow raises about damaged bytes becomes DamagedFile. An OSError with a number is the device, not the content."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            raise
        raise DamagedFile(f"it cannot be decoded: {_first_line(error)}") from error
    except (pa.ArrowException, ValueError, KeyError, IndexError, TypeError, OverflowError, MemoryError) as error:
        raise DamagedFile(f"it cannot be decoded: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
