from __future__ import annotations

from pathlib import Path

import pytest

from raybench.core.errors import InternalError
from raybench.store.events import EventLog, read_events, read_lines


def test_events_come_back_in_order_over_the_segments_of_several_processes(tmp_path: Path) -> None:
    for start in (0, 10):
        with EventLog(tmp_path / "events") as log:
            log.append("start", time=start + 0.5)
            log.append("commit", time=start + 1.0, sync=True, fingerprint="f\nü", rows=256)

    events = list(read_events(tmp_path / "events"))

    assert [(e["event"], e["time"]) for e in events] == [("start", 0.5), ("commit", 1.0), ("start", 10.5), ("commit", 11.0)]
    assert events[1]["fingerprint"] == "f\nü"
    assert sorted(p.name for p in (tmp_path / "events").iterdir()) == ["000001.jsonl", "000002.jsonl"]


def test_a_log_without_events_leaves_no_file(tmp_path: Path) -> None:
    with EventLog(tmp_path / "events"):
        pass

    assert list(tmp_path.iterdir()) == []
    assert list(read_events(tmp_path / "events")) == []


def test_an_event_can_be_read_while_the_log_is_open(tmp_path: Path) -> None:
    with EventLog(tmp_path) as log:
        log.append("start", time=0.0)

        assert [e["event"] for e in read_events(tmp_path)] == ["start"]


def test_a_line_that_a_kill_cut_is_left_out_and_known_as_torn(tmp_path: Path) -> None:
    with EventLog(tmp_path) as log:
        log.append("start", time=0.0)
        log.append("commit", time=1.0)
    segment = tmp_path / "000001.jsonl"
    segment.write_bytes(segment.read_bytes()[:-7])

    assert [e["event"] for e in read_events(tmp_path)] == ["start"]
    assert [(line.number, line.is_torn) for line in read_lines(tmp_path) if line.event is None] == [(2, True)]


def test_what_is_not_json_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with EventLog(tmp_path) as log, pytest.raises(InternalError, match="event 'progress'"):
        log.append("progress", time=0.0, value=float("inf"))

    assert list(tmp_path.iterdir()) == []


def test_segments_are_ordered_as_numbers(tmp_path: Path) -> None:
    for name in ("1000000", "999999"):
        (tmp_path / f"{name}.jsonl").write_text(f'{{"event": "{name}", "time": 0}}\n')

    assert [e["event"] for e in read_events(tmp_path)] == ["999999", "1000000"]
