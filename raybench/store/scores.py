"""Score tables: what metrics made of the predictions, one file a (task, model), written again by every `raybench score`."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

from raybench.core.errors import RunError
from raybench.store.files import make_folder, staged, storage_errors
from raybench.store.home import FOLDER, Home
from raybench.store.parquet_files import DamagedFile, parsing, writer_options


class ScoreWriter:
    """Streams record batches into a table that appears, whole, at the end of the `with` block; after an error the old one stays."""

    def __init__(self, path: Path, schema: pa.Schema, home: Home = FOLDER) -> None:
        self._path, self._home = path, home
        self._schema = schema
        self._stack = ExitStack()
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> ScoreWriter:
        make_folder(self._path.parent)
        with ExitStack() as stack:
            temp = stack.enter_context(staged(self._path, exclusive=False))
            options = writer_options(self._schema, is_final=True)
            self._writer = stack.enter_context(pq.ParquetWriter(temp, self._schema, **options))
            self._stack = stack.pop_all()
        return self

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows of the schema, in the order they are to be read.

        Raises:
            StorageError: when the disk refuses.
        """
        assert self._writer is not None, "write is called inside the with block"
        with storage_errors(self._path):
            self._writer.write_batch(batch)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, trace)
        if kind is None:
            self._home.keep(self._path)


def read_scores(path: Path) -> pa.Table:
    """A whole score table.

    Raises:
        RunError: when it is missing or damaged.
    """
    remedy = "`raybench score RUN` writes it again from the predictions."
    try:
        with storage_errors(path), parsing(), pq.ParquetFile(path, page_checksum_verification=True, memory_map=False) as file:
            return file.read(use_threads=False)
    except FileNotFoundError as error:
        raise RunError(f"{path}: there is no such score table. {remedy}") from error
    except DamagedFile as error:
        raise RunError(f"{path}: the score table is damaged: {error}. {remedy}") from error
