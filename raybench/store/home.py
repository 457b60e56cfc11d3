"""Where the files of a run are at home: in its folder, or on an object store of which the folder is a working copy.

    bring   before reading: what is at home lies in the folder
    keep    after writing: what lies in the folder is at home

The store reads and writes files of a folder, since memory maps and Parquet want files. The few calls below are all that it knows of another
home; a folder that is its own home has next to nothing to do for them.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Protocol

from raybench.store import files
from raybench.store.lock import hold_lock, is_held


class Home(Protocol):
    """What the store asks of a place that runs are kept in. Paths are those of files in the run's folder."""

    keep_every_s: float | None
    """How often a file that grows is kept; None: it is at home as it grows."""
    num_writers: int
    """Shards that are usefully published at once."""

    def names(self, folder: Path) -> list[str]:
        """Names in a folder, sorted, those of folders with a slash behind; a missing one has none."""

    def bring(self, *paths: Path) -> None:
        """Have files, and all files of folders, lie in the run's folder; what is not there is no error."""

    def publish_exclusive(self, path: Path, data: bytes | memoryview) -> bool:
        """As `files.publish_exclusive`: durable at home, and never overwritten."""

    def keep(self, path: Path) -> None:
        """A file of the folder was written, or has grown."""

    def remove(self, paths: Iterable[Path]) -> None:
        """Remove files; what is not there is no error."""

    def lock(self, folder: Path, *, started: float) -> AbstractContextManager[None]:
        """Be the only writer inside the block; see `hold_lock` and `hold_lease`."""

    def is_held(self, folder: Path) -> bool:
        """Whether a process writes to the run now."""

    def move_aside(self, folder: Path) -> str:
        """Move the whole run to `<name>.old-<n>`, which is returned; nothing is deleted."""


class Folder:
    """A run whose folder is its home."""

    keep_every_s: float | None = None
    num_writers = 2

    def names(self, folder: Path) -> list[str]:
        try:
            with os.scandir(folder) as entries:
                return sorted(f"{entry.name}/" if entry.is_dir() else entry.name for entry in entries)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def bring(self, *paths: Path) -> None:
        return

    def publish_exclusive(self, path: Path, data: bytes | memoryview) -> bool:
        files.make_folder(path.parent)
        return files.publish_exclusive(path, data)

    def keep(self, path: Path) -> None:
        return

    def remove(self, paths: Iterable[Path]) -> None:
        for path in paths:
            with suppress(FileNotFoundError), files.storage_errors(path):
                os.unlink(path)

    def lock(self, folder: Path, *, started: float) -> AbstractContextManager[None]:
        return hold_lock(folder, started=started)

    def is_held(self, folder: Path) -> bool:
        return is_held(folder)

    def move_aside(self, folder: Path) -> str:
        number = 1
        while (target := folder.with_name(f"{folder.name}.old-{number}")).exists():
            number += 1
        with hold_lock(folder, started=time.time()):
            shutil.move(folder, target)
        return str(target)


FOLDER = Folder()
"""It has no state: one is enough."""
