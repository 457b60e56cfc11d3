"""Whatever breaks, the run goes on with what is left, says what it gave up, ends with the exit code for it, and can be resumed.

Faults are played by the fake engine and the engines of these tests; `choice-020` lies in the third of the six shards.
"""

from __future__ import annotations

import json
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from raybench.core.errors import CheckpointError
from raybench.driver.run import Report, run
from tests.driver.runs import Together, command, content_rows, events_of, fake_config, finish, read_rows, results_of, start, write_config

SAMPLE, SHARD = "choice-020", 2
in_ray = pytest.mark.ray, pytest.mark.xdist_group("ray")


@pytest.fixture(params=["local", pytest.param("ray", marks=in_ray)])
def pool(request: pytest.FixtureRequest) -> str:
    """Both pools; in Ray with two engines."""
    if request.param == "ray":
        request.getfixturevalue("ray_cluster")
    return str(request.param)


@pytest.fixture
def complete(tmp_path: Path) -> Path:
    """The same run without a fault."""
    assert run(fake_config(tmp_path / "complete")).exit_code == 0
    return tmp_path / "complete"


def evaluate(path: Path, pool: str, **changes: Any) -> Report:
    return run(fake_config(path, pool=pool, resources={"engines": 2 if pool == "ray" else 1}, **changes))


def play(kind: str, sample_id: str | None = SAMPLE, **more: Any) -> dict[str, Any]:
    return {"faults": [{"kind": kind, "sample_id": sample_id, **more}]}


def committed(path: Path) -> set[int]:
    return {event["shard"] for event in events_of(path, "commit")}


def assert_same(path: Path, other: Path) -> None:
    assert content_rows(path) == content_rows(other)
    assert results_of(path) == results_of(other)


# faults that pass


def once(folder: Path, failure: str) -> dict[str, Any]:
    return {"kind": "tests.driver.engines:Once", "marker": str(folder / "marker"), "sample_id": SAMPLE, "failure": failure}


def assert_second_try_counts(path: Path, complete: Path) -> None:
    retries = events_of(path, "retry")
    assert [event["shard"] for event in retries] == [SHARD], retries
    assert [event["attempt"] for event in events_of(path, "commit") if event["shard"] == SHARD] == [2]
    assert Counter(event["shard"] for event in events_of(path, "commit")) == dict.fromkeys(range(6), 1)
    assert content_rows(path) == content_rows(complete)


def test_a_shard_that_fails_once_is_tried_again(pool: str, complete: Path, tmp_path: Path) -> None:
    report = evaluate(tmp_path / "run", pool, engine=once(tmp_path, "raise"))

    assert report.exit_code == 0
    assert events_of(tmp_path / "run", "engine_lost") == []
    assert_second_try_counts(tmp_path / "run", complete)


@pytest.mark.ray
@pytest.mark.xdist_group("ray")
def test_the_shard_of_a_killed_process_is_tried_again(ray_cluster: str, complete: Path, tmp_path: Path) -> None:
    report = evaluate(tmp_path / "run", "ray", engine=once(tmp_path, "SIGKILL"))

    assert report.exit_code == 0
    assert len(events_of(tmp_path / "run", "engine_lost")) == 1
    assert_second_try_counts(tmp_path / "run", complete)


@pytest.mark.ray
@pytest.mark.xdist_group("ray")
def test_the_shard_of_a_frozen_process_is_tried_again(ray_cluster: str, complete: Path, tmp_path: Path) -> None:
    # one engine, since a second one would soon run a copy of the shard
    report = run(fake_config(tmp_path / "run", pool="ray", engine=once(tmp_path, "SIGSTOP"), resources={"engines": 1}, stall_timeout_s=2.0))

    assert report.exit_code == 0
    assert len(events_of(tmp_path / "run", "engine_stalled")) == 1
    assert_second_try_counts(tmp_path / "run", complete)


# faults that stay


@pytest.mark.parametrize("kind", ["raise", "dead"])
def test_a_shard_that_always_fails_is_given_up_and_the_others_are_committed(kind: str, pool: str, complete: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"

    report = evaluate(path, pool, engine=play(kind))

    assert report.exit_code == 3
    assert report.problems == (
        f"1 of 6 shards were given up: the fake engine plays '{kind}' for sample '{SAMPLE}'; the same command tries them again",
    )
    (given_up,) = events_of(path, "gave_up")
    assert (given_up["shard"], given_up["message"].startswith("shard 2: given up after 3 tries: ")) == (SHARD, True)
    assert [event["attempt"] for event in events_of(path, "run") if event["shard"] == SHARD] == [1, 2, 3]
    assert committed(path) == {0, 1, 3, 4, 5}
    assert len(events_of(path, "engine_lost")) == (3 if kind == "dead" else 0)
    reason = "8 of 48 samples have no answer yet (1 of 6 shards), the first: choice-017, choice-018, choice-019"
    assert [result["withheld"] for result in json.loads(results_of(path))["results"]] == [reason, reason]

    again = evaluate(path, pool)

    assert (again.exit_code, again.num_resumed) == (0, 40)
    assert_same(path, complete)


@pytest.mark.ray
@pytest.mark.xdist_group("ray")
@pytest.mark.parametrize("kind", ["exit", "kill"])
def test_a_shard_that_ends_every_process_is_given_up_and_the_others_are_committed(
    kind: str, ray_cluster: str, complete: Path, tmp_path: Path
) -> None:
    path = tmp_path / "run"

    report = evaluate(path, "ray", engine=play(kind))

    assert report.exit_code == 3
    assert "ActorDiedError" in report.problems[0]
    assert len(events_of(path, "engine_lost")) == 3
    assert committed(path) == {0, 1, 3, 4, 5}

    again = evaluate(path, "ray")

    assert (again.exit_code, again.num_resumed) == (0, 40)
    assert_same(path, complete)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "exit_code"), [("exit", 1), ("kill", -signal.SIGKILL)])
def test_a_fault_that_ends_the_one_process_there_is_leaves_what_was_committed(
    kind: str, exit_code: int, complete: Path, tmp_path: Path
) -> None:
    path = tmp_path / "run"
    file = write_config(tmp_path, fake_config(path, engine=play(kind)))

    code, _ = finish(start("run", file))

    assert code == exit_code
    before = {row["sample_id"] for row in read_rows(path)}
    assert SAMPLE not in before

    again = evaluate(path, "local")

    assert (again.exit_code, again.num_resumed) == (0, len(before))
    assert_same(path, complete)


@pytest.mark.ray
@pytest.mark.xdist_group("ray")
def test_an_engine_that_hangs_is_replaced(ray_cluster: str, complete: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"

    report = evaluate(path, "ray", max_attempts=2, stall_timeout_s=2.0, engine=play("hang"))

    assert report.exit_code == 3
    assert "no progress for 2 s on shard 2" in report.problems[0]
    assert len(events_of(path, "engine_stalled")) == 2
    assert committed(path) == {0, 1, 3, 4, 5}

    again = evaluate(path, "ray")

    assert again.exit_code == 0
    assert_same(path, complete)


@pytest.mark.ray
@pytest.mark.xdist_group("ray")
def test_an_idle_engine_runs_a_copy_of_what_another_hangs_at(ray_cluster: str, complete: Path, tmp_path: Path) -> None:
    report = run(
        fake_config(tmp_path / "run", pool="ray", engine=once(tmp_path, "SIGSTOP"), resources={"engines": 2}), pool=Together(2)
    )  # with the patience of 15 minutes that is the default

    assert report.exit_code == 0
    assert [event["shard"] for event in events_of(tmp_path / "run", "tail_copy")] == [SHARD]
    assert events_of(tmp_path / "run", "engine_stalled") == []
    assert content_rows(tmp_path / "run") == content_rows(complete)


def test_engines_that_can_never_be_made_end_the_run(pool: str, tmp_path: Path) -> None:
    report = evaluate(tmp_path / "run", pool, engine={"kind": "tests.driver.engines:NoRoom"})

    assert report.exit_code == 3
    assert "6 of 6 shards were given up" in report.problems[0]
    assert "no memory for the weights" in report.problems[0]
    assert committed(tmp_path / "run") == set()


# broken checkpoints

SEVERAL = [{"checkpoint": name} for name in ("good", "bad", "fine")]


def test_one_checkpoint_that_is_missing_ends_the_command_before_any_engine_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    config = fake_config(tmp_path / "run", models=[{"checkpoint": "./nowhere"}], engine={"kind": "pytorch"})

    code = command(monkeypatch, "run", write_config(tmp_path, config))

    assert code == 2
    assert "checkpoint ./nowhere: no such file or folder" in capfd.readouterr().err
    assert not (tmp_path / "run" / "manifest.json").exists()


def test_one_checkpoint_that_cannot_be_loaded_ends_the_run(pool: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="checkpoint 'bad': broken") as broken:
        evaluate(tmp_path / "run", pool, models=[{"checkpoint": "bad"}], engine={"broken": ["bad"]})

    assert broken.value.exit_code == 2
    assert committed(tmp_path / "run") == set()


def test_one_of_several_checkpoints_that_cannot_be_loaded_is_a_failed_row(pool: str, tmp_path: Path) -> None:
    path = tmp_path / "run"

    report = evaluate(path, pool, models=SEVERAL, engine={"broken": ["bad"]})

    assert report.exit_code == 4
    assert list(report.results.failed_models) == ["bad"]
    assert report.problems[0].startswith("bad: checkpoint 'bad': broken")
    assert Counter(row["model"] for row in read_rows(path)) == {"good": 48, "fine": 48}
    assert {result.model for result in report.results.results if result.estimate.value is not None} == {"good", "fine"}

    again = evaluate(path, pool, models=SEVERAL)  # mended

    assert (again.exit_code, again.num_resumed) == (0, 96)
    assert again.results.failed_models == {}


def test_one_of_several_checkpoints_that_is_missing_is_a_failed_row(tiny_llama: Path, tmp_path: Path) -> None:
    models = [{"checkpoint": str(tiny_llama), "engine": {"kind": "fake"}}, {"checkpoint": "./nowhere", "engine": {"kind": "pytorch"}}]

    report = evaluate(tmp_path / "run", "local", models=models)

    assert report.exit_code == 4
    assert list(report.results.failed_models) == ["nowhere"]
    assert {row["model"] for row in read_rows(tmp_path / "run")} == {"tiny-llama"}


def test_the_policy_can_be_to_fail_also_for_several(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="checkpoint 'bad': broken"):
        evaluate(tmp_path / "run", "local", models=SEVERAL, engine={"broken": ["bad"]}, on_broken_checkpoint="fail")


def test_the_policy_can_be_to_skip_also_for_one(tmp_path: Path) -> None:
    report = evaluate(tmp_path / "run", "local", models=[{"checkpoint": "bad"}], engine={"broken": ["bad"]}, on_broken_checkpoint="skip")

    assert (report.exit_code, list(report.results.failed_models)) == (4, ["bad"])


# rows that fail

ROWS = {"faults": [{"kind": "row", "sample_id": f"choice-{i:03}"} for i in (3, 20, 41)]}


@pytest.mark.parametrize(
    ("allowed", "exit_code"),
    [
        (0, 4),  # the default
        (2, 4),
        (3, 0),
        (0.05, 4),  # 2.4 of 48
        (0.0625, 0),  # 3 of 48
    ],
)
def test_more_error_rows_than_allowed_end_with_4(allowed: float, exit_code: int, tmp_path: Path) -> None:
    report = run(fake_config(tmp_path / "run", max_row_errors=allowed, engine=ROWS))

    assert report.exit_code == exit_code
    assert bool(report.problems) == (exit_code == 4)


def test_an_error_row_is_counted_and_never_scored_as_wrong_in_silence(pool: str, complete: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"

    report = evaluate(path, pool, engine=ROWS)

    assert report.problems == ("one quickstart/choice: 3 error rows, 0 allowed (max_row_errors)",)
    failed = {row["sample_id"]: row["error_code"] for row in read_rows(path) if row["output"] is None}
    assert failed == {"choice-003": "refused", "choice-020": "refused", "choice-041": "refused"}
    others = [row for row in read_rows(complete) if row["sample_id"] not in failed]
    assert [row for row in read_rows(path) if row["output"] is not None] == others
    for result in report.results.results:
        assert (result.estimate.num_samples, result.estimate.num_errors) == (45, 3)
        assert result.estimate.value is not None
        assert result.value_if_errors_wrong == pytest.approx(result.estimate.value * 45 / 48)


def test_rows_that_failed_are_answers_and_not_asked_again(tmp_path: Path) -> None:
    run(fake_config(tmp_path / "run", engine=ROWS))

    report = run(fake_config(tmp_path / "run"))

    assert (report.exit_code, report.num_resumed) == (4, 48)
