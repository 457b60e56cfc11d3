from __future__ import annotations

import io

import pytest
from rich.console import Console

from raybench.report import Progress


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_without_a_terminal_there_is_a_line_at_most_every_ten_seconds_and_one_at_the_end() -> None:
    clock, stream = Clock(), io.StringIO()

    with Progress(stream, 1000, clock) as progress:
        progress.update(engines=2)
        for _ in range(25):
            clock.now += 1
            progress.update(done_samples=round(clock.now - 1000) * 10)

    assert stream.getvalue().splitlines() == [
        "0/1000 samples (0 %), 0.0 samples/s, 2 engines",
        "100/1000 samples (10 %), 10.0 samples/s, 2 engines, 1:30 left",
        "200/1000 samples (20 %), 10.0 samples/s, 2 engines, 1:20 left",
        "250/1000 samples (25 %), 10.0 samples/s, 2 engines",
    ]


def test_samples_of_an_earlier_start_are_no_speed() -> None:
    clock, stream = Clock(), io.StringIO()

    with Progress(stream, 1000, clock, done_samples=900) as progress:
        clock.now += 10
        progress.update(done_samples=910, engines=1)

    assert stream.getvalue().splitlines()[0] == "910/1000 samples (91 %), 1.0 samples/s, 1 engine, 1:30 left"


def test_the_speed_is_that_of_the_last_minute() -> None:
    clock, stream = Clock(), io.StringIO()

    with Progress(stream, 10_000, clock) as progress:
        for done in (0, 600, 6600):  # 10 a second for a minute, then 100 a second
            progress.update(done_samples=done, engines=1)
            clock.now += 60

    assert stream.getvalue().splitlines()[-1] == "6600/10000 samples (66 %), 100.0 samples/s, 1 engine"


def test_events_are_printed_at_once_and_harmless() -> None:
    stream = io.StringIO()

    with Progress(stream, 10, Clock()) as progress:
        progress.note("engine 3 lost: \x1b[2J[red]node\x07 gone, " + "x" * 200)

        assert stream.getvalue() == "engine 3 lost: [red]node gone, " + "x" * 200 + "\n"


def test_a_run_that_breaks_off_says_how_far_it_came() -> None:
    stream = io.StringIO()

    with pytest.raises(KeyboardInterrupt), Progress(stream, 10, Clock(), done_samples=5):
        raise KeyboardInterrupt

    assert stream.getvalue() == "stopped at 5/10 samples (50 %), 0.0 samples/s, 0 engines\n"


def test_a_plan_without_samples_is_finished() -> None:
    stream = io.StringIO()

    with Progress(stream, 0, Clock()):
        pass

    assert stream.getvalue() == "0/0 samples (100 %), 0.0 samples/s, 0 engines\n"


def test_on_a_terminal_at_most_eight_active_tasks_are_drawn() -> None:
    clock, stream = Clock(), io.StringIO()
    console = Console(file=stream, force_terminal=True, width=100, color_system=None, _environ={"TERM": "xterm"})

    with Progress(console, 100, clock) as progress:
        progress.update(done_samples=1, engines=1, active=[(f"model-{i} [b]task", i, 10) for i in range(11)])
        drawn = stream.getvalue()
        progress.note("shard 7: second attempt")

    assert "model-7 [b]task" in drawn
    assert "7/10" in drawn
    assert "model-8" not in drawn
    assert "and 3 more" in drawn
    assert "━" in drawn
    assert drawn.splitlines()[-1].startswith("1/100 samples (1 %), 0.0 samples/s, 1 engine")  # not behind the bar
    assert "shard 7: second attempt" in stream.getvalue()
    assert stream.getvalue().endswith("1/100 samples (1 %), 0.0 samples/s, 1 engine\n")


def test_the_display_is_not_redrawn_more_often_than_ten_times_a_second() -> None:
    clock, stream = Clock(), io.StringIO()
    console = Console(file=stream, force_terminal=True, width=100, color_system=None, _environ={"TERM": "xterm"})

    with Progress(console, 100, clock) as progress:
        progress.update(done_samples=1)
        before = stream.getvalue()
        clock.now += 0.05
        progress.update(done_samples=2)

        assert stream.getvalue() == before
