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
from raybench.core.fingerprint import batch_digest, digest
from raybench.store.prompt_digests import body_digest, check_digest

META = "meta.json"
SHARD_COLUMNS = ("start", "stop", "num_requests", "cost", "digest", "samples_check", "requests_check")


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
    _checks: tuple[tuple[str, str], ...]
    _samples: Any
    _requests: Any

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
            samples = _open(path / "samples.arrow", schema.SAMPLES, len(table["start"]))
            requests = _open(path / "requests.arrow", schema.REQUESTS, len(table["start"]))
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
            raise _damaged(path, str(error)) from error
        numbers = {name: np.array(table[name], np.int64) for name in ("start", "stop", "num_requests", "cost")}
        return cls(
            path=path,
            meta=document["meta"],
            num_samples=document["num_samples"],
            shots_digest=document["shots_digest"],
            shards=PromptShards(**numbers, digest=tuple(table["digest"])),
            _checks=tuple(zip(table["samples_check"], table["requests_check"], strict=True)),
            _samples=samples,
            _requests=requests,
        )

    def samples(self, shard: int) -> pa.RecordBatch:
        """The samples of a shard (schema.SAMPLES).

        Raises:
            RunError: when they are not those that were written.
        """
        batch = self._batch(self._samples, shard)
        return self._checked(batch, shard, batch_digest(batch), self._checks[shard][0])

    def requests(self, shard: int) -> pa.RecordBatch:
        """The requests of a shard (schema.REQUESTS), without repeats.

        Raises:
            RunError: when they are not those that were written.
        """
        batch = self._batch(self._requests, shard)
        return self._checked(batch, shard, check_digest(body_digest(batch), batch), self._checks[shard][1])

    def shots(self) -> pa.RecordBatch:
        """All examples (schema.SHOTS).

        Raises:
            RunError: when they are not those that were written.
        """
        try:
            batch = _open(self.path / "shots.arrow", schema.SHOTS, 1).get_batch(0)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise _damaged(self.path, f"shots.arrow: {error}") from error
        return self._checked(batch, None, batch_digest(batch), self.shots_digest)

    def _batch(self, reader: Any, shard: int) -> pa.RecordBatch:
        if not 0 <= shard < len(self.shards):
            raise IndexError(f"shard {shard} of {len(self.shards)}")
        try:
            return reader.get_batch(shard)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise _damaged(self.path, f"shard {shard}: {error}") from error

    def _checked(self, batch: pa.RecordBatch, shard: int | None, found: str, written: str) -> pa.RecordBatch:
        if found != written:
            place = "the examples have" if shard is None else f"shard {shard} has"
            raise _damaged(self.path, f"{place} the digest {found}, written was {written}")
        return batch


def _open(path: Path, columns: pa.Schema, num_batches: int) -> Any:
    reader = pa.ipc.open_file(pa.memory_map(str(path)))
    if not reader.schema.equals(columns) or reader.num_record_batches != num_batches:
        raise ValueError(
            f"{path.name} has {reader.num_record_batches} record batches, expected {num_batches} with the columns of this version"
        )
    return reader


def _damaged(path: Path, found: str) -> RunError:
    return RunError(
        f"{path}: the stored prompts cannot be used: {found}. Delete this folder and run the same command again: they are rendered anew."
    )
