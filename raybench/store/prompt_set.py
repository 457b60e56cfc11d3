"""Reads a prompt set through a memory map: a million prompts cost no memory until they are sliced."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raybench.core import schema
from raybench.core.errors import RunError
from raybench.core.fingerprint import digest
from raybench.store.files import sha256_of

META = "meta.json"
FILES = ("samples", "requests", "shots")
"""What a set consists of, each an Arrow file."""
SHARD_COLUMNS = ("start", "stop", "num_requests", "cost", "digest")


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptShards:
    """The shards of a prompt set, in columns."""

    start: NDArray[np.int64]
    """First sample of each."""
    stop: NDArray[np.int64]
    """Last sample + 1."""
    num_requests: NDArray[np.int64]
    """Requests, without repeats."""
    cost: NDArray[np.int64]
    """Characters that the engine reads."""
    digest: tuple[str, ...]
    """Of the requests and the examples they show; independent of other shards."""

    def __len__(self) -> int:
        return len(self.digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSet:
    """Samples, requests and examples of one (task, form)."""

    path: Path
    meta: Mapping[str, Any]
    """What the writer was given."""
    num_samples: int
    shots_digest: str
    """Of all examples."""
    shards: PromptShards
    _files: dict[str, _File]

    @classmethod
    def open(cls, path: Path) -> PromptSet:
        """Open a finished set.

        Raises:
            RunError: when it is missing, damaged, or of a newer raybench.
        """
        try:
            document = json.loads((path / META).read_bytes())
            if document["schema"] > schema.VERSION:
                raise RunError(f"{path}: prompts of schema version {document['schema']}, this raybench reads up to {schema.VERSION}.")
            if digest({key: value for key, value in document.items() if key != "digest"}) != document["digest"]:
                raise ValueError(f"{META} is not as it was written")
            table = document["shards"]
            number = len(table["start"])
            files = {
                "samples": _File(path / "samples.arrow", schema.SAMPLES, number, document["files"]["samples"]),
                "requests": _File(path / "requests.arrow", schema.REQUESTS, number, document["files"]["requests"]),
                "shots": _File(path / "shots.arrow", schema.SHOTS, 1, document["files"]["shots"]),
            }
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
            raise _damaged(path, str(error)) from error
        numbers = {name: np.array(table[name], np.int64) for name in ("start", "stop", "num_requests", "cost")}
        return cls(
            path=path,
            meta=document["meta"],
            num_samples=document["num_samples"],
            shots_digest=document["shots_digest"],
            shards=PromptShards(**numbers, digest=tuple(table["digest"])),
            _files=files,
        )

    def samples(self, shard: int) -> pa.RecordBatch:
        """The samples of a shard (schema.SAMPLES).

        Raises:
            RunError: when they are not those that were written.
        """
        return self._batch("samples", shard)

    def requests(self, shard: int) -> pa.RecordBatch:
        """The requests of a shard (schema.REQUESTS), without repeats.

        Raises:
            RunError: when they are not those that were written.
        """
        return self._batch("requests", shard)

    def shots(self) -> pa.RecordBatch:
        """All examples (schema.SHOTS).

        Raises:
            RunError: when they are not those that were written.
        """
        return self._batch("shots", 0)

    def _batch(self, name: str, index: int) -> pa.RecordBatch:
        if name != "shots" and not 0 <= index < len(self.shards):
            raise IndexError(f"shard {index} of {len(self.shards)}")
        try:
            return self._files[name].batch(index)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise _damaged(self.path, str(error)) from error


class _File:
    """One Arrow file of a set, mapped into memory; its bytes are checked once, when they are first asked for."""

    def __init__(self, path: Path, columns: pa.Schema, num_batches: int, digest: str) -> None:
        self._path = path
        self._digest = digest
        self._is_checked = False
        # a shard is too small to be worth a thread for each column
        self._reader = pa.ipc.open_file(pa.memory_map(str(path)), options=pa.ipc.IpcReadOptions(use_threads=False))
        if not self._reader.schema.equals(columns) or self._reader.num_record_batches != num_batches:
            raise ValueError(
                f"{path.name} has {self._reader.num_record_batches} record batches, expected {num_batches} with the columns of this version"
            )

    def batch(self, index: int) -> pa.RecordBatch:
        """One record batch.

        Raises:
            ValueError: when the file is not as it was written.
        """
        if not self._is_checked:
            if (found := sha256_of(self._path)) != self._digest:
                raise ValueError(f"{self._path.name} has the digest {found}, written was {self._digest}")
            self._is_checked = True
        return self._reader.get_batch(index)


def _damaged(path: Path, found: str) -> RunError:
    return RunError(
        f"{path}: the stored prompts cannot be used: {found}. Delete this folder and run the same command again: they are rendered anew."
    )
