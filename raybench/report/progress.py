"""How far a run is, on stderr: a live display on a terminal, otherwise a plain line now and then."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table as RichTable
from rich.text import Text

from raybench.report.plain import plain

MAX_ACTIVE = 8
"""Lines of model-task pairs that are shown at once."""
LINE_EVERY_S = 10.0
"""Least time between two lines where there is no terminal."""
_REFRESH_EVERY_S = 0.1
_WINDOW_S = 60.0
"""The speed is that of the last minute: an average over the whole run would carry the start of the engines in it for hours."""


class Progress:
    """Shows the state that it was last told. A context manager; called from one thread; starts none.

    Args:
        stream: A text stream, normally sys.stderr, or a rich Console made by the caller.
        total_samples: Samples of the plan.
        clock: Seconds that never go back, such as time.monotonic.
        done_samples: Samples that an earlier start of the run has left; they do not count as speed.
    """

    def __init__(self, stream: Console | TextIO, total_samples: int, clock: Callable[[], float], *, done_samples: int = 0) -> None:
        self._console = stream if isinstance(stream, Console) else Console(file=stream, force_terminal=stream.isatty(), highlight=False)
        self._total = total_samples
        self._clock = clock
        self._done = done_samples
        self._engines = 0
        self._active: Sequence[tuple[str, int, int]] = ()
        self._marks: deque[tuple[float, int]] = deque([(clock(), done_samples)])
        self._shown: float | None = None
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            # stdout is for results and stays untouched; stderr is redirected so that log lines come above the display
            self._live = Live(console=self._console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=True)
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
        self._print(self._line(is_last=True) if kind is None else f"stopped at {self._line(is_last=True)}")

    def update(
        self, *, done_samples: int | None = None, engines: int | None = None, active: Sequence[tuple[str, int, int]] | None = None
    ) -> None:
        """Take over what changed; None leaves it as it was.

        Args:
            done_samples: All samples that are committed, with those of earlier starts.
            engines: Engines that are alive.
            active: (label, done, total) in samples of each model-task pair that is being worked on.
        """
        now = self._clock()
        self._done = self._done if done_samples is None else done_samples
        self._engines = self._engines if engines is None else engines
        self._active = self._active if active is None else tuple(active)
        if done_samples is not None:
            self._marks.append((now, done_samples))
            while len(self._marks) > 2 and self._marks[1][0] <= now - _WINDOW_S:
                self._marks.popleft()
        every = LINE_EVERY_S if self._live is None else _REFRESH_EVERY_S
        if self._shown is not None and now - self._shown < every:
            return
        self._shown = now
        if self._live is None:
            self._print(self._line())
        else:
            self._live.update(self._display(), refresh=True)

    def note(self, text: str) -> None:
        """Print an event (a retry, a lost engine) at once, above the display."""
        self._print(plain(text))

    def _print(self, text: str) -> None:
        # soft_wrap: a log line stays one line, whatever the width that rich assumes
        self._console.print(Text(text), soft_wrap=True)

    def _rate(self) -> float:
        """Samples a second over the last minute; 0 while nothing is known."""
        (start, before), (stop, after) = self._marks[0], self._marks[-1]
        return (after - before) / (stop - start) if stop > start else 0.0

    def _line(self, *, is_last: bool = False) -> str:
        percent = 100 * self._done // self._total if self._total else 100
        engines = f"{self._engines} engine{'' if self._engines == 1 else 's'}"
        left = max(self._total - self._done, 0)
        rate = self._rate()
        eta = f", {_duration(left / rate)} left" if rate > 0 and left and not is_last else ""
        return f"{self._done}/{self._total} samples ({percent} %), {rate:.1f} samples/s, {engines}{eta}"

    def _display(self) -> Group:
        lines = RichTable.grid(padding=(0, 1))
        for label, done, total in self._active[:MAX_ACTIVE]:
            name = Text(plain(label), overflow="ellipsis", no_wrap=True)
            lines.add_row(name, ProgressBar(total=max(total, 1), completed=done, width=20), Text(f"{done}/{total}"))
        hidden = len(self._active) - MAX_ACTIVE
        more = [Text(f"and {hidden} more", style="dim")] if hidden > 0 else []
        whole = RichTable.grid()  # a bar alone ends no line
        whole.add_row(ProgressBar(total=max(self._total, 1), completed=self._done, width=40))
        whole.add_row(Text(self._line(), no_wrap=True, overflow="ellipsis"))
        return Group(lines, *more, whole)


def _duration(seconds: float) -> str:
    """`1:05` or `2:03:09`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
