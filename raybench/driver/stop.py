"""Ends a run cleanly on a signal: the first asks for a stop, a second one ends at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopFlag:
    """Whether a signal came, and which."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __call__(self) -> bool:
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """130 after SIGINT, 3 after SIGTERM: incomplete, but resumable."""
        return 130 if self.signal == signal.SIGINT else 3


@contextmanager
def stop_on_signals(flag: StopFlag) -> Iterator[None]:
    """Set `flag` on SIGINT or SIGTERM inside the block; on a second one leave the process at once. Only in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if flag.signal is not None:
            os._exit(flag.exit_code)  # what is committed is on the disk
        flag.signal = number

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
