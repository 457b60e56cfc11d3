"""`raybench score`: numbers again, from what is stored."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from raybench.store.run_dir import RunDir

Call = Callable[..., Any]


def test_the_numbers_are_those_of_the_run(config: Path, call: Call) -> None:
    printed = call("run", config).out
    before = Path("runs/small/results.json").read_bytes()

    said = call("score", "runs/small")

    assert (said.code, said.out) == (0, printed)
    assert Path("runs/small/results.json").read_bytes() == before
    assert json.loads(call("score", "runs/small", "--json").out)


def test_a_missing_shard_withholds_the_number_and_ends_with_3(done: Path, call: Call) -> None:
    next((done / "predictions" / "quickstart.choice").rglob("*.parquet")).unlink()

    said = call("score", done)

    assert said.code == 3
    assert "12 of 12 samples have no answer yet" in said.out
    assert "exact_match" in said.out


def test_lost_score_tables_are_written_again(done: Path, call: Call) -> None:
    file = next((done / "scores").rglob("*.parquet"))
    before = RunDir(done).scores(file.parent.name, file.stem)
    file.unlink()

    assert call("score", done).code == 0
    assert RunDir(done).scores(file.parent.name, file.stem).equals(before)


def test_a_run_that_is_written_to_is_left_alone(done: Path, call: Call) -> None:
    with RunDir(done).lock(started=0.0):
        said = call("score", done)

    assert said.code == 2
    assert "in use by pid" in said.err


def test_a_folder_that_is_no_run_ends_with_2(config: Path, call: Call) -> None:
    assert call("score", config.parent).code == 2
    assert call("score", "nowhere").code == 2
    assert not Path("nowhere").exists()
