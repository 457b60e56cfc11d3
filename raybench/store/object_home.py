"""A run on an object store: the folder is a working copy, whose files are brought when they are read and put there when they are written.

Listed once, when it is opened: names alone say which shards are there, so that resuming reads no shard. Objects appear whole, so there is
no torn file to be found by reading footers.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from raybench.core.errors import InternalError, StorageError
from raybench.store import lease
from raybench.store.objects import Objects

KEEP_EVERY_S = 10.0
"""What a kill can lose of a log, which no result depends on."""
_META = "/meta.json"


class ObjectHome:
    """The home of one run on an object store."""

    keep_every_s: float | None = KEEP_EVERY_S
    num_writers = 16

    def __init__(self, uri: str) -> None:
        """Make the working copy, an empty folder that goes with this process; the store is asked nothing yet.

        Raises:
            ConfigError: when the URI is none of ours, or its package is missing.
        """
        self._objects = Objects(uri)
        self.folder = Path(tempfile.mkdtemp(prefix="raybench-run-"))
        atexit.register(shutil.rmtree, self.folder, ignore_errors=True)
        self._names: dict[str, None] | None = None
        self._here: set[str] = set()
        self._bringing = threading.Lock()
        self._lease: lease.Lease | None = None

    def names(self, folder: Path) -> list[str]:
        if folder == self.folder:
            return self._objects.entries()  # one request, whatever lies below
        prefix = f"{self._name(folder)}/"
        inner = (name[len(prefix) :].partition("/") for name in list(self._listed()) if name.startswith(prefix))
        return sorted({first + slash for first, slash, _ in inner})

    def bring(self, *paths: Path) -> None:
        listed = self._listed()
        with self._bringing:
            wanted: list[str] = []
            for path in paths:
                name = "" if path == self.folder else self._name(path)
                below = f"{name}/" if name else ""
                found = [name] if name in listed else [n for n in list(listed) if n.startswith(below)]
                wanted += [n for n in found if n not in self._here]
            try:
                self._get(wanted)
            except StorageError as error:
                if self._lease is not None or not isinstance(error.__cause__, FileNotFoundError):
                    raise
                self._names = None  # a writer has compacted what was listed
                self._get([name for name in wanted if name in self._listed()])

    def _get(self, names: Iterable[str]) -> None:
        files = {name: self.folder / name for name in dict.fromkeys(names)}
        if files:
            self._objects.get(files)
            self._here.update(files)

    def publish_exclusive(self, path: Path, data: bytes | memoryview) -> bool:
        self._held().check_quickly()
        name = self._name(path)
        is_new = self._objects.create(name, data)
        if is_new:  # read again by the compaction, so it stays here as well
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            self._here.add(name)
        self._listed()[name] = None
        return is_new

    def keep(self, path: Path) -> None:
        self._held().check()
        name = self._name(path)
        self._objects.put(name, path)
        self._here.add(name)
        self._listed()[name] = None

    def remove(self, paths: Iterable[Path]) -> None:
        self._held().check()
        listed = self._listed()
        names = [name for name in map(self._name, paths) if name in listed]
        self._objects.delete(names)
        for name in names:
            listed.pop(name, None)
            self._here.discard(name)
            (self.folder / name).unlink(missing_ok=True)

    @contextmanager
    def lock(self, folder: Path, *, started: float) -> Iterator[None]:
        with lease.hold_lease(self._objects, started=started) as self._lease:
            self._names = None  # what the writer before has done since it was listed
            try:
                yield
            finally:
                self._lease = None

    def is_held(self, folder: Path) -> bool:
        return lease.is_leased(self._objects)

    def move_aside(self, folder: Path) -> str:
        number = 1
        while Objects(target := f"{self._objects.uri}.old-{number}").names():
            number += 1
        with self.lock(folder, started=time.time()):
            names = list(self._listed())
            self._objects.copy(names, target)
            self._objects.delete(names)
        self._names = None
        return target

    def _listed(self) -> dict[str, None]:
        """What there is. A prompt set without its `meta.json`, which is put there last, was never finished."""
        if self._names is None:
            found = [name for name in self._objects.names() if not name.startswith(f"{lease.FOLDER}/")]
            finished = tuple(name.removesuffix(_META[1:]) for name in found if name.startswith("prompts/") and name.endswith(_META))
            self._names = dict.fromkeys(name for name in found if not name.startswith("prompts/") or name.startswith(finished))
        return self._names

    def _held(self) -> lease.Lease:
        if self._lease is None:
            raise InternalError(f"{self._objects.uri}: written to without the lease.")
        return self._lease

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()
