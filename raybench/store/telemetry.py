"""What was measured while shards ran. Never hashed, never needed for a number: losing the last segment loses no result."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from raybench.core.schema import TELEMETRY
from raybench.store.files import make_folder, storage_errors, temp_path
from raybench.store.home import FOLDER, Home
from raybench.store.parquet_files import DamagedFile, parsing
from raybench.store.segments import next_segment, segments

SEGMENT_ROWS = 4096
"""Rows in memory before a segment is written: one a shard, so this many shards are at stake."""


class TelemetryWriter:
    """Gathers rows and writes them as Parquet segments, when there are enough and at the close."""

    def __init__(self, folder: Path, *, segment_rows: int = SEGMENT_ROWS, home: Home = FOLDER) -> None:
        self._folder, self._home = folder, home
        self._segment_rows = segment_rows
        self._rows: list[Mapping[str, Any]] = []

    def __enter__(self) -> TelemetryWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.flush()

    def append(self, row: Mapping[str, Any]) -> None:
        """Add one row of `schema.TELEMETRY`; columns that are left out are null.

        Raises:
            StorageError: when a full segment cannot be written; the rows are kept for the next attempt.
        """
        self._rows.append(row)
        if len(self._rows) >= self._segment_rows:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting. Not synced to the disk: telemetry does not hold up a commit."""
        if not self._rows:
            return
        make_folder(self._folder)
        table = pa.Table.from_pylist(self._rows, schema=TELEMETRY)
        path = next_segment(self._folder, ".parquet")
        temp = temp_path(path)
        try:
            with storage_errors(path):
                pq.write_table(table, temp, compression="zstd", write_page_checksum=True)
                temp.rename(path)  # one writer holds the lock, so nobody took the name
        finally:
            temp.unlink(missing_ok=True)
        self._home.keep(path)
        self._rows = []


def read_telemetry(folder: Path) -> pa.Table:
    """All rows in the order they were written. A segment that cannot be read is left out; `verify` names it."""
    tables = [TELEMETRY.empty_table()]
    for path in segments(folder, ".parquet"):
        try:
            tables.append(read_segment(path))
        except DamagedFile:
            continue
    return pa.concat_tables(tables)


def read_segment(path: Path) -> pa.Table:
    """The rows of one segment.

    Raises:
        DamagedFile: when it cannot be read or has other columns.
    """
    with storage_errors(path), parsing(), pq.ParquetFile(path, page_checksum_verification=True, memory_map=False) as file:
        table = file.read(use_threads=False)
    if not table.schema.equals(TELEMETRY):
        raise DamagedFile("its columns are not those of telemetry")
    return table.replace_schema_metadata(TELEMETRY.metadata)
