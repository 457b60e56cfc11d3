"""The event log of a run: one JSON object a line, one segment for every process that wrote to the run."""

from __future__ import annotations

import json
import os
import time as clock
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from raybench.core.errors import InternalError
from raybench.store.files import make_folder, storage_errors, sync_folder, write_all
from raybench.store.home import FOLDER, Home
from raybench.store.segments import create_segment, segments

_SEGMENT_BYTES = 1_000_000
"""Of a segment that is put again as it grows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the log."""

    path: Path
    """The segment it stands in."""
    number: int
    """From 1."""
    event: dict[str, Any] | None
    """None where the line is no JSON object."""
    is_torn: bool
    """The last line of a segment without its newline: the writer was killed while writing it."""


class EventLog:
    """Appends to a segment of its own, which is created by the first event.

    Every line reaches the operating system before `append` returns, and the disk with `sync` or at the close. On an object store, where nothing
    can be appended to, the segment is put again every few seconds while it grows, and a new one begins at a megabyte.
    """

    def __init__(self, folder: Path, home: Home = FOLDER, echo: Callable[[str], None] | None = None) -> None:
        self._folder, self._home, self._echo = folder, home, echo
        self._kept = clock.monotonic()
        self._handle: int | None = None
        self._path = folder
        self._is_torn = False

    def __enter__(self) -> EventLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def append(self, event: str, *, time: float, sync: bool = False, **fields: Any) -> None:
        """Write one event.

        Args:
            event: What happened: `commit`, `engine_lost`.
            time: Seconds since the epoch.
            sync: Wait until it is on the disk.
            **fields: JSON values.

        Raises:
            StorageError: when the disk refuses; the next event begins on a line of its own.
        """
        try:
            text = json.dumps({"event": event, "time": time, **fields}, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InternalError(f"event '{event}': its fields are not JSON: {error}.") from error
        data = (text + "\n").encode("utf-8", "backslashreplace")
        if self._echo is not None:
            self._echo(text)
        handle = self._open()
        with storage_errors(self._path, len(data)):
            data = b"\n" + data if self._is_torn else data
            self._is_torn = True
            write_all(handle, data)
            self._is_torn = False
            if sync:
                os.fsync(handle)
        every_s = self._home.keep_every_s
        if every_s is not None and clock.monotonic() - self._kept >= every_s:
            self._kept = clock.monotonic()
            self._home.keep(self._path)
            if self._path.stat().st_size >= _SEGMENT_BYTES:
                os.close(handle)
                self._handle = None

    def close(self) -> None:
        """Make the log durable."""
        if self._handle is None:
            return
        handle, self._handle = self._handle, None
        try:
            with storage_errors(self._path):
                os.fsync(handle)
        finally:
            os.close(handle)
        self._home.keep(self._path)

    def _open(self) -> int:
        if self._handle is None:
            make_folder(self._folder)
            self._path, self._handle = create_segment(self._folder, ".jsonl")
            sync_folder(self._folder)
        return self._handle


def read_lines(folder: Path) -> Iterator[Line]:
    """All lines of all segments, in order, damaged ones included; empty lines are left out."""
    for path in segments(folder, ".jsonl"):
        with path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                if not raw.strip():
                    continue
                try:
                    event = json.loads(raw)
                except ValueError:
                    event = None
                is_whole = isinstance(event, dict) and "event" in event
                yield Line(path=path, number=number, event=event if is_whole else None, is_torn=not raw.endswith(b"\n"))


def read_events(folder: Path) -> Iterator[dict[str, Any]]:
    """The events in order, each with `event` and `time`. Lines that a kill or a full disk cut are left out; `verify` names them."""
    return (line.event for line in read_lines(folder) if line.event is not None)
