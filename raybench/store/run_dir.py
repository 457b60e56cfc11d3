"""The run directory: where everything of a run lies, and who may write to it.

    manifest.json      what the run is: written once, never changed
    state.json         how far it is
    lock               who writes to it
    events/            what happened, a segment for every process
    prompts/<set>/     what was asked, rendered once
    predictions/<task>/<model>/<fingerprint>.parquet    what was answered; compacted: predictions/<task>/<model>.parquet
    telemetry/         what was measured
    scores/<task>/<model>.parquet                       what the answers are worth
    results.json       the numbers
    efficiency.json    the speed
    recheck.json       the noise floor, where it was measured
    damaged/           files that were set aside

Only the holder of the lock writes; everybody may read at any time. Resuming is the plan minus the files that are here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from raybench.core.errors import RunError
from raybench.core.recheck import Recheck, rechecks_from_json, rechecks_to_json
from raybench.store import manifest
from raybench.store.compaction import compact, dissolve
from raybench.store.events import EventLog, read_events
from raybench.store.files import TEMP_PREFIX, is_temp, make_folder
from raybench.store.json_files import read_json, write_json
from raybench.store.lock import hold_lock
from raybench.store.prompt_files import PromptWriter
from raybench.store.prompt_set import PromptSet
from raybench.store.scores import ScoreWriter, read_scores
from raybench.store.shard_files import SUFFIX, Committed, Scan, ShardFiles, check_name
from raybench.store.shard_mark import ShardMark
from raybench.store.telemetry import TelemetryWriter, read_telemetry

_KNOWN = {"manifest.json", "state.json", "lock", "events", "prompts", "predictions", "telemetry", "scores", "damaged"}


class RunDir:
    """Handle of a run directory. Making one touches nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._is_locked = False

    @classmethod
    def open(cls, path: Path) -> RunDir:
        """An existing run, for reading or resuming.

        Raises:
            RunError: when there is none, its manifest is damaged, or a newer raybench wrote it.
        """
        run = cls(path)
        run.manifest()
        return run

    def create(self) -> None:
        """Make the folder, or take one that is empty or was begun by raybench.

        Raises:
            RunError: when something else is in the way or the place cannot be written to; nothing was created then.
        """
        try:
            self._refuse_what_is_in_the_way()
            make_folder(self.path)
        except OSError as error:
            raise RunError(f"{self.path}: cannot be created: {error.strerror}. Choose another --output.") from error

    def _refuse_what_is_in_the_way(self) -> None:
        if self.path.is_symlink():
            raise RunError(
                f"{self.path}: a symbolic link, expected a folder of its own. Remove it or give --output the folder it leads to."
            )
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path}: a file is in the way, expected a folder or nothing. Choose another --output.")
        existing = next(folder for folder in (self.path, *self.path.absolute().parents) if folder.exists())
        if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
            raise RunError(f"{self.path}: cannot be created: {existing} is not a folder that you may write to. Choose another --output.")
        if self.path.is_dir() and not (self.path / manifest.FILE).exists():
            foreign = sorted(name for name in os.listdir(self.path) if name not in _KNOWN and not is_temp(name))
            if foreign:
                raise RunError(f"{self.path}: not a run directory and not empty: it holds '{foreign[0]}'. Choose another --output.")

    @contextmanager
    def lock(self, *, started: float) -> Iterator[None]:
        """Be the only writer inside the block; see `hold_lock`.

        Raises:
            RunError: when another process is.
        """
        with hold_lock(self.path, started=started):
            self._is_locked = True
            try:
                yield
            finally:
                self._is_locked = False

    def write_manifest(self, content: Mapping[str, Any]) -> bool:
        """Write what the run is; False when that is written already (see `manifest.differences`)."""
        return manifest.write_manifest(self.path, content)

    def manifest(self) -> dict[str, Any]:
        """What the run is."""
        return manifest.read_manifest(self.path)

    # predictions

    def pairs(self) -> list[tuple[str, str]]:
        """The (task, model) pairs that have predictions, sorted."""
        found: set[tuple[str, str]] = set()
        for path in (self.path / "predictions").glob("*/*"):
            if not is_temp(path) and (path.is_dir() or path.suffix == SUFFIX):
                found.add((path.parent.name, path.name if path.is_dir() else path.stem))
        return sorted(found)

    def shard_files(self, task: str, model: str) -> ShardFiles:
        """The committed shards of a (task, model)."""
        return ShardFiles(self.path / "predictions", task, model)

    def commit(self, task: str, model: str, batch: pa.RecordBatch, mark: ShardMark, *, is_fresh: bool = False) -> Committed:
        """Publish a shard; see `ShardFiles.commit`."""
        return self.shard_files(task, model).commit(batch, mark, is_fresh=is_fresh)

    def scan(self, task: str, model: str) -> Scan:
        """What is committed. The holder of the lock also moves damaged files to `damaged/`, so that their shards run again."""
        files = self.shard_files(task, model)
        found = files.scan()
        if self._is_locked:
            for damaged in found.damaged:
                files.set_aside(damaged.path, self.path / "damaged")
        return found

    def read(self, task: str, model: str, fingerprint: str) -> pa.RecordBatch:
        """The rows of one shard, checked; see `ShardFiles.read`."""
        return self.shard_files(task, model).read(fingerprint)

    def iterate(self, task: str, model: str, fingerprints: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The rows of shards in this order, checked; see `ShardFiles.iterate`."""
        return self.shard_files(task, model).iterate(fingerprints)

    def compact(self, task: str, model: str, fingerprints: Sequence[str]) -> bool:
        """Put all shards, given in plan order, into one file; see `compaction.compact`."""
        return compact(self.shard_files(task, model), fingerprints)

    def discard(self, task: str, model: str, fingerprint: str) -> list[str]:
        """Give up a shard that could not be read, so that it can be committed again; its file is moved to `damaged/`.

        Returns:
            The fingerprints that are lost: this one, and others of a compacted file that turn out to be damaged as well.
        """
        files = self.shard_files(task, model)
        if fingerprint in files.scan_compacted().shards:
            return dissolve(files, self.path / "damaged")
        if files.path(fingerprint).exists():
            files.set_aside(files.path(fingerprint), self.path / "damaged")
        return [fingerprint]

    # prompts, scores, documents

    def prompt_writer(self, name: str) -> PromptWriter:
        """Writes the prompt set `name`; see `PromptWriter`."""
        return PromptWriter(self.path / "prompts" / check_name(name, "prompt set"))

    def prompts(self, name: str) -> PromptSet | None:
        """The prompt set `name`, or None when it was not written yet.

        Raises:
            RunError: when it is damaged.
        """
        path = self.path / "prompts" / check_name(name, "prompt set")
        return PromptSet.open(path) if path.exists() else None

    def score_writer(self, task: str, model: str, schema: pa.Schema) -> ScoreWriter:
        """Writes the score table of a (task, model); see `ScoreWriter`."""
        return ScoreWriter(self._scores(task, model), schema)

    def scores(self, task: str, model: str) -> pa.Table:
        """The score table of a (task, model); see `read_scores`."""
        return read_scores(self._scores(task, model))

    def write_state(self, state: Mapping[str, Any]) -> None:
        """Say how far the run is."""
        write_json(self.path / "state.json", state)

    def state(self) -> dict[str, Any]:
        """How far the run is; empty before it began."""
        path = self.path / "state.json"
        return read_json(path) if path.exists() else {}

    def write_results(self, results: Mapping[str, Any]) -> None:
        """Write the numbers: content only, so that equal runs have equal files."""
        write_json(self.path / "results.json", results)

    def read_results(self) -> dict[str, Any]:
        """The numbers.

        Raises:
            RunError: when there are none yet.
        """
        return read_json(self.path / "results.json")

    def write_rechecks(self, rechecks: Sequence[Recheck]) -> None:
        """Keep the noise floors."""
        write_json(self.path / "recheck.json", rechecks_to_json(rechecks))

    def rechecks(self) -> tuple[Recheck, ...]:
        """The noise floors that were measured; empty where none was.

        Raises:
            RunError: when they are damaged.
        """
        path = self.path / "recheck.json"
        return rechecks_from_json(read_json(path)) if path.exists() else ()

    def write_efficiency(self, measured: Mapping[str, Any]) -> None:
        """Write the measured summaries."""
        write_json(self.path / "efficiency.json", measured)

    def read_efficiency(self) -> dict[str, Any]:
        """The measured summaries."""
        return read_json(self.path / "efficiency.json")

    # what happened

    def event_log(self) -> EventLog:
        """A new segment of the event log."""
        return EventLog(self.path / "events")

    def events(self) -> Iterator[dict[str, Any]]:
        """All events so far; see `read_events`."""
        return read_events(self.path / "events")

    def telemetry_writer(self) -> TelemetryWriter:
        """Writes telemetry; see `TelemetryWriter`."""
        return TelemetryWriter(self.path / "telemetry")

    def telemetry(self) -> pa.Table:
        """All telemetry so far."""
        return read_telemetry(self.path / "telemetry")

    def stale(self) -> list[Path]:
        """Unfinished files and folders of writers that were killed, unless a writer is at work now. `raybench gc` removes them."""
        return sorted(path for path in self.path.rglob(f"{TEMP_PREFIX}*") if not any(is_temp(part) for part in path.parent.parts))

    def _scores(self, task: str, model: str) -> Path:
        return self.path / "scores" / check_name(task, "task") / f"{check_name(model, 'model')}{SUFFIX}"
