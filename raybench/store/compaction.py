"""Many small shard files into one, without a moment in which a shard is missing; and back again when that one is damaged.

    write .tmp  ->  read it back, compare  ->  publish <model>.parquet  ->  remove <model>/*.parquet  ->  remove <model>/

A kill between any two steps leaves every shard readable: before the publishing in the single files, from then on in the compacted one.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from raybench.core.errors import InternalError, RunError
from raybench.store.files import is_temp, staged, storage_errors, sync_folder
from raybench.store.parquet_files import DamagedFile, writer_options
from raybench.store.shard_files import ShardFiles
from raybench.store.shard_mark import marks_to_footer
from raybench.store.shard_reader import DamagedShard, ShardInfo, ShardReader, infos_of_compacted

ROW_GROUP_ROWS = 65_536
"""A row group ends with the shard that reaches this many rows."""
ROW_GROUP_BYTES = 64_000_000
"""... or this much memory: long generations."""


def compact(files: ShardFiles, fingerprints: Sequence[str]) -> bool:
    """Put all shards of a (task, model) into one file.

    Args:
        files: Of that task and model. Only the holder of the run's lock may call this.
        fingerprints: All of them, in plan order, which becomes the order of rows.

    Returns:
        False when they are compacted already (leftovers of a killed compaction are removed then).

    Raises:
        InternalError: when a shard is missing.
        DamagedShard: when a shard cannot be read; nothing is changed then.
        RunError: when there is a compacted file with other shards.
    """
    before = files.scan_compacted()
    if before.shards:
        if set(before.shards) != set(fingerprints):
            raise RunError(
                f"{files.compacted}: holds {len(before.shards)} shards, {len(set(before.shards) & set(fingerprints))} of the"
                f" {len(set(fingerprints))} of this plan. Expected all of them: use --new with --reuse."
            )
        _remove_singles(files, fingerprints)
        return False
    singles = files.scan_singles().shards
    missing = set(fingerprints) - set(singles)
    if missing or not fingerprints:
        raise InternalError(f"{files.folder}: {len(missing)} of {len(fingerprints)} shards are missing, so it cannot be compacted.")
    files.home.bring(files.folder)
    infos = [singles[fingerprint] for fingerprint in fingerprints]
    with staged(files.compacted, exclusive=True) as temp:
        _write(temp, infos)
        _compare(temp, infos)
    files.home.keep(files.compacted)
    _remove_singles(files, fingerprints)
    return True


def dissolve(files: ShardFiles, damaged: Path) -> list[str]:
    """Undo a compaction whose file is damaged: good shards get files of their own again, then the file is moved to `damaged`.

    A kill in between changes nothing for readers, who find the compacted file until the last step.

    Returns:
        Fingerprints of the shards that are lost.
    """
    lost: list[str] = []
    with ShardReader() as reader:
        for info in files.scan_compacted().shards.values():
            try:
                files.restore(reader.read(info), info.mark)
            except DamagedShard as error:
                lost.append(error.fingerprint)
    files.set_aside(files.compacted, damaged)
    return lost


def _write(temp: Path, infos: Sequence[ShardInfo]) -> None:
    row_groups: list[int] = []
    offsets: list[int] = []
    writer: pq.ParquetWriter | None = None
    waiting: list[pa.RecordBatch] = []
    num_rows, num_bytes, num_groups = 0, 0, 0
    try:
        with ShardReader() as reader:
            for info in infos:
                batch = reader.read(info)
                writer = writer or pq.ParquetWriter(temp, batch.schema, **writer_options(batch.schema, is_final=True))
                row_groups.append(num_groups)
                offsets.append(num_rows)
                waiting.append(batch)
                num_rows += batch.num_rows
                num_bytes += batch.nbytes
                if num_rows >= ROW_GROUP_ROWS or num_bytes >= ROW_GROUP_BYTES:
                    writer.write_table(pa.Table.from_batches(waiting), row_group_size=num_rows)
                    waiting, num_rows, num_bytes, num_groups = [], 0, 0, num_groups + 1
        assert writer is not None, "there is at least one shard"
        if waiting:
            writer.write_table(pa.Table.from_batches(waiting), row_group_size=num_rows)
        writer.add_key_value_metadata(marks_to_footer([info.mark for info in infos], row_group=row_groups, offset=offsets))
    finally:
        if writer is not None:
            writer.close()


def _compare(temp: Path, infos: Sequence[ShardInfo]) -> None:
    """Read every shard back before the only other copy is removed."""
    try:
        compacted = infos_of_compacted(temp)
        if [info.mark for info in compacted] != [info.mark for info in infos]:
            raise DamagedFile("its index differs from the marks of the shards")
        with ShardReader() as reader:
            for info in compacted:
                reader.read(info)
    except (DamagedFile, DamagedShard) as error:
        raise InternalError(f"{temp}: what was compacted is not what had been committed: {error}") from error


def _remove_singles(files: ShardFiles, fingerprints: Sequence[str]) -> None:
    if files.home.names(files.folder):
        files.home.remove(files.path(fingerprint) for fingerprint in fingerprints)
    if not files.folder.is_dir():
        return
    with storage_errors(files.folder):
        for path in files.folder.iterdir():
            if is_temp(path):
                path.unlink(missing_ok=True)
        with suppress(OSError):  # a foreign file is in it: `verify` names it
            os.rmdir(files.folder)
        sync_folder(files.folder.parent)
