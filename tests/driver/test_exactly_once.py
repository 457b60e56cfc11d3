"""Every question has exactly one answer: what an engine, a pool or a file gets wrong stops the run or withholds the number, and is named."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from raybench.core.errors import InternalError
from raybench.core.pool import Done, Event
from raybench.driver.pool import LocalPool
from raybench.driver.run import run
from raybench.store.compaction import dissolve
from raybench.store.run_dir import RunDir
from raybench.store.shard_mark import ShardMark
from tests.driver.runs import command, content_rows, events_of, fake_config, read_rows, results_of, write_config

TASK, MODEL = "quickstart.choice", "one"
BROKEN = [
    ("TooFew", "given 8 requests and answered 7"),
    ("TooMany", "given 8 requests and answered 9"),
    ("Doubled", r"answered \('choice-\d+', '', 0\) where \('choice-\d+', '', 0\) was asked \(row 1 of the shard\)"),
    ("Reordered", r"was asked \(row 0 of the shard\)"),
    ("Foreign", r"answered \('nobody-asked', '', 0\)"),
    ("Silent", "needs either an output or an error code"),
]


def files_of(path: Path) -> list[str]:
    return sorted(file.name for file in (path / "predictions").rglob("*.parquet"))


# what engines get wrong


@pytest.mark.parametrize(("engine", "message"), BROKEN, ids=[name for name, _ in BROKEN])
def test_an_engine_that_does_not_answer_one_to_one_ends_the_run(engine: str, message: str, tmp_path: Path) -> None:
    config = fake_config(tmp_path / "run", engine={"kind": f"tests.driver.engines:{engine}"})

    with pytest.raises(InternalError, match=message):
        run(config)

    assert files_of(tmp_path / "run") == []
    assert not (tmp_path / "run" / "results.json").exists()


@pytest.mark.ray
@pytest.mark.xdist_group("ray")
def test_an_engine_that_does_not_answer_one_to_one_ends_the_run_also_in_an_actor(ray_cluster: str, tmp_path: Path) -> None:
    config = fake_config(tmp_path / "run", pool="ray", engine={"kind": "tests.driver.engines:Foreign"})

    with pytest.raises(InternalError, match="nobody-asked"):
        run(config)

    assert files_of(tmp_path / "run") == []


def test_the_command_shows_where_and_ends_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    file = write_config(tmp_path, fake_config(tmp_path / "run", engine={"kind": "tests.driver.engines:Reordered"}))

    code = command(monkeypatch, "run", file)

    told = capfd.readouterr().err
    assert code == 1
    assert "Traceback" in told
    assert "raybench.core.errors.InternalError" in told
    assert files_of(tmp_path / "run") == []


def test_a_mistake_in_the_code_of_an_engine_is_no_reason_to_try_again(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        run(fake_config(tmp_path / "run", engine={"kind": "tests.driver.engines:Buggy"}))

    assert len(events_of(tmp_path / "run", "run")) == 1
    assert files_of(tmp_path / "run") == []


# what pools get wrong


class TellsTwice(LocalPool):
    """Delivers every answer twice."""

    def wait(self, timeout_s: float) -> list[Event]:
        return [copy for event in super().wait(timeout_s) for copy in (event, event)]


class MixesUp(LocalPool):
    """Delivers the first answer again under the number of the second shard."""

    first: pa.RecordBatch | None = None

    def wait(self, timeout_s: float) -> list[Event]:
        (event,) = super().wait(timeout_s)
        if not isinstance(event, Done):
            return [event]
        if self.first is None:
            self.first = event.batch
            return [event]
        return [Done(engine=event.engine, shard=event.shard, batch=self.first, measured=event.measured)]


def test_an_answer_that_is_delivered_twice_is_committed_once(tmp_path: Path) -> None:
    run(fake_config(tmp_path / "plain"))

    report = run(fake_config(tmp_path / "run"), pool=TellsTwice())

    assert report.exit_code == 0
    assert Counter(event["shard"] for event in events_of(tmp_path / "run", "commit")) == dict.fromkeys(range(6), 1)
    assert content_rows(tmp_path / "run") == content_rows(tmp_path / "plain")


def test_an_answer_of_another_shard_is_not_committed(tmp_path: Path) -> None:
    with pytest.raises(InternalError, match="keys are not the 8 that were asked for"):
        run(fake_config(tmp_path / "run"), pool=MixesUp())

    assert len(files_of(tmp_path / "run")) == 1


# what files get wrong


@pytest.fixture
def complete(tmp_path: Path) -> Path:
    """A complete run of 6 shards of 8 samples."""
    assert run(fake_config(tmp_path / "run")).exit_code == 0
    return tmp_path / "run"


def tamper(path: Path, shard: int, change: Callable[[pa.RecordBatch], pa.RecordBatch] | None) -> None:
    """Put other rows in the place of a shard's, with a footer and digests that fit them; None: put nothing there."""
    store = RunDir.open(path)
    with store.lock(started=0.0):
        files = store.shard_files(TASK, MODEL)
        dissolve(files, path / "damaged")
        info = sorted(files.scan().shards.values(), key=lambda info: info.mark.start)[shard]
        name, start, stop = info.mark.fingerprint, info.mark.start, info.mark.stop
        batch = files.read(name)
        files.path(name).unlink()
        if change is not None:
            changed = change(batch)
            files.commit(changed, ShardMark.of(changed, fingerprint=name, start=start, stop=stop))


def rename(batch: pa.RecordBatch, row: int, sample_id: str) -> pa.RecordBatch:
    names = batch.column("sample_id").to_pylist()
    names[row] = sample_id
    return batch.set_column(0, batch.schema.field(0), pa.array(names, pa.string()))


def withheld(path: Path) -> list[str | None]:
    """Why each result has no number, after checking that none has one in spite of it."""
    results: list[dict[str, Any]] = json.loads(results_of(path))["results"]
    assert all((result["value"] is None) == (result["withheld"] is not None) for result in results)
    return [result["withheld"] for result in results]


CHANGES = {
    "missing": (lambda b: b.slice(1), "1 missing: ('choice-009', '', 0)"),
    "doubled": (lambda b: b.take([0, 0, *range(1, 8)]), "1 doubled: ('choice-009', '', 0)"),
    "missing and doubled": (
        lambda b: b.take([0, 0, *range(2, 8)]),
        "1 missing: ('choice-010', '', 0); 1 doubled: ('choice-009', '', 0)",
    ),
    "foreign": (
        lambda b: rename(b, 2, "nobody-asked"),
        "1 missing: ('choice-011', '', 0); 1 foreign: ('nobody-asked', '', 0)",
    ),
    "of another shard": (lambda b: rename(b, 7, "choice-001"), "1 missing: ('choice-016', '', 0); 1 foreign: ('choice-001', '', 0)"),
    "out of order": (lambda b: b.take([1, 0, *range(2, 8)]), "the rows are not in the order of the plan"),
}


@pytest.mark.parametrize("what", list(CHANGES))
def test_numbers_are_withheld_and_the_keys_named_that_are(
    what: str, complete: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    change, reason = CHANGES[what]
    tamper(complete, 1, change)

    code = command(monkeypatch, "score", complete)

    assert code == 3
    assert withheld(complete) == [reason, reason]
    assert reason.partition(":")[0] in " ".join(capfd.readouterr().out.split())


def test_numbers_are_withheld_while_a_shard_is_missing(complete: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tamper(complete, 4, None)

    code = command(monkeypatch, "score", complete)

    assert code == 3
    reason = "8 of 48 samples have no answer yet (1 of 6 shards), the first: choice-033, choice-034, choice-035"
    assert withheld(complete) == [reason, reason]


def test_a_missing_shard_is_computed_by_the_same_command(complete: Path) -> None:
    rows, results = content_rows(complete), results_of(complete)
    tamper(complete, 4, None)

    report = run(fake_config(complete))

    assert report.exit_code == 0
    assert [event["shard"] for event in events_of(complete, "run", segment=1)] == [4]
    assert (content_rows(complete), results_of(complete)) == (rows, results)


def test_other_tasks_keep_their_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = [{"name": "quickstart/choice", "limit": 48, "shard_size": 8}, {"name": "quickstart/prose", "limit": 8}]
    run(fake_config(tmp_path / "run", tasks=tasks))
    tamper(tmp_path / "run", 0, lambda b: b.slice(1))

    assert command(monkeypatch, "score", tmp_path / "run") == 3

    assert [reason is None for reason in withheld(tmp_path / "run")] == [False, False, True, True, True]


def test_a_shard_of_another_plan_counts_for_nothing(complete: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = results_of(complete)
    store = RunDir.open(complete)
    with store.lock(started=0.0):
        batch = next(store.iterate(TASK, MODEL, [next(iter(store.scan(TASK, MODEL).shards))]))
        store.commit(TASK, MODEL, batch, ShardMark.of(batch, fingerprint="f" * 32, start=0, stop=8))

    assert command(monkeypatch, "score", complete) == 0

    assert results_of(complete) == results


def test_rows_that_rotted_on_the_disk_are_withheld_and_computed_anew_by_the_same_command(complete: Path) -> None:
    rows, results = content_rows(complete), results_of(complete)
    (file,) = (complete / "predictions").rglob("*.parquet")
    data = bytearray(file.read_bytes())
    data[data.index(b"choice-0")] ^= 1  # in a page, not in the footer
    file.write_bytes(data)

    reports = [run(fake_config(complete)) for _ in range(2)]

    assert [report.exit_code for report in reports] == [3, 0]
    assert "computed anew" in reports[0].problems[0]
    assert (content_rows(complete), results_of(complete)) == (rows, results)
    assert len(read_rows(complete)) == 48
