"""Rows of a data set with stable numbers, and the identity of what was read."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from raybench.core.errors import DataError
from raybench.core.fingerprint import digest
from raybench.tasks.lines import FREE_BYTES, MAX_RATIO, Row, read_text
from raybench.tasks.locate import Located, format_of, how_to_map, resolve
from raybench.tasks.task import Source

__all__ = ["Located", "identity", "resolve", "rows"]

BATCH_ROWS = 2048
"""Rows decoded at a time."""
CACHED_BYTES = 8 * 2**20
"""Filtered files up to this size stay decoded: 57 subjects of MMLU lie in one file."""


def identity(located: Located) -> str:
    """Names the rows: `sha256:<digest>` of the file, or `hub:<id>@<commit>:<config>:<split>`.

    A filter or renamed columns add a short digest of themselves, several files are named by the digest of their digests.
    """
    if located.hub is None:
        hashes = [_file_sha256(*_state(file)) for file in located.files]
        joined = hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
        name = f"sha256:{joined}"
    else:
        name = f"hub:{located.hub}@{located.revision}:{located.config or 'default'}:{located.split}"
    changes = [sorted(map(list, located.where), key=str), sorted(map(list, located.rename))]
    return name + (f":{digest(changes)[:12]}" if any(changes) else "")


def rows(located: Located) -> Iterator[tuple[int, Row]]:
    """Stream the rows, each with its number in the unlimited and unfiltered data, from 0. Memory is bounded by one batch.

    Raises:
        DataError: when a file is damaged or hostile, or there is no row; names file and line.
    """
    rename = dict(located.rename)
    start, found = 0, False
    parts = [_hub_rows(located)] if located.hub is not None else [_file_rows(file, located) for file in located.files]
    for part in parts:
        number = -1
        for number, row in part:
            if row is not None:
                found = True
                yield start + number, ({rename.get(name, name): value for name, value in row.items()} if rename else row)
        start += number + 1
    if not found:
        where = f" after the filter {dict(located.where)}" if located.where else ""
        raise DataError(f"{located.place}: 0 rows in split '{located.split}'{where}. Expected at least one.")


def _state(file: Path) -> tuple[Path, int, int, int]:
    """What tells that a file has changed."""
    state = file.stat()
    return file, state.st_size, state.st_mtime_ns, state.st_ino


@lru_cache(maxsize=256)
def _file_sha256(file: Path, size: int, mtime_ns: int, inode: int) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _file_rows(file: Path, located: Located) -> Iterator[tuple[int, Row | None]]:
    """Rows of one file with their numbers; None in place of a last row that the filter dropped, so that numbers go on."""
    small = bool(located.where) and file.stat().st_size <= CACHED_BYTES and not file.name.endswith(".gz")
    if format_of(file) == ".parquet":
        batches = _cached_batches(*_state(file)) if small else _parquet_batches(file)
        return _arrow_rows(batches, located.where, str(file))
    plain = _cached_rows(*_state(file)) if small else read_text(file)
    return _matching(plain, located.where, is_text=format_of(file) in (".csv", ".tsv"))


def _matching(plain: Iterable[Row], where: tuple[tuple[str, str | int], ...], *, is_text: bool) -> Iterator[tuple[int, Row | None]]:
    if not where:
        yield from enumerate(plain)
        return
    wanted = [(column, str(value) if is_text else value) for column, value in where]
    number = -1
    for number, row in enumerate(plain):
        if all(row.get(column) == value for column, value in wanted):
            yield number, dict(row)
    yield number, None


@lru_cache(maxsize=4)
def _cached_rows(file: Path, size: int, mtime_ns: int, inode: int) -> tuple[Row, ...]:
    return tuple(read_text(file))


@lru_cache(maxsize=4)
def _cached_batches(file: Path, size: int, mtime_ns: int, inode: int) -> tuple[pa.RecordBatch, ...]:
    return tuple(_parquet_batches(file))


def _parquet_batches(file: Path) -> Iterator[pa.RecordBatch]:
    row = 0
    try:
        _refuse_extensions(file)
        parquet = pq.ParquetFile(file, page_checksum_verification=True, pre_buffer=False)
        meta = parquet.metadata
        # a run-length encoded column hides its size, so every value counts at least one byte
        groups = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
        unpacked = max(groups, meta.num_rows * meta.num_columns)
        if unpacked >= FREE_BYTES and unpacked > MAX_RATIO * file.stat().st_size:
            raise DataError(f"{file}: claims {meta.num_rows} rows and {unpacked} bytes, more than {MAX_RATIO} times its size; refused.")
        _check_schema(parquet.schema_arrow, str(file))
        for batch in parquet.iter_batches(BATCH_ROWS, use_threads=False):
            yield batch
            row += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file}: not a readable Parquet file after row {row}: {str(error).splitlines()[0]}. Fetch it again.") from error


def _refuse_extensions(file: Path) -> None:
    """Refuse a file with extension types before Arrow sees its schema: a registered type would run its own code on the file's bytes.

    The Arrow schema stands in the footer as base64, where the marker has one of three spellings, by its offset modulo 3.
    """
    with file.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - 8))
        length = int.from_bytes(stream.read(4), "little")
        stream.seek(max(0, size - 8 - length))
        footer = stream.read(length)
    marker = b"ARROW:extension:name"
    for shift in range(3):
        # the first and the last characters also depend on the neighbours
        spelled = base64.b64encode(b"\0" * shift + marker)[4:-4]
        if spelled in footer:
            raise DataError(
                f"{file}: the schema has an extension type, which is not read. Expected plain numbers, text, lists and structs."
            )


def _check_schema(schema: pa.Schema, where: str) -> None:
    for field in schema:
        if not (_is_plain(field.type) or _is_castable(field.type)):
            raise DataError(
                f"{where}: column '{field.name}' has the type {field.type}. Expected numbers, text, dates, and lists and structs of plain values."
            )


def _is_plain(kind: pa.DataType) -> bool:
    types = pa.types
    if types.is_struct(kind):
        return all(_is_plain(kind.field(i).type) for i in range(kind.num_fields))
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind) or types.is_dictionary(kind):
        return _is_plain(kind.value_type)
    is_text = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    return bool(is_text or types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_null(kind))


def _is_castable(kind: pa.DataType) -> bool:
    """Whether the values are written as text, since JSON has no such type."""
    return bool(pa.types.is_temporal(kind) or pa.types.is_decimal(kind)) and not pa.types.is_interval(kind)


def _arrow_rows(
    batches: Iterable[pa.RecordBatch], where: tuple[tuple[str, str | int], ...], place: str
) -> Iterator[tuple[int, Row | None]]:
    start = 0
    for batch in batches:
        numbers: Iterable[int] = range(start, start + batch.num_rows)
        start += batch.num_rows
        if where:
            mask = _mask(batch, where, place)
            numbers = (pc.indices_nonzero(mask).to_numpy() + (start - batch.num_rows)).tolist()
            batch = batch.filter(mask)
        try:
            columns = [(pc.cast(c, pa.string()) if _is_castable(c.type) else c).to_pylist() for c in batch.columns]
        except UnicodeDecodeError as error:
            raise DataError(f"{place}: rows {start - batch.num_rows} to {start}: a text is not UTF-8: {error.reason}.") from error
        names = batch.schema.names
        for number, *values in zip(numbers, *columns, strict=True):
            yield number, dict(zip(names, values, strict=True))
    if where:
        yield start - 1, None


def _mask(batch: pa.RecordBatch, where: tuple[tuple[str, str | int], ...], place: str) -> Any:
    mask = None
    for name, value in where:
        if name not in batch.schema.names:
            raise DataError(f"{place}: no column '{name}' to filter by. Columns: {', '.join(batch.schema.names)}.")
        column = batch.column(name)
        try:
            hits = pc.fill_null(pc.equal(column.dictionary_decode() if pa.types.is_dictionary(column.type) else column, value), False)
        except (pa.ArrowException, TypeError) as error:
            raise DataError(f"{place}: column '{name}' of type {column.type} cannot be compared with {value!r}.") from error
        mask = hits if mask is None else pc.and_(mask, hits)
    return mask


def _hub_rows(located: Located) -> Iterator[tuple[int, Row | None]]:
    import datasets

    try:
        loaded = datasets.load_dataset(located.hub, located.config, split=located.split, revision=located.revision)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        how = how_to_map(Source(path=str(located.hub), config=located.config, split=located.split))
        raise DataError(f"data set '{located.place}', split '{located.split}', cannot be loaded: {reason}\n{how}") from error
    _check_schema(loaded.features.arrow_schema, located.place)
    tables = loaded.with_format("arrow").iter(BATCH_ROWS)
    yield from _arrow_rows((batch for table in tables for batch in table.to_batches()), located.where, located.place)
