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
    lm-eval/<model>/   results and samples in the layout of lm-evaluation-harness, for its tasks
    damaged/           files that were set aside
    lease/             who writes to it, on an object store

Only the holder of the lock writes; everybody may read at any time. Resuming is the plan minus the files that are here.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from raybench.core.errors import RunError
from raybench.store import manifest
from raybench.store.compaction import compact, dissolve
from raybench.store.documents import Documents
from raybench.store.events import EventLog, read_events
from raybench.store.files import TEMP_PREFIX, is_temp, make_folder, staged, storage_errors
from raybench.store.home import FOLDER, Home
from raybench.store.object_home import ObjectHome
from raybench.store.objects import is_uri
from raybench.store.prompt_files import PromptWriter
from raybench.store.prompt_set import PromptSet
from raybench.store.scores import ScoreWriter, read_scores
from raybench.store.shard_files import SUFFIX, Committed, Scan, ShardFiles, check_name
from raybench.store.shard_mark import ShardMark
from raybench.store.telemetry import TelemetryWriter, read_telemetry

_KNOWN = {"manifest.json", "state.json", "lock", "lease", "events", "prompts", "predictions", "telemetry", "scores", "damaged"}


class RunDir:
    """Handle of a run directory. Making one touches nothing."""

    def __init__(self, path: Path, *, home: Home = FOLDER, name: str | None = None) -> None:
        self.path = path
        """The folder; a working copy where the run is at home on an object store."""
        self.home = home
        self.name = str(path) if name is None else name
        """What the user calls it: a folder or a URI."""
        self.documents = Documents(path, home, self.name)
        """State, results, efficiency, noise floors."""
        self._is_locked = False

    @classmethod
    def at(cls, name: str | Path) -> RunDir:
        """The run of that name: a folder, or s3://bucket/folder and the like.

        Raises:
            ConfigError: when the URI is none of ours, or its package is missing.
        """
        if not is_uri(name):
            return cls(Path(name).expanduser())
        home = ObjectHome(str(name))
        return cls(home.folder, home=home, name=str(name))

    @classmethod
    def open(cls, name: str | Path) -> RunDir:
        """An existing run, for reading or resuming.

        Raises:
            RunError: when there is none, its manifest is damaged, or a newer raybench wrote it.
        """
        run = cls.at(name)
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
        names = [name.removesuffix("/") for name in self.home.names(self.path)]
        foreign = [name for name in names if name not in _KNOWN and not is_temp(name)]
        if foreign and manifest.FILE not in names:
            raise RunError(f"{self.name}: not a run directory and not empty: it holds '{foreign[0]}'. Choose another --output.")

    @contextmanager
    def lock(self, *, started: float) -> Iterator[None]:
        """Be the only writer inside the block; see `hold_lock` and `hold_lease`.

        Raises:
            RunError: when another process is.
        """
        with self.home.lock(self.path, started=started):
            self._is_locked = True
            try:
                yield
            finally:
                self._is_locked = False

    def is_held(self) -> bool:
        """Whether a process writes to the run now."""
        return self.home.is_held(self.path)

    def move_aside(self) -> str | None:
        """Move the run to `<name>.old-<n>`, which is returned; nothing is deleted. None where there is no run.

        Raises:
            RunError: when it is no run directory, or another process writes to it.
        """
        if not self.home.names(self.path):
            return None
        self.create()  # refuses what raybench did not write
        return self.home.move_aside(self.path)

    def bring(self, *names: str) -> None:
        """Have files or folders of the run, all of it without a name, lie in `path`: many requests at once are faster than one after the other."""
        self.home.bring(*(self.path / name for name in names or ("",)))

    def copy_to(self, target: Path, names: Sequence[str] = ()) -> int:
        """Copy the run, or files and folders of it, into a new folder; returns the number of files.

        Raises:
            RunError: when the folder is not empty.
        """
        if target.exists() and any(target.iterdir()):
            raise RunError(f"{target}: exists and is not empty; choose another --output.")
        self.bring(*names)
        shutil.copytree(self.path, target, dirs_exist_ok=True)
        return sum(path.is_file() for path in target.rglob("*"))

    def write_manifest(self, content: Mapping[str, Any]) -> bool:
        """Write what the run is; False when that is written already (see `manifest.differences`)."""
        return manifest.write_manifest(self.path, content, self.home)

    def manifest(self) -> dict[str, Any]:
        """What the run is."""
        self.bring(manifest.FILE)
        return manifest.read_manifest(self.path, self.name)

    def has_manifest(self) -> bool:
        """Whether a run was begun here."""
        return manifest.FILE in self.home.names(self.path)

    # predictions

    def pairs(self) -> list[tuple[str, str]]:
        """The (task, model) pairs that have predictions, sorted."""
        found: set[tuple[str, str]] = set()
        for task in self.home.names(self.path / "predictions"):
            for name in self.home.names(self.path / "predictions" / task):
                if not is_temp(name.rstrip("/")) and name.endswith(("/", SUFFIX)):
                    found.add((task.rstrip("/"), name.removesuffix("/").removesuffix(SUFFIX)))
        return sorted(found)

    def shard_files(self, task: str, model: str) -> ShardFiles:
        """The committed shards of a (task, model)."""
        return ShardFiles(self.path / "predictions", task, model, self.home)

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
        self.home.bring(files.path(fingerprint))
        if files.path(fingerprint).exists():
            files.set_aside(files.path(fingerprint), self.path / "damaged")
        return [fingerprint]

    # prompts, scores, files for others

    def prompt_writer(self, name: str) -> PromptWriter:
        """Writes the prompt set `name`; see `PromptWriter`."""
        return PromptWriter(self.path / "prompts" / check_name(name, "prompt set"), self.home)

    def prompts(self, name: str) -> PromptSet | None:
        """The prompt set `name`, or None when it was not written yet.

        Raises:
            RunError: when it is damaged.
        """
        path = self.path / "prompts" / check_name(name, "prompt set")
        self.home.bring(path)
        return PromptSet.open(path) if path.exists() else None

    def remove_prompts(self, name: str) -> None:
        """Give a prompt set up: one of a run that ended before it had a manifest."""
        path = self.path / "prompts" / check_name(name, "prompt set")
        self.home.remove([path / file for file in self.home.names(path)])
        shutil.rmtree(path, ignore_errors=True)

    def score_writer(self, task: str, model: str, schema: pa.Schema) -> ScoreWriter:
        """Writes the score table of a (task, model); see `ScoreWriter`."""
        return ScoreWriter(self._scores(task, model), schema, self.home)

    def scores(self, task: str, model: str) -> pa.Table:
        """The score table of a (task, model); see `read_scores`."""
        self.home.bring(self._scores(task, model))
        return read_scores(self._scores(task, model))

    def has_scores(self, task: str, model: str) -> bool:
        """Whether a (task, model) was scored."""
        return self._scores(task, model).name in self.home.names(self._scores(task, model).parent)

    @contextmanager
    def export(self, folder: str, model: str, name: str) -> Iterator[Path]:
        """A place to write a file for other programs, `<folder>/<model>/<name>`; it appears, whole, at the end of the `with` block."""
        path = self.path / folder / check_name(model, "model") / name
        make_folder(path.parent)
        with storage_errors(path), staged(path, exclusive=False) as temp:
            yield temp
        self.home.keep(path)

    # what happened

    def event_log(self, echo: Callable[[str], None] | None = None) -> EventLog:
        """A new segment of the event log; `echo` gets every line as well."""
        self.bring("events")  # their numbers go on
        return EventLog(self.path / "events", self.home, echo)

    def events(self) -> Iterator[dict[str, Any]]:
        """All events so far; see `read_events`."""
        self.bring("events")
        return read_events(self.path / "events")

    def telemetry_writer(self) -> TelemetryWriter:
        """Writes telemetry; see `TelemetryWriter`."""
        self.bring("telemetry")
        return TelemetryWriter(self.path / "telemetry", home=self.home)

    def telemetry(self) -> pa.Table:
        """All telemetry so far."""
        self.bring("telemetry")
        return read_telemetry(self.path / "telemetry")

    def stale(self) -> list[Path]:
        """Unfinished files and folders of writers that were killed, unless a writer is at work now. `raybench gc` removes them."""
        return sorted(path for path in self.path.rglob(f"{TEMP_PREFIX}*") if not any(is_temp(part) for part in path.parent.parts))

    def _scores(self, task: str, model: str) -> Path:
        return self.path / "scores" / check_name(task, "task") / f"{check_name(model, 'model')}{SUFFIX}"
