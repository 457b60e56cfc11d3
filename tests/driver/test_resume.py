"""The same command again does what is left and nothing else, from wherever the run ended; another plan is refused, shown, or begun afresh."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from raybench.core.config import RunConfig
from raybench.core.errors import RunError
from raybench.driver.run import run
from raybench.store.run_dir import RunDir
from raybench.store.shard_mark import ShardMark
from tests.driver.runs import PowerCut, PowerCutError, command, content_rows, events_of, fake_config, results_of, write_config

NUM_SHARDS = 6


@pytest.fixture
def complete(tmp_path: Path) -> Path:
    """A complete run."""
    assert run(fake_config(tmp_path / "run")).exit_code == 0
    return tmp_path / "run"


# the same command


@pytest.mark.parametrize("num_committed", range(NUM_SHARDS))
def test_a_run_that_ended_anywhere_is_completed_by_the_same_command(num_committed: int, complete: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut"
    with pytest.raises(PowerCutError):
        run(fake_config(path), pool=PowerCut(num_committed))

    report = run(fake_config(path))

    assert (report.exit_code, report.num_resumed) == (0, 8 * num_committed)
    assert Counter(event["shard"] for event in events_of(path, "commit")) == dict.fromkeys(range(NUM_SHARDS), 1)
    assert len(events_of(path, "run", segment=-1)) == NUM_SHARDS - num_committed
    assert (content_rows(path), results_of(path)) == (content_rows(complete), results_of(complete))


def test_a_run_that_ends_at_every_step_still_arrives(complete: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut"
    for _ in range(NUM_SHARDS - 1):
        with pytest.raises(PowerCutError):
            run(fake_config(path), pool=PowerCut(1))

    report = run(fake_config(path))

    assert report.exit_code == 0
    assert len(events_of(path, "begin")) == NUM_SHARDS
    assert Counter(event["shard"] for event in events_of(path, "commit")) == dict.fromkeys(range(NUM_SHARDS), 1)
    assert (content_rows(path), results_of(path)) == (content_rows(complete), results_of(complete))


def test_a_complete_run_starts_no_engine_again(complete: Path) -> None:
    rows, results = content_rows(complete), results_of(complete)

    report = run(fake_config(complete))

    assert (report.exit_code, report.num_resumed) == (0, 48)
    assert [event["event"] for event in events_of(complete, segment=1)] == ["begin", "end"]
    assert (content_rows(complete), results_of(complete)) == (rows, results)


@pytest.mark.parametrize(
    "changes",
    [
        {"engine": {"shard_s": 0.001, "concurrency": 2, "faults": [{"kind": "raise", "sample_id": "none"}]}},
        {"resources": {"engines": 3, "cpus_per_engine": 0.5}},
        {"max_attempts": 7, "stall_timeout_s": 5.0, "max_row_errors": 3},
    ],
    ids=["what only takes time", "resources", "patience"],
)
def test_what_changes_no_number_changes_no_plan(changes: dict[str, Any], complete: Path) -> None:
    report = run(fake_config(complete, **changes))

    assert (report.exit_code, report.num_resumed) == (0, 48)


# another plan


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"engine": {"num_characters": 8}}, "pairs[0].identity.engine.num_characters: 24 -> 8"),
        ({"engine": {"dtype": "float16"}}, 'pairs[0].identity.engine.dtype: "float32" -> "float16"'),
        ({"tasks": [{"name": "quickstart/choice", "limit": 40, "shard_size": 8}]}, "limit: 48 -> 40"),
        ({"tasks": [{"name": "quickstart/choice", "limit": 48, "shard_size": 4}]}, "shard_size: 8 -> 4"),
        ({"tasks": [{"name": "quickstart/choice", "limit": 48, "shard_size": 8, "shots": 1}]}, "shots: 0 -> 1"),
        ({"tasks": [{"name": "quickstart/prose"}]}, 'pairs[0].task: "quickstart/choice" -> "quickstart/prose"'),
    ],
    ids=["engine option", "dtype", "limit", "shard size", "shots", "task"],
)
def test_another_plan_is_refused_with_the_fields_that_differ(changes: dict[str, Any], told: str, complete: Path) -> None:
    rows, results = content_rows(complete), results_of(complete)

    with pytest.raises(RunError) as refused:
        run(fake_config(complete, **changes))

    assert f"  {told}\n" in refused.value.message
    assert "--new" in refused.value.message
    assert (content_rows(complete), results_of(complete)) == (rows, results)


def test_the_command_refuses_another_plan_with_2(
    complete: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    file = write_config(complete.parent, fake_config(complete))

    code = command(monkeypatch, "run", file, "--set", "engine.num_characters=8")

    assert code == 2
    assert "engine.num_characters: 24 -> 8" in capfd.readouterr().err


def test_new_begins_afresh_and_deletes_nothing(complete: Path) -> None:
    rows, results = content_rows(complete), results_of(complete)

    report = run(fake_config(complete, engine={"num_characters": 8}), new=True)

    old = complete.with_name("run.old-1")
    assert (report.exit_code, report.num_resumed) == (0, 0)
    assert len(events_of(complete, "run")) == NUM_SHARDS
    assert (content_rows(old), results_of(old)) == (rows, results)


def test_new_twice_keeps_both(complete: Path) -> None:
    for _ in range(2):
        run(fake_config(complete), new=True)

    assert {path.name for path in complete.parent.glob("run*")} == {"run", "run.old-1", "run.old-2"}


def test_new_leaves_a_run_that_is_at_work_alone(complete: Path) -> None:
    with RunDir.open(complete).lock(started=0.0), pytest.raises(RunError, match="in use by"):
        run(fake_config(complete), new=True)

    assert [path.name for path in complete.parent.glob("run*")] == ["run"]


def test_new_leaves_a_folder_alone_that_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter-1.tex").touch()

    with pytest.raises(RunError, match=r"not a run directory and not empty: it holds 'chapter-1.tex'"):
        run(fake_config(tmp_path / "thesis"), new=True)

    assert (tmp_path / "thesis" / "chapter-1.tex").exists()


# shards of other runs


def without_limit(output: Path) -> RunConfig:
    """All 160 questions: 20 shards, of which the limited run has the first 6."""
    return fake_config(output, tasks=[{"name": "quickstart/choice", "shard_size": 8}])


def test_a_lifted_limit_takes_over_whole_shards_and_asks_only_the_rest(complete: Path, tmp_path: Path) -> None:
    run(without_limit(tmp_path / "straight"))

    report = run(without_limit(tmp_path / "lifted"), reuse=[complete])

    assert (report.exit_code, report.num_resumed) == (0, 48)
    assert sorted(event["shard"] for event in events_of(tmp_path / "lifted", "run")) == list(range(6, 20))
    assert content_rows(tmp_path / "lifted") == content_rows(tmp_path / "straight")
    assert results_of(tmp_path / "lifted") == results_of(tmp_path / "straight")


def test_a_shard_that_the_limit_cut_is_asked_again(tmp_path: Path) -> None:
    run(fake_config(tmp_path / "limited", tasks=[{"name": "quickstart/choice", "limit": 20, "shard_size": 8}]))

    report = run(without_limit(tmp_path / "lifted"), reuse=[tmp_path / "limited"])

    assert report.num_resumed == 16
    assert sorted(event["shard"] for event in events_of(tmp_path / "lifted", "run")) == list(range(2, 20))


@pytest.mark.parametrize("name", ["run", "run/", "run.old-1"])
def test_new_and_reuse_together_keep_what_is_equal(complete: Path, name: str) -> None:
    report = run(without_limit(complete), new=True, reuse=[f"{complete.parent}/{name}"])

    assert (report.exit_code, report.num_resumed) == (0, 48)
    assert len(events_of(complete, "run")) == 14


def test_shards_under_another_fingerprint_are_not_taken_over(complete: Path, tmp_path: Path) -> None:
    report = run(fake_config(tmp_path / "other", engine={"num_characters": 8}), reuse=[complete])

    assert report.num_resumed == 0


def test_several_runs_can_give_their_shards(tmp_path: Path) -> None:
    outputs = [tmp_path / str(step) for step in (1, 2)]
    for step, output in enumerate(outputs, 1):
        with pytest.raises(PowerCutError):
            run(fake_config(output), pool=PowerCut(step))

    report = run(fake_config(tmp_path / "run"), reuse=outputs)

    assert (report.exit_code, report.num_resumed) == (0, 16)


@pytest.mark.parametrize("mark", [{"is_budget_halved": True}, {"isolated": ("choice-001",)}], ids=["halved budget", "isolated samples"])
def test_shards_outside_the_promise_are_not_taken_over(mark: dict[str, Any], complete: Path, tmp_path: Path) -> None:
    store, donor = RunDir.open(complete), RunDir(tmp_path / "donor")
    donor.create()
    donor.write_manifest(store.manifest())
    for name, info in store.scan("quickstart.choice", "one").shards.items():
        batch = store.read("quickstart.choice", "one", name)
        extra = mark if info.mark.start == 0 else {}
        donor.commit(
            "quickstart.choice", "one", batch, ShardMark.of(batch, fingerprint=name, start=info.mark.start, stop=info.mark.stop, **extra)
        )

    report = run(fake_config(tmp_path / "taker"), reuse=[donor.path])

    assert report.num_resumed == 40
    assert [event["shard"] for event in events_of(tmp_path / "taker", "run")] == [0]


def test_a_shard_that_rotted_in_the_other_run_is_asked_again(complete: Path, tmp_path: Path) -> None:
    (file,) = (complete / "predictions").rglob("*.parquet")
    data = bytearray(file.read_bytes())
    data[data.index(b"choice-0")] ^= 1  # in a page, not in the footer
    file.write_bytes(data)

    report = run(fake_config(tmp_path / "taker"), reuse=[complete])

    assert report.exit_code == 0
    assert len(events_of(tmp_path / "taker", "run")) == NUM_SHARDS  # they lay in one row group


def test_reuse_of_something_that_is_no_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run directory"):
        run(fake_config(tmp_path / "run"), reuse=[tmp_path / "nothing"])
