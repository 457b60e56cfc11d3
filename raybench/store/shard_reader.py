"""Reads committed shards, from files of their own or from a compacted one, and checks every row against the digest it was committed with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

from raybench.core.errors import IncompleteError, InternalError
from raybench.core.fingerprint import batch_digest
from raybench.core.schema import predictions_schema
from raybench.core.types import Kind
from raybench.store.files import storage_errors
from raybench.store.parquet_files import DamagedFile, Footer, parsing, read_bytes, read_footer
from raybench.store.shard_mark import ShardMark, columns_from_footer, mark_at


class DamagedShard(IncompleteError):
    """A committed shard cannot be read any more: it must be discarded and run again."""

    def __init__(self, message: str, *, fingerprint: str = "") -> None:
        super().__init__(message)
        self.fingerprint = fingerprint
        """Of the shard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardInfo:
    """Where a committed shard lies and what its mark says."""

    mark: ShardMark
    path: Path
    """The file that holds its rows."""
    num_bytes: int | None
    """Size of its own file; None inside a compacted one."""
    row_group: int = 0
    """Row group inside the file."""
    offset: int = 0
    """First row inside the row group."""

    @property
    def is_compacted(self) -> bool:
        """Whether it shares its file with other shards."""
        return self.num_bytes is None


def kind_of(schema: pa.Schema) -> Kind:
    """The request kind whose predictions `schema` describes.

    Raises:
        ValueError: when it is not a schema of predictions.
    """
    name = (schema.metadata or {}).get(b"raybench.kind", b"").decode()
    try:
        expected = _expected_schema(Kind(name))
    except (ValueError, InternalError) as error:
        raise ValueError(f"its columns are not predictions of any kind ('{name}')") from error
    if not schema.equals(expected):
        raise ValueError(f"its columns are not those of '{name}' predictions")
    return Kind(name)


@cache
def _expected_schema(kind: Kind) -> pa.Schema:
    return predictions_schema(kind)


class SchemaCheck:
    """Whether footers describe predictions. Files of one run share the same few schemas: each is parsed once."""

    def __init__(self) -> None:
        self._known: set[tuple[bytes, bytes, int]] = set()

    def check(self, footer: Footer) -> None:
        """Pass for predictions.

        Raises:
            DamagedFile: otherwise.
        """
        metadata = footer.metadata.metadata or {}
        key = (metadata.get(b"ARROW:schema", b""), metadata.get(b"raybench.kind", b""), footer.metadata.num_columns)
        if key in self._known:
            return
        with parsing():
            kind_of(footer.metadata.schema.to_arrow_schema())
        self._known.add(key)


def info_of_single(path: Path, fingerprint: str, schemas: SchemaCheck) -> ShardInfo:
    """The mark of a shard in a file of its own, from the footer.

    Raises:
        FileNotFoundError: when it is gone.
        DamagedFile: when the file is cut, foreign, or disagrees with its own mark.
    """
    footer = read_footer(path)
    with parsing():
        table = columns_from_footer(footer.metadata.metadata)
        mark = mark_at(table, 0)
    schemas.check(footer)
    if len(table["fingerprint"]) != 1 or mark.fingerprint != fingerprint:
        raise DamagedFile(f"it holds the shard {mark.fingerprint}, not the one it is named after")
    if mark.num_rows != footer.metadata.num_rows:
        raise DamagedFile(f"its footer counts {footer.metadata.num_rows} rows, its mark {mark.num_rows}")
    return ShardInfo(mark=mark, path=path, num_bytes=footer.num_bytes)


def infos_of_compacted(path: Path) -> list[ShardInfo]:
    """The shards of a compacted file in its order, from the footer.

    Raises:
        FileNotFoundError: when there is none.
        DamagedFile: when the file is cut, foreign, or disagrees with its own index.
    """
    footer = read_footer(path)
    with parsing():
        table = columns_from_footer(footer.metadata.metadata)
        infos = [
            ShardInfo(mark=mark_at(table, i), path=path, num_bytes=None, row_group=table["row_group"][i], offset=table["offset"][i])
            for i in range(len(table["fingerprint"]))
        ]
    SchemaCheck().check(footer)
    if sum(info.mark.num_rows for info in infos) != footer.metadata.num_rows:
        raise DamagedFile(f"its footer counts {footer.metadata.num_rows} rows, its index {sum(i.mark.num_rows for i in infos)}")
    return infos


class ShardReader:
    """Reads shards one after the other; keeps the row group it is in, so that plan order decodes every page once."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._file: pq.ParquetFile | None = None
        self._row_group: int | None = None
        self._rows: pa.RecordBatch | None = None

    def __enter__(self) -> ShardReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def read(self, info: ShardInfo) -> pa.RecordBatch:
        """The rows of a shard, equal to those that were committed. A slice of its row group where it is compacted.

        Raises:
            FileNotFoundError: when the file is gone.
            DamagedShard: when a checksum, a count or the digest of the content does not fit.
        """
        try:
            batch = self._slice(info) if info.is_compacted else _read_single(info)
            with parsing():
                kind_of(batch.schema)
            found = batch_digest(batch)
            if found != info.mark.content_digest:
                raise DamagedFile(f"its rows have the digest {found}, committed were rows with {info.mark.content_digest}")
        except DamagedFile as error:
            self.close()
            raise DamagedShard(
                f"{info.path}: shard {info.mark.fingerprint} (samples {info.mark.start} to {info.mark.stop}) is damaged: {error}."
                " Run the same command again: it is moved to damaged/ and computed anew.",
                fingerprint=info.mark.fingerprint,
            ) from error
        return batch

    def close(self) -> None:
        """Let go of the open file."""
        if self._file is not None:
            self._file.close(force=True)
        self._path = self._file = self._row_group = self._rows = None

    def _slice(self, info: ShardInfo) -> pa.RecordBatch:
        if self._path != info.path:
            self.close()
            with storage_errors(info.path), parsing():
                self._file = pq.ParquetFile(info.path, page_checksum_verification=True, memory_map=False)
            self._path = info.path
        if self._row_group != info.row_group:
            assert self._file is not None, "a path is open"
            self._row_group = self._rows = None
            with storage_errors(info.path), parsing():
                self._rows = _one_batch(self._file.read_row_group(info.row_group, use_threads=False))
            self._row_group = info.row_group
        assert self._rows is not None, "a row group was read"
        batch = self._rows.slice(info.offset, info.mark.num_rows)
        if batch.num_rows != info.mark.num_rows:
            raise DamagedFile(f"its row group ends after {self._rows.num_rows} rows")
        return batch


def _read_single(info: ShardInfo) -> pa.RecordBatch:
    data = read_bytes(info.path)
    with parsing(), pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True) as file:
        return _one_batch(file.read(use_threads=False))


def _one_batch(table: pa.Table) -> pa.RecordBatch:
    """The table in one piece, with the metadata of a schema of predictions only: no marks."""
    kept = {key: value for key, value in (table.schema.metadata or {}).items() if key in (b"raybench.kind", b"raybench.schema")}
    batches = table.replace_schema_metadata(kept).combine_chunks().to_batches()
    if len(batches) != 1:
        raise DamagedFile(f"it has {table.num_rows} rows in {len(batches)} pieces, expected one")
    return batches[0]
