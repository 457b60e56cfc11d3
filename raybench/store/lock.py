"""One writer a run: a lock that the system drops by itself when its holder dies."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from raybench.core.errors import RunError
from raybench.store.files import storage_errors, write_all

FILE = "lock"
_TRIES, _PAUSE_S = 5, 0.02


@contextmanager
def hold_lock(folder: Path, *, started: float) -> Iterator[None]:
    """Be the only writer of a run directory inside the block.

    The lock is `flock` on an open file: it ends with the process, however that ends. The file stays; its content only serves the
    message to the second comer. A child made by fork without exec shares the lock.

    Args:
        folder: The run directory; must exist.
        started: Seconds since the epoch, for the message.

    Raises:
        RunError: when another process holds it.
    """
    path = folder / FILE
    with storage_errors(path):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        try:
            _take(handle)
        except BlockingIOError as error:
            raise RunError(f"{folder}: in use by {_holder(handle)}. Wait for it, stop it, or choose another --output.") from error
        with storage_errors(path):
            os.ftruncate(handle, 0)
            write_all(handle, json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "started": started}).encode())
        try:
            yield
        finally:
            os.ftruncate(handle, 0)
    finally:
        os.close(handle)


def _holder(handle: int) -> str:
    try:
        holder = json.loads(os.pread(handle, 4096, 0))
        since = datetime.fromtimestamp(holder["started"], UTC).isoformat(timespec="seconds")
        return f"pid {holder['pid']} on host {holder['host']} since {since}"
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        # it took the lock a moment ago and has not written its name yet
        return "another process"


def is_held(folder: Path) -> bool:
    """Whether a process writes to a run directory now. Takes a shared lock for a moment, which `hold_lock` waits out."""
    try:
        handle = os.open(folder / FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _take(handle: int) -> None:
    """The exclusive lock; tried for a moment, since somebody may be looking (`is_held`)."""
    for _ in range(_TRIES - 1):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(_PAUSE_S)
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
