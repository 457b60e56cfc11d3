"""Digests of files, computed once: the cache is asked by path, size, times and inode."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from raybench.core.cache import cache_folder
from raybench.core.errors import DataError, StorageError
from raybench.core.fingerprint import digest
from raybench.store.files import make_folder, replace

_CACHE_FILE = "digests.json"


def file_digest(path: Path) -> str:
    """The sha256 of a file, 64 hexadecimal digits.

    Raises:
        OSError: when it cannot be read.
    """
    return file_digests([path])[path]


def file_digests(paths: Iterable[Path]) -> dict[Path, str]:
    """The sha256 of several files. Only those are read that are new or changed since the cache saw them.

    A cache that is broken or cannot be written costs time, never correctness.
    """
    cache_path = cache_folder() / _CACHE_FILE
    known = _load(cache_path)
    found: dict[Path, str] = {}
    fresh: dict[str, list[Any]] = {}
    for path in paths:
        name, stamp = str(path.resolve()), _stamp(path)
        entry = known.get(name)
        if isinstance(entry, list) and len(entry) == len(stamp) + 1 and entry[:-1] == stamp and isinstance(entry[-1], str):
            found[path] = entry[-1]
            continue
        with path.open("rb") as file:
            found[path] = hashlib.file_digest(file, "sha256").hexdigest()
        if _stamp(path) == stamp:  # otherwise somebody wrote to it meanwhile
            fresh[name] = [*stamp, found[path]]
    if fresh:
        # Read again: another process may have added entries. What is lost between this and the replacing costs time only.
        with suppress(StorageError, OSError):
            make_folder(cache_path.parent)
            replace(cache_path, json.dumps(_load(cache_path) | fresh).encode())
    return found


def data_identity(paths: Iterable[Path]) -> str:
    """Digest of data files by name and content, wherever they lie.

    Raises:
        DataError: when a file is missing or cannot be read.
    """
    files = list(paths)
    try:
        digests = file_digests(files)
    except OSError as error:
        raise DataError(f"{error.filename}: the data file cannot be read: {error.strerror}. Check `source` or `data:`.") from error
    return digest(*sorted([path.name, digests[path]] for path in files))


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    # The change time as well: copying tools set the modification time back after writing into the same file.
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _load(path: Path) -> dict[str, Any]:
    try:
        entries = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return entries if isinstance(entries, dict) else {}
