"""The committed shards of one (task, model): published once, found again by their footers, read back checked."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from raybench.core.checkpoint import NAME
from raybench.core.errors import InternalError
from raybench.core.fingerprint import batch_digest
from raybench.store.files import is_temp, make_folder, storage_errors, sync_folder
from raybench.store.home import FOLDER, Home
from raybench.store.parquet_files import DamagedFile, encode
from raybench.store.shard_mark import ShardMark, marks_to_footer
from raybench.store.shard_reader import DamagedShard, SchemaCheck, ShardInfo, ShardReader, info_of_single, infos_of_compacted, kind_of

SUFFIX = ".parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """What became of a commit."""

    is_new: bool
    """False: the shard had been committed before, and that file stays."""
    sha256: str
    """Of the bytes of this attempt, for the event log."""
    num_bytes: int
    """Size of the file of this attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Damaged:
    """A file that cannot be used."""

    path: Path
    """Where it lay when it was found."""
    reason: str
    """A clause about `it`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What there is of one (task, model)."""

    shards: Mapping[str, ShardInfo]
    """By fingerprint."""
    damaged: tuple[Damaged, ...] = ()
    """Files in the place of shards that are none."""


def check_name(name: str, what: str) -> str:
    """`name` if it is safe as a file or folder name of the store; the caller makes slugs of others.

    Raises:
        InternalError: otherwise.
    """
    if not NAME.fullmatch(name) or name.endswith((SUFFIX, ".json")):
        raise InternalError(f"{what} '{name}' is no file-safe name; expected core.checkpoint.slug of it, without a file suffix.")
    return name


class ShardFiles:
    """`predictions/<task>/<model>/<fingerprint>.parquet`, and after compaction `predictions/<task>/<model>.parquet`.

    Where both hold a shard the compacted file counts: the other is what a killed compaction left behind.
    """

    def __init__(self, predictions: Path, task: str, model: str, home: Home = FOLDER) -> None:
        self.home = home
        self.task = check_name(task, "task")
        self.model = check_name(model, "model")
        self.folder = predictions / task / model
        self.compacted = predictions / task / f"{model}{SUFFIX}"

    def path(self, fingerprint: str) -> Path:
        """The shard's own file."""
        return self.folder / f"{check_name(fingerprint, 'fingerprint')}{SUFFIX}"

    def commit(self, batch: pa.RecordBatch, mark: ShardMark, *, is_fresh: bool = False) -> Committed:
        """Publish the rows of a shard: durable when this returns, and never overwritten.

        Args:
            batch: Rows of `schema.predictions_schema`, at least one.
            mark: What they are; checked against the rows.
            is_fresh: Whether the caller has just made the mark of these very rows: then they are not digested a second time.

        Raises:
            InternalError: when the rows are not what the mark says.
            StorageError: when the disk refuses; nothing is left behind.
        """
        self._check(batch, mark, is_fresh=is_fresh)
        is_compacted = self.compacted.exists() and mark.fingerprint in self.scan_compacted().shards
        return self._publish(batch, mark, is_wanted=not is_compacted)

    def restore(self, batch: pa.RecordBatch, mark: ShardMark) -> Committed:
        """Like `commit`, also while a compacted file holds the shard: for giving that file up."""
        self._check(batch, mark)
        return self._publish(batch, mark, is_wanted=True)

    def _publish(self, batch: pa.RecordBatch, mark: ShardMark, *, is_wanted: bool) -> Committed:
        data = memoryview(encode(batch, marks_to_footer([mark])))
        is_new = is_wanted and self.home.publish_exclusive(self.path(mark.fingerprint), data)
        return Committed(is_new=is_new, sha256=hashlib.sha256(data).hexdigest(), num_bytes=len(data))

    def _check(self, batch: pa.RecordBatch, mark: ShardMark, *, is_fresh: bool = False) -> None:
        try:
            kind_of(batch.schema)
        except ValueError as error:
            raise InternalError(f"shard {mark.fingerprint} of {self.task}, {self.model}: {error}.") from error
        found = mark.content_digest if is_fresh else batch_digest(batch)
        if batch.num_rows != mark.num_rows or not mark.num_rows or found != mark.content_digest:
            raise InternalError(
                f"shard {mark.fingerprint} of {self.task}, {self.model}: the mark says {mark.num_rows} rows with digest"
                f" {mark.content_digest}, the batch has {batch.num_rows} with {found}."
            )

    def scan(self) -> Scan:
        """What is committed, from footers alone. Reads only; safe beside a writer."""
        singles = self.scan_singles()
        # Second, since compaction publishes first and removes afterwards: if there is no compacted file now, none of the single
        # files had been removed when they were listed.
        compacted = self.scan_compacted()
        if isinstance(singles.shards, _Listed):
            return Scan(shards=singles.shards.beside(compacted.shards), damaged=compacted.damaged)
        return Scan(shards={**singles.shards, **compacted.shards}, damaged=singles.damaged + compacted.damaged)

    def scan_singles(self) -> Scan:
        """The shards in files of their own, also those that a compacted file holds as well."""
        shards: dict[str, ShardInfo] = {}
        damaged: list[Damaged] = []
        schemas = SchemaCheck()
        names = [name for name in self.home.names(self.folder) if name.endswith(SUFFIX) and not is_temp(name)]
        if self.home is not FOLDER:
            return Scan(shards=_Listed([name.removesuffix(SUFFIX) for name in names], self._info))
        for name in names:
            path, fingerprint = self.folder / name, name.removesuffix(SUFFIX)
            try:
                shards[fingerprint] = info_of_single(path, fingerprint, schemas)
            except FileNotFoundError:
                continue  # compacted or set aside in this moment
            except DamagedFile as error:
                damaged.append(Damaged(path=path, reason=str(error)))
        return Scan(shards=shards, damaged=tuple(damaged))

    def _info(self, fingerprint: str) -> ShardInfo:
        self.home.bring(self.path(fingerprint))
        try:
            return info_of_single(self.path(fingerprint), fingerprint, SchemaCheck())
        except (DamagedFile, FileNotFoundError) as error:
            raise self._damaged(fingerprint, str(error)) from error

    def scan_compacted(self) -> Scan:
        """The shards of the compacted file; none if there is no such file."""
        self.home.bring(self.compacted)
        try:
            infos = infos_of_compacted(self.compacted)
        except FileNotFoundError:
            return Scan(shards={})
        except DamagedFile as error:
            return Scan(shards={}, damaged=(Damaged(path=self.compacted, reason=str(error)),))
        return Scan(shards={info.mark.fingerprint: info for info in infos})

    def read(self, fingerprint: str) -> pa.RecordBatch:
        """The rows of one shard.

        Raises:
            DamagedShard: when they are missing or not those that were committed.
        """
        return next(self.iterate([fingerprint]))

    def iterate(self, fingerprints: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The rows of shards in this order, one record batch a shard; one row group in memory at a time.

        Raises:
            DamagedShard: as in `read`.
        """
        compacted = self.scan_compacted().shards
        self.home.bring(*(self.path(name) for name in fingerprints if name not in compacted))
        schemas = SchemaCheck()
        with ShardReader() as reader:
            for fingerprint in fingerprints:
                try:
                    info = compacted.get(fingerprint) or info_of_single(self.path(fingerprint), fingerprint, schemas)
                    batch = reader.read(info)
                except FileNotFoundError:
                    compacted = self.scan_compacted().shards  # compacted since the first look
                    if fingerprint not in compacted:
                        raise self._damaged(fingerprint, "there is no file of it") from None
                    batch = reader.read(compacted[fingerprint])
                except DamagedFile as error:
                    raise self._damaged(fingerprint, str(error)) from error
                yield batch

    def set_aside(self, path: Path, damaged: Path) -> Path:
        """Move a file to `damaged/<task>/<model>/`, where nothing looks for shards; returns its new path."""
        folder = damaged / self.task / self.model
        self.home.bring(path, folder)
        make_folder(folder)
        number = 1
        while (target := folder / f"{path.name}.{number}").exists():
            number += 1
        with storage_errors(target):
            os.rename(path, target)
            sync_folder(folder)
            sync_folder(path.parent)
        self.home.keep(target)
        self.home.remove([path])
        return target

    def _damaged(self, fingerprint: str, reason: str) -> DamagedShard:
        return DamagedShard(
            f"{self.path(fingerprint)}: the shard cannot be read: {reason}. Run the same command again: it is computed anew.",
            fingerprint=fingerprint,
        )


class _Listed(Mapping[str, ShardInfo]):
    """Shards on an object store: there by name, from the listing; read only when somebody asks for the mark."""

    def __init__(self, names: Sequence[str], read: Callable[[str], ShardInfo], known: Mapping[str, ShardInfo] | None = None) -> None:
        self._known = known or {}
        self._names = dict.fromkeys([*names, *self._known])
        self._read = read

    def beside(self, known: Mapping[str, ShardInfo]) -> _Listed:
        """With shards that have been read."""
        return _Listed(list(self._names), self._read, known)

    def __getitem__(self, name: str) -> ShardInfo:
        if name not in self._names:
            raise KeyError(name)
        return self._known.get(name) or self._read(name)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
