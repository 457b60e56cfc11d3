"""`raybench verify`: whether everything is what was once written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Call = Callable[..., Any]


def test_a_whole_run_has_a_hash_of_its_content(done: Path, call: Call) -> None:
    said = call("verify", done)

    assert said.code == 0
    name, _, value = said.out.rpartition(" ")
    assert name == "content sha256"
    assert len(bytes.fromhex(value)) == 32


def test_equal_runs_have_equal_hashes_and_others_others(config: Path, done: Path, call: Call) -> None:
    call("run", config, "--output", "again", "--set", "max_attempts=9")
    call("run", config, "--output", "other", "--set", "engine.answer=digest")

    hashes = [call("verify", path).out for path in (done, "again", "other")]

    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize("part", ["predictions", "prompts"])
def test_a_flipped_bit_is_found_and_its_file_named(part: str, done: Path, call: Call) -> None:
    file = max((f for f in (done / part).rglob("*") if f.is_file()), key=lambda f: f.stat().st_size)
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 1
    file.write_bytes(data)

    said = call("verify", done)

    assert said.code == 3
    assert part in said.out
    assert "problem" in said.err
    assert "content sha256" not in said.out


@pytest.mark.parametrize("part", ["predictions", "prompts", "scores", "telemetry"])
def test_a_file_that_was_cut_is_found_and_named(part: str, done: Path, call: Call) -> None:
    file = max((f for f in (done / part).rglob("*") if f.is_file()), key=lambda f: f.stat().st_size)
    file.write_bytes(file.read_bytes()[:-50])

    said = call("verify", done)

    assert said.code == 3
    assert part in said.out


def test_a_foreign_file_is_a_problem(done: Path, call: Call) -> None:
    (done / "predictions" / "notes.txt").write_text("mine")

    said = call("verify", done)

    assert said.code == 3
    assert "notes.txt: a foreign file" in said.out


def test_an_edited_manifest_ends_with_2(done: Path, call: Call) -> None:
    path = done / "manifest.json"
    path.write_text(path.read_text().replace('"limit": 12', '"limit": 13').replace('"limit":12', '"limit":13'))

    said = call("verify", done)

    assert said.code == 2
    assert "damaged or edited by hand" in said.err
