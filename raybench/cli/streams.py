"""Standard output and standard error that cannot be written: a full disk, a reader that has gone, a stream that is closed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from raybench.core.errors import StorageError


class ReaderGone(Exception):
    """Nobody reads standard output any more (`| head`): there is nothing left to print. No OSError, since click ends the process at a broken pipe."""


@contextmanager
def telling_streams() -> Iterator[None]:
    """Inside the block, standard output that cannot be written raises a StorageError, or ReaderGone, wherever something is printed.

    What standard error refuses is lost: progress and messages are not worth a run, and there is nowhere to complain.
    """
    output, error = sys.stdout, sys.stderr
    sys.stdout = cast(TextIO, _Stream(output or _refusing(), is_output=True))
    sys.stderr = cast(TextIO, _Stream(error or _refusing(), is_output=False))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = output, error


def _refusing() -> TextIO:
    """In place of a stream that is closed, which Python calls None: its number would go to the next file that is opened."""
    return os.fdopen(os.open(os.devnull, os.O_RDONLY), "w")


class _Stream:
    """A stream of text whose refusals can be told from those of other files. What it has refused once it refuses for good."""

    def __init__(self, stream: TextIO, *, is_output: bool) -> None:
        self._stream, self._is_output = stream, is_output
        self._refusal: OSError | None = None

    def write(self, text: str) -> int:
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, action: Callable[[], object]) -> None:
        if self._refusal is None:
            try:
                action()
            except OSError as error:
                self._refusal = error
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())  # Python writes what is left once more when it exits
        if self._refusal is None or not self._is_output:
            return
        if isinstance(self._refusal, BrokenPipeError):
            raise ReaderGone from self._refusal
        raise StorageError(
            f"standard output: cannot be written: {self._refusal.strerror}. Make room there or send it elsewhere, then run the same command again."
        ) from self._refusal

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
