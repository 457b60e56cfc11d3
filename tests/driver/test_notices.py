"""What engines have to say beside their answers: shown, logged, and on record where it touches the promise of equal numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from raybench.driver.run import Silent, run
from raybench.store.run_dir import RunDir
from tests.driver.runs import content_rows, events_of, fake_config


class Listener(Silent):
    """Keeps what a user would see."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    @contextmanager
    def watch(self, total: int, done: int) -> Iterator[Listener]:
        yield self


def test_a_lowered_budget_is_on_record_and_is_told(tmp_path: Path) -> None:
    listener = Listener()

    report = run(fake_config(tmp_path / "run", engine={"kind": "tests.driver.engines:Short"}), watch=listener.watch)

    shards = RunDir.open(report.path).scan("quickstart.choice", "one").shards
    marks = sorted((info.mark for info in shards.values()), key=lambda mark: mark.start)
    assert [(m.batch_tokens, m.is_budget_halved) for m in marks] == [(512, True)] + [(1024, False)] * 5
    (event,) = events_of(report.path, "budget_halved")
    assert "memory ran out; computed with engine.batch_tokens 512" in event["message"]
    assert event["message"] in listener.notes


def test_what_an_engine_says_with_every_shard_is_told_once(tmp_path: Path) -> None:
    listener = Listener()

    report = run(fake_config(tmp_path / "run", engine={"kind": "tests.driver.engines:Short"}), watch=listener.watch)

    assert listener.notes.count("one: nothing is shared.") == 1
    assert [e["message"] for e in events_of(report.path, "engine_notice")] == ["one: nothing is shared."]


def test_a_shard_with_a_lowered_budget_is_not_taken_over(tmp_path: Path) -> None:
    first = run(fake_config(tmp_path / "first", engine={"kind": "tests.driver.engines:Short"}))

    second = run(fake_config(tmp_path / "second", engine={"kind": "tests.driver.engines:Short"}), reuse=[first.path])

    assert len(events_of(second.path, "run")) == 1
    assert content_rows(second.path) == content_rows(first.path)
