"""Publishing files: written under a temporary name, made durable, then visible under their final name all at once.

    publish_exclusive   what must never be overwritten (manifest, shards): the first writer wins
    replace             what may be overwritten (state, reports): the last writer wins
    staged              the same two for files that are streamed instead of held in memory

A reader sees a whole file or none. A killed writer leaves at most a `.tmp-` file, which no reader looks at. These are the only
functions of the store that depend on a local file system.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from raybench.core.errors import StorageError

TEMP_PREFIX = ".tmp-"
"""Names of unfinished files and folders begin with this."""

_REFUSALS = {
    errno.ENOSPC: "no space is left on the device",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would be larger than the limit of the file system or of the process (ulimit -f)",
    errno.EROFS: "the file system is read-only",
    errno.EIO: "the device reported an input/output error",
    errno.EACCES: "writing is not permitted",
    errno.EPERM: "writing is not permitted",
    errno.ESTALE: "the network file system lost the folder (stale handle)",
}
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


@contextmanager
def storage_errors(path: Path, num_bytes: int | None = None) -> Iterator[None]:
    """Turn the system's refusal to write `path` into a StorageError that says what to do; other errors pass.

    Args:
        path: What is being written.
        num_bytes: Size of the file, where it is known.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise
        needed = "" if num_bytes is None else f" It needs {num_bytes:,} bytes;"
        raise StorageError(
            f"{path}: cannot be written: {_REFUSALS[error.errno]} ({error.strerror or error}).{needed}"
            f" {free_bytes(path):,} bytes are free there. Make room or mend the file system, then run the same command again:"
            " what is committed is kept."
        ) from error


def free_bytes(path: Path) -> int:
    """Bytes that an ordinary user can still write where `path` lies; the nearest existing parent counts. 0 where the system does not say."""
    for folder in (path, *path.absolute().parents):
        with suppress(OSError):
            return shutil.disk_usage(folder).free
    return 0


def is_temp(path: Path | str) -> bool:
    """Whether a file or folder is somebody's unfinished work."""
    return os.path.basename(path).startswith(TEMP_PREFIX)


def temp_path(path: Path) -> Path:
    """A fresh temporary name in the folder of `path`."""
    return path.with_name(f"{TEMP_PREFIX}{os.getpid()}-{secrets.token_hex(4)}-{path.name}")


def publish_exclusive(path: Path, data: bytes | memoryview) -> bool:
    """Write a file that nobody may overwrite.

    Returns:
        False, with nothing changed, when `path` exists already.

    Raises:
        StorageError: when the disk is full or refuses; no temporary file stays behind.
    """
    temp = _write_temp(path, data)
    return _link(temp, path, len(data))


def replace(path: Path, data: bytes | memoryview) -> None:
    """Write a file or put new content in its place; readers see the old or the new one.

    Raises:
        StorageError: when the disk is full or refuses; the old content stays.
    """
    temp = _write_temp(path, data)
    with storage_errors(path, len(data)):
        os.replace(temp, path)
        sync_folder(path.parent)


@contextmanager
def staged(path: Path, *, exclusive: bool) -> Iterator[Path]:
    """A temporary path to stream a file into; at the end of the block it is made durable and published as `path`.

    Args:
        path: The final name.
        exclusive: True: an existing file stays and the new one is dropped; False: it is replaced.

    Raises:
        StorageError: as above, for the caller's writing in the block as well. After any error the temporary file is gone.
    """
    temp = temp_path(path)
    try:
        with storage_errors(path):
            yield temp
            sync_file(temp)
            if not exclusive:
                os.replace(temp, path)
                sync_folder(path.parent)
                return
        _link(temp, path, None)
    finally:
        temp.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Create a folder with its parents, each entry durable."""
    if path.is_dir():
        return
    make_folder(path.parent)
    with storage_errors(path):
        with suppress(FileExistsError):
            os.mkdir(path)
        sync_folder(path.parent)


def sha256_of(path: Path) -> str:
    """Digest of the bytes of a file, read now."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_file(path: Path) -> None:
    """Make the content of a closed file durable."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Make new, removed and renamed entries of a folder durable; without effect where a file system cannot (it then answers EINVAL)."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(handle)


def write_all(handle: int, data: bytes | memoryview) -> None:
    """Write all of `data`: the system may take a part only, as before a full disk."""
    view = memoryview(data)
    while view.nbytes:
        view = view[os.write(handle, view) :]


def _write_temp(path: Path, data: bytes | memoryview) -> Path:
    temp = temp_path(path)
    try:
        with storage_errors(path, len(data)):
            handle = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            try:
                write_all(handle, data)
                os.fsync(handle)
            finally:
                os.close(handle)
    except BaseException:
        temp.unlink(missing_ok=True)
        raise
    return temp


def _link(temp: Path, path: Path, num_bytes: int | None) -> bool:
    """Give a durable temporary file its final name, unless that is taken; the temporary name is gone afterwards."""
    with storage_errors(path, num_bytes):
        try:
            os.link(temp, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return _reserve_and_replace(temp, path)
        finally:
            temp.unlink(missing_ok=True)
        sync_folder(path.parent)
    return True


def _reserve_and_replace(temp: Path, path: Path) -> bool:
    """Exclusive publishing where hard links are missing (exFAT, some network mounts).

    A kill between the two steps leaves an empty file, which readers treat as damaged.
    """
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
    except FileExistsError:
        return False
    os.replace(temp, path)
    sync_folder(path.parent)
    return True
