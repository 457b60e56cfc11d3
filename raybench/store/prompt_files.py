"""The rendered prompts of one (task, form): written once, streamed, and read by every model through a memory map.

    prompts/<set>/samples.arrow    schema.SAMPLES,  one record batch a shard
    prompts/<set>/requests.arrow   schema.REQUESTS, one record batch a shard
    prompts/<set>/shots.arrow      schema.SHOTS, the examples that requests refer to by row number
    prompts/<set>/meta.json        the caller's key and notes, a table of the shards, digests of the files

A set appears whole or not at all: it is written into a temporary folder, which is renamed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa

from raybench.core import schema
from raybench.core.errors import InternalError, RunError
from raybench.core.fingerprint import batch_digest, digest
from raybench.store.files import make_folder, publish_exclusive, sha256_of, storage_errors, sync_file, sync_folder, temp_path
from raybench.store.home import FOLDER, Home
from raybench.store.json_files import to_json
from raybench.store.prompt_digests import ShotDigests, body_digest
from raybench.store.prompt_set import FILES, META, SHARD_COLUMNS, PromptSet

# every model reads them shard by shard in the driver's loop: LZ4 is read nine times as fast as zstd and takes twice the space
_IPC = pa.ipc.IpcWriteOptions(compression="lz4")


class PromptWriter:
    """Writes a prompt set inside a `with` block that ends with `finish`; without it nothing stays behind."""

    def __init__(self, path: Path, home: Home = FOLDER) -> None:
        self._path, self._home = path, home
        self._temp = temp_path(path)
        self._bodies: list[str] = []
        self._shards: dict[str, list[Any]] = {name: [] for name in SHARD_COLUMNS}
        self._num_samples = 0
        self._files: dict[str, pa.ipc.RecordBatchFileWriter] = {}

    def __enter__(self) -> PromptWriter:
        make_folder(self._path.parent)
        with storage_errors(self._path):
            os.mkdir(self._temp)
            for name, columns in (("samples", schema.SAMPLES), ("requests", schema.REQUESTS)):
                self._files[name] = pa.ipc.new_file(self._file(name), columns, options=_IPC)
        return self

    def add(self, samples: pa.RecordBatch, requests: pa.RecordBatch, *, cost: int) -> None:
        """Append one shard.

        Args:
            samples: Its samples (schema.SAMPLES), following those of the shard before; no id comes twice in a set.
            requests: Their requests (schema.REQUESTS), in the order of the samples.
            cost: Characters that the engine reads: prompts, continuations and the examples of every request.

        Raises:
            InternalError: when a sample has no request, or a request no sample.
            StorageError: when the disk refuses.
        """
        asked = requests.column("sample_id").unique()
        if not asked.equals(samples.column("id").unique()):
            raise InternalError(
                f"{self._path}: shard {len(self._bodies)}: {samples.num_rows} samples, requests of {len(asked)}; not the same."
            )
        body = body_digest(requests)
        row = {
            "start": self._num_samples,
            "stop": self._num_samples + samples.num_rows,
            "num_requests": requests.num_rows,
            "cost": int(cost),
        }
        for name, value in row.items():
            self._shards[name].append(value)
        self._bodies.append(body)
        self._num_samples += samples.num_rows
        with storage_errors(self._path):
            self._files["samples"].write_batch(samples)
            self._files["requests"].write_batch(requests)

    def finish(self, shots: pa.RecordBatch, meta: Mapping[str, Any]) -> PromptSet:
        """Publish the set and open it.

        Args:
            shots: The examples (schema.SHOTS) that the requests' row numbers mean.
            meta: JSON values; `key` says what the prompts were made from, so that they can be used again.

        Raises:
            RunError: when another set lies there; one with the same key is kept, and opened.
            StorageError: when the disk refuses.
        """
        with storage_errors(self._path):
            self._close_files()
            with pa.ipc.new_file(self._file("shots"), schema.SHOTS, options=_IPC) as file:
                file.write_batch(shots)
        digests = ShotDigests(shots)
        references = _column(self._file("requests"), "shots")
        try:
            self._shards["digest"] = [digests.chain(body, rows) for body, rows in zip(self._bodies, references, strict=True)]
        except IndexError as error:
            raise InternalError(f"{self._path}: a request refers to an example that is not among the {shots.num_rows}: {error}.") from error
        document = {
            "schema": schema.VERSION,
            "files": {name: sha256_of(Path(self._file(name))) for name in FILES},
            "meta": dict(meta),
            "num_samples": self._num_samples,
            "shots_digest": batch_digest(shots),
            "shards": self._shards,
        }
        publish_exclusive(self._temp / META, to_json({**document, "digest": digest(document)}))
        self._publish(meta)
        return PromptSet.open(self._path)

    def _publish(self, meta: Mapping[str, Any]) -> None:
        with storage_errors(self._path):
            for name in FILES:
                sync_file(self._temp / f"{name}.arrow")
            sync_folder(self._temp)
            if self._path.exists():
                if PromptSet.open(self._path).meta.get("key") != meta.get("key"):
                    raise RunError(f"{self._path}: there are other prompts already. Delete the folder, or start afresh with --new.")
                return
            os.rename(self._temp, self._path)
            sync_folder(self._path.parent)
        for name in (*(f"{file}.arrow" for file in FILES), META):  # META last: it says that the others are there
            self._home.keep(self._path / name)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._close_files()
        except OSError:
            if error is None:  # otherwise this is the same refusal once more
                raise
        finally:
            shutil.rmtree(self._temp, ignore_errors=True)

    def _file(self, name: str) -> str:
        return str(self._temp / f"{name}.arrow")

    def _close_files(self) -> None:
        files, self._files = self._files, {}
        for file in files.values():
            file.close()


def _column(path: str, name: str) -> Iterator[pa.Array]:
    """One column of an IPC file, batch by batch, without decompressing the others."""
    with pa.memory_map(path) as source:
        index = pa.ipc.open_file(source).schema.get_field_index(name)
        reader = pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(included_fields=[index]))
        for k in range(reader.num_record_batches):
            yield reader.get_batch(k).column(0)
